/* web: a small web site as a CGI command, an ordinary C program that prints its answer.
 *
 *   GET  /web                 the front page
 *   GET  /web/hello?name=X    a greeting
 *   GET  /web/form            a form; POST to it (application/x-www-form-urlencoded) shows what was sent
 *   GET  /web/headers         the headers of the request
 *   GET  /web/old             moved: redirects to the front page
 *
 * Everything that comes from the request is escaped before it becomes part of a page. */
#include "query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORM_BYTES_MAX = 64 << 10 };

extern char **environ;

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static void print_escaped(const char *text) {
    for (; *text; text++) switch (*text) {
            case '&': fputs("&amp;", stdout); break;
            case '<': fputs("&lt;", stdout); break;
            case '>': fputs("&gt;", stdout); break;
            case '"': fputs("&quot;", stdout); break;
            case '\'': fputs("&#39;", stdout); break;
            default: putchar(*text);
        }
}

static void begin_page(const char *status, const char *title) {
    printf("Status: %s\r\nContent-Type: text/html; charset=utf-8\r\n", status);
    printf("Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; form-action 'self'\r\n\r\n");
    /* RFC 3875, section 4.3.3: the answer to HEAD is the headers alone. */
    if (strcmp(variable("REQUEST_METHOD"), "HEAD") == 0) exit(0);
    printf("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    print_escaped(title);
    printf("</title>\n<style>body{font:16px/1.5 sans-serif;max-width:40em;margin:2em auto;padding:0 1em}"
           "td{padding:0 1em 0 0;vertical-align:top}</style></head>\n<body><h1>");
    print_escaped(title);
    printf("</h1>\n");
}

static int end_page(void) {
    const char *home = variable("SCRIPT_NAME");
    printf("<p><a href=\"");
    print_escaped(*home ? home : "/");
    printf("\">Front page</a></p>\n</body></html>\n");
    return 0;
}

static int fail(const char *status, const char *what) {
    begin_page(status, status);
    printf("<p>");
    print_escaped(what);
    printf("</p>\n");
    return end_page();
}

static void print_link(const char *path, const char *text) {
    printf("<li><a href=\"");
    print_escaped(variable("SCRIPT_NAME"));
    printf("%s\">%s</a></li>\n", path, text);
}

static void print_row(const char *name, const char *value) {
    printf("<tr><td>");
    print_escaped(name);
    printf("</td><td>");
    print_escaped(value);
    printf("</td></tr>\n");
}

static int front_page(void) {
    begin_page("200 OK", "A small web site");
    printf("<p>Each page comes from an instance of its own, restored from an image for this one request.</p>\n<ul>\n");
    print_link("/hello?name=dormouse", "A greeting");
    print_link("/form", "A form");
    print_link("/headers", "The headers of your request");
    print_link("/old", "A page that has moved");
    printf("</ul>\n<table>\n");
    print_row("Method", variable("REQUEST_METHOD"));
    print_row("Path", variable("PATH_INFO"));
    print_row("Query", variable("QUERY_STRING"));
    print_row("Server", variable("SERVER_SOFTWARE"));
    printf("</table>\n");
    return end_page();
}

static int hello_page(void) {
    char name[200], title[220];
    int length = query_parameter(variable("QUERY_STRING"), "name", name, sizeof name);
    if (length >= (int)sizeof name) return fail("400 Bad Request", "That name is too long.");
    snprintf(title, sizeof title, "Hello, %s!", length > 0 ? name : "whoever you are");
    begin_page("200 OK", title);
    return end_page();
}

static int headers_page(void) {
    begin_page("200 OK", "Headers of your request");
    printf("<table>\n");
    for (char **entry = environ; *entry; entry++) {
        char name[128];
        size_t bytes = strcspn(*entry, "=");
        if (strncmp(*entry, "HTTP_", 5) != 0 || bytes >= sizeof name || !(*entry)[bytes]) continue;
        size_t length = 0;
        for (size_t i = 5; i < bytes; i++) name[length++] = (*entry)[i] == '_' ? '-' : (*entry)[i];
        name[length] = 0;
        print_row(name, *entry + bytes + 1);
    }
    printf("</table>\n");
    return end_page();
}

static int form_page(void) {
    begin_page("200 OK", "A form");
    printf("<form method=\"post\"><p><label>Name <input name=\"name\"></label></p>\n"
           "<p><label>Message <textarea name=\"message\"></textarea></label></p>\n"
           "<p><button>Send</button></p></form>\n");
    return end_page();
}

static int form_answer(void) {
    static char body[FORM_BYTES_MAX + 1];
    size_t length = 0;
    ssize_t got;
    const char type[] = "application/x-www-form-urlencoded";
    if (strncmp(variable("CONTENT_TYPE"), type, sizeof type - 1) != 0)
        return fail("415 Unsupported Media Type", "A form is sent as application/x-www-form-urlencoded.");
    while ((got = read(STDIN_FILENO, body + length, sizeof body - length)) > 0) {
        length += (size_t)got;
        if (length > FORM_BYTES_MAX) return fail("413 Content Too Large", "A form may have 64 KiB.");
    }
    if (got < 0) return fail("400 Bad Request", "The form did not arrive whole.");
    body[length] = 0;

    static char name[FORM_BYTES_MAX + 1], message[FORM_BYTES_MAX + 1];
    if (query_parameter(body, "name", name, sizeof name) < 0 ||
        query_parameter(body, "message", message, sizeof message) < 0)
        return fail("400 Bad Request", "The form needs a name and a message.");
    begin_page("200 OK", "Thank you");
    printf("<table>\n");
    print_row("Name", name);
    print_row("Message", message);
    printf("</table>\n<p>%zu bytes were received.</p>\n", length);
    return end_page();
}

int main(void) {
    const char *method = variable("REQUEST_METHOD"), *path = variable("PATH_INFO");
    int get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (strcmp(path, "/form") == 0 && strcmp(method, "POST") == 0) return form_answer();

    int (*page)(void) = NULL;
    if (strcmp(path, "") == 0 || strcmp(path, "/") == 0) page = front_page;
    if (strcmp(path, "/hello") == 0) page = hello_page;
    if (strcmp(path, "/form") == 0) page = form_page;
    if (strcmp(path, "/headers") == 0) page = headers_page;
    if (page && get) return page();
    if (page) {
        printf("Allow: %s\r\n", page == form_page ? "GET, HEAD, POST" : "GET, HEAD");
        return fail("405 Method Not Allowed", "This page cannot be asked for that way.");
    }
    if (strcmp(path, "/old") == 0 && get) {
        printf("Status: 301 Moved Permanently\r\nLocation: %s\r\nContent-Type: text/plain\r\n\r\nmoved\n",
               *variable("SCRIPT_NAME") ? variable("SCRIPT_NAME") : "/");
        return 0;
    }
    return fail("404 Not Found", "There is no such page here.");
}
