/* cat: a small Unix command for `dormouse run`: files, arguments, environment and exit code.
 *
 *   cat [-n] [--env NAME] [--exit CODE] [FILE | -]...
 *
 * Prints the files one after the other, standard input for `-` or when there is nothing else to print. -n numbers the
 * lines, --env prints a variable's value, --exit ends with this code. The exit code is 1 if something could not be
 * read, 2 for wrong usage. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number_lines;
static unsigned long line;
static int at_line_start = 1;

/* Prints a stream to its end. Returns 0, or -1 if reading fails. */
static int print_stream(FILE *stream) {
    static char piece[65536];
    size_t got;
    while ((got = fread(piece, 1, sizeof piece, stream)) > 0) {
        if (!number_lines) {
            fwrite(piece, 1, got, stdout);
            continue;
        }
        for (size_t i = 0; i < got; i++) {
            if (at_line_start) printf("%6lu\t", ++line);
            putchar(piece[i]);
            at_line_start = piece[i] == '\n';
        }
    }
    return ferror(stream) ? -1 : 0;
}

static int print_file(const char *name) {
    if (strcmp(name, "-") == 0) return print_stream(stdin);
    FILE *file = fopen(name, "rb");
    if (!file) return -1;
    int result = print_stream(file);
    int error = errno;
    fclose(file);
    errno = error;
    return result;
}

static int usage(void) {
    fprintf(stderr, "usage: cat [-n] [--env NAME] [--exit CODE] [FILE | -]...\n");
    return 2;
}

int main(int argc, char **argv) {
    int exit_code = 0, printed = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0) {
            number_lines = 1;
        } else if (strcmp(argv[i], "--env") == 0 && i + 1 < argc) {
            const char *value = getenv(argv[++i]);
            if (value) {
                printf("%s\n", value);
            } else {
                fprintf(stderr, "cat: no environment variable %s\n", argv[i]);
                exit_code = 1;
            }
            printed = 1;
        } else if (strcmp(argv[i], "--exit") == 0 && i + 1 < argc) {
            exit_code = atoi(argv[++i]);
            printed = 1;
        } else if (argv[i][0] == '-' && argv[i][1] != 0) {
            return usage();
        } else {
            printed = 1;
            if (print_file(argv[i]) != 0) {
                fprintf(stderr, "cat: %s: %s\n", argv[i], strerror(errno));
                exit_code = 1;
            }
        }
    }
    if (!printed && print_stream(stdin) != 0) {
        fprintf(stderr, "cat: standard input: %s\n", strerror(errno));
        exit_code = 1;
    }
    if (fflush(stdout) != 0) {
        fprintf(stderr, "cat: standard output: %s\n", strerror(errno));
        exit_code = 1;
    }
    return exit_code;
}
