/* dormouse.h: what a Dormouse function in C or C++ is made of, and what it can ask of its host.
 *
 * There are two kinds of function. A *command* is an ordinary program with a main(): it gets the request as CGI/1.1
 * (RFC 3875) and does not need this header. A *reactor* is a module without a main(); it exports `handle`, which is
 * called once for a request:
 *
 *     #include "dormouse.h"
 *
 *     DORMOUSE_EXPORT(handle) int handle(void) {
 *         write_call_output("hello\n", 6);
 *         return 0;
 *     }
 *
 *     clang --target=wasm32-wasi -mexec-model=reactor -O2 -I include hello.c -o hello.wasm
 *
 * Exports of a reactor:
 *
 *   int handle(void)            serves one request. 0: the response is what was written. Anything else: the function
 *                               failed, the caller gets a 500 and none of the output.
 *   void dormouse_init(void)    optional. Runs once, when the function is deployed, after the C library's own
 *                               `_initialize`. What it leaves in memory is frozen into the image from which every
 *                               request starts, so work done here costs a request nothing. It cannot draw random
 *                               numbers or read clocks (the results would be the same in every instance), and the
 *                               calls below are not available to it.
 *
 * Every call of `handle` runs in an instance of its own, fresh from the image: nothing that it leaves in memory is
 * seen by another request, and nothing needs to be freed.
 *
 * Pointers and sizes are those of wasm32: 32 bits, in bytes. Text is bytes with a length, not NUL-terminated. A range
 * that does not lie inside the instance's memory traps: the request fails with a 500.
 */
#ifndef DORMOUSE_H
#define DORMOUSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DORMOUSE_IMPORT(name) __attribute__((import_module("dormouse"), import_name(#name)))

/* Exports the function that follows under this name. */
#define DORMOUSE_EXPORT(name) __attribute__((export_name(#name)))

/* Copies up to `bytes` bytes of the request body into `buffer`, going on where the last call stopped. Returns how
 * many were copied, which may be fewer than asked for; 0 means the body has ended. While none have arrived yet, the
 * function sleeps and others run. */
DORMOUSE_IMPORT(read_call_input)
size_t read_call_input(void *buffer, size_t bytes);

/* Appends `bytes` bytes to the response body. The status and the headers are settled when the first byte is written:
 * set them before. */
DORMOUSE_IMPORT(write_call_output)
void write_call_output(const void *buffer, size_t bytes);

/* Copies the value of a request header into `buffer`, at most `buffer_bytes` of it, and returns its full length in
 * bytes; -1 if the request has no such header. To learn the length only, pass a `buffer_bytes` of 0.
 *
 * Header names are compared without regard to case. Names that begin with a colon stand for parts of the request
 * line and are always present, possibly empty:
 *
 *   ":method"   GET, POST, ...
 *   ":path"     what follows the function's name in the path: "/a/b" for a request of /NAME/a/b, "" for /NAME
 *   ":query"    what follows the question mark, still percent-encoded */
DORMOUSE_IMPORT(call_header)
int32_t call_header(const char *name, size_t name_bytes, char *buffer, size_t buffer_bytes);

/* Sets the status of the response, 200 to 599. It is 200 if never set. A code outside that range traps. */
DORMOUSE_IMPORT(set_status)
void set_status(int32_t code);

/* Adds a header to the response. A name or value that is not allowed in HTTP (RFC 9110, section 5: control
 * characters, spaces in a name, ...) and headers that belong to the connection (Content-Length, Connection,
 * Transfer-Encoding, ...) trap, with a message in the log that names it. */
DORMOUSE_IMPORT(set_header)
void set_header(const char *name, size_t name_bytes, const char *value, size_t value_bytes);

#ifdef __cplusplus
}
#endif

#endif
