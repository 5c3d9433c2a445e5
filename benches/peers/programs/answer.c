/* What the papers' baselines run, as small as a program can be: an HTTP server that answers every request with one line, and,
 * as the first process of a virtual machine, the same over its serial port. Linked statically, so that a root directory with
 * this one file is whole.
 *
 *     answer PORT      serves on 127.0.0.1:PORT; one connection at a time
 *     answer           (as process 1) answers each line that ends in a line feed
 *     answer nop       ends
 *     answer cat FILE  copies a file to its output
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static const char RESPONSE[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\nHello from Dormouse!\n";

static int fail(int code) {
    _exit(code);
}

static void put(int to, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(to, bytes, count);
        if (written <= 0) fail(2);
        bytes += written;
        count -= written;
    }
}

/* Answers each request, which ends with an empty line, until the client closes. */
static void converse(int client) {
    char buffer[8192];
    size_t held = 0;
    for (;;) {
        ssize_t got = read(client, buffer + held, sizeof buffer - 1 - held);
        if (got <= 0) return;
        held += got;
        buffer[held] = 0;
        if (strstr(buffer, "\r\n\r\n")) {
            put(client, RESPONSE, sizeof RESPONSE - 1);
            held = 0;
        } else if (held == sizeof buffer - 1) {
            return;
        }
    }
}

static void serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) fail(3);
    for (;;) {
        int client = accept(listener, 0, 0);
        if (client < 0) continue;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        converse(client);
        close(client);
    }
}

/* There is no network here: loading its drivers would be most of the start. */
static void serve_serial(void) {
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    int port = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    if (port < 0) fail(4);
    struct termios raw;
    tcgetattr(port, &raw);
    cfmakeraw(&raw);
    tcsetattr(port, TCSANOW, &raw);
    put(port, "ready\n", 6);
    char c;
    while (read(port, &c, 1) == 1)
        if (c == '\n') put(port, "Hello from Dormouse!\n", 21);
    fail(5);
}

static void cat(const char *path) {
    char buffer[65536];
    int file = open(path, O_RDONLY);
    ssize_t got;
    if (file < 0) fail(6);
    while ((got = read(file, buffer, sizeof buffer)) > 0) put(1, buffer, got);
}

int main(int count, char **arguments) {
    if (getpid() == 1 && count < 2) serve_serial();
    if (count < 2) return 1;
    if (!strcmp(arguments[1], "nop")) return 0;
    if (!strcmp(arguments[1], "cat") && count == 3) {
        cat(arguments[2]);
        return 0;
    }
    serve(atoi(arguments[1]));
}
