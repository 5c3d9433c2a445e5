/* echo: a CGI command that gives back what it got. The body is passed on as it arrives, in pieces of up to 64 KiB.
 *
 *   ?env             the CGI environment instead, a line NAME=VALUE each, sorted
 *   ?status=418      answers with this status
 *   ?stderr=TEXT     writes a line to stderr, that is, to the host's log
 *   ?exit=3          ends with this exit code after the answer
 *   ?bare            no header block: the output is the body alone
 *
 * Headers of the answer tell what came in: X-Echo-Method, X-Echo-Path, X-Echo-Query. */
#include "query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

/* Prints a header whose value came from outside: PATH_INFO is percent-decoded, so it may hold a newline, which would
 * let a request add headers of its own. */
static void header(const char *name, const char *value) {
    printf("%s: ", name);
    for (; *value; value++) putchar((unsigned char)*value < 0x20 || *value == 0x7f ? '?' : *value);
    printf("\r\n");
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void print_environment(void) {
    size_t count = 0;
    while (environ[count]) count++;
    qsort(environ, count, sizeof *environ, by_text);
    for (size_t i = 0; i < count; i++) printf("%s\n", environ[i]);
}

/* Passes stdin on to stdout. Returns 0, or -1 if either fails. */
static int pass_on(void) {
    static char piece[65536];
    for (;;) {
        ssize_t got = read(STDIN_FILENO, piece, sizeof piece);
        if (got <= 0) return got == 0 ? 0 : -1;
        for (ssize_t done = 0; done < got;) {
            ssize_t wrote = write(STDOUT_FILENO, piece + done, (size_t)(got - done));
            if (wrote < 0) return -1;
            done += wrote;
        }
    }
}

int main(void) {
    char value[256];
    unsigned number;
    const char *query = variable("QUERY_STRING");
    int environment = query_parameter(query, "env", value, sizeof value) >= 0;

    if (query_parameter(query, "stderr", value, sizeof value) >= 0) fprintf(stderr, "%s\n", value);
    if (query_parameter(query, "bare", value, sizeof value) < 0) {
        if (query_number(query, "status", 0, 200, 599, &number) == 0 && number) printf("Status: %u\r\n", number);
        const char *type = variable("CONTENT_TYPE");
        header("Content-Type", environment ? "text/plain; charset=utf-8" : *type ? type : "application/octet-stream");
        header("X-Echo-Method", variable("REQUEST_METHOD"));
        header("X-Echo-Path", variable("PATH_INFO"));
        header("X-Echo-Query", query);
        printf("\r\n");
    }
    if (environment) print_environment();
    fflush(stdout);
    if (!environment && pass_on() != 0) {
        perror("echo");
        return 1;
    }
    if (query_number(query, "exit", 0, 0, 255, &number) == 0) return (int)number;
    return 0;
}
