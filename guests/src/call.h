/* call.h: what the larger example reactors share: reading the request, composing and sending the answer. */
#ifndef CALL_H
#define CALL_H

#include "dormouse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that grow as they are appended to. When memory runs out, `failed` is set and appending does nothing more:
 * one check at the end is enough. */
struct buffer {
    char *bytes;
    size_t length, capacity;
    int failed;
};

/* Makes room for `more` bytes. Returns 0, or -1 if there is no memory for them. */
static inline int buffer_reserve(struct buffer *buffer, size_t more) {
    if (buffer->failed || more > SIZE_MAX / 4) {
        buffer->failed = 1;
        return -1;
    }
    size_t need = buffer->length + more;
    if (need <= buffer->capacity) return 0;
    size_t capacity = buffer->capacity ? buffer->capacity : 1024;
    while (capacity < need) capacity *= 2;
    char *bytes = realloc(buffer->bytes, capacity);
    if (!bytes) {
        buffer->failed = 1;
        return -1;
    }
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return 0;
}

static inline void buffer_append(struct buffer *buffer, const void *bytes, size_t length) {
    if (length && buffer_reserve(buffer, length) == 0) {
        memcpy(buffer->bytes + buffer->length, bytes, length);
        buffer->length += length;
    }
}

static inline void buffer_text(struct buffer *buffer, const char *text) { buffer_append(buffer, text, strlen(text)); }

static inline void buffer_number(struct buffer *buffer, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    buffer_append(buffer, digits + at, sizeof digits - at);
}

/* Appends text as a JSON string (RFC 8259, section 7). The text must be UTF-8. */
static inline void buffer_json_string(struct buffer *buffer, const char *text, size_t length) {
    static const char hex[] = "0123456789abcdef";
    buffer_append(buffer, "\"", 1);
    size_t plain = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        buffer_append(buffer, text + plain, i - plain);
        plain = i + 1;
        char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
        if (byte >= 0x20) {
            escape[1] = (char)byte;
            buffer_append(buffer, escape, 2);
        } else if (byte == '\n' || byte == '\t') {
            buffer_text(buffer, byte == '\n' ? "\\n" : "\\t");
        } else {
            buffer_append(buffer, escape, 6);
        }
    }
    buffer_append(buffer, text + plain, length - plain);
    buffer_append(buffer, "\"", 1);
}

/* Reads the request body to its end. Returns 0; -1 if it is longer than `bytes_max`; -2 if there is no memory. */
static inline int read_body(struct buffer *body, size_t bytes_max) {
    char header[24];
    int32_t length = call_header("content-length", 14, header, sizeof header - 1);
    if (length > 0 && (size_t)length < sizeof header) {
        header[length] = 0;
        unsigned long long announced = strtoull(header, NULL, 10);
        if (announced > bytes_max) return -1;
        if (buffer_reserve(body, (size_t)announced + 1)) return -2;
    }
    for (;;) {
        if (body->length == body->capacity && buffer_reserve(body, 1)) return -2;
        size_t got = read_call_input(body->bytes + body->length, body->capacity - body->length);
        if (got == 0) return 0;
        body->length += got;
        if (body->length > bytes_max) return -1;
    }
}

/* Puts the query string, NUL-terminated, into `query`. Returns 0, or -1 if it does not fit. */
static inline int read_query(char *query, size_t query_bytes) {
    int32_t length = call_header(":query", 6, query, query_bytes - 1);
    if (length < 0) length = 0;
    if ((size_t)length >= query_bytes) return -1;
    query[length] = 0;
    return 0;
}

static inline void content_type(const char *type) { set_header("Content-Type", 12, type, strlen(type)); }

/* Answers with a line of text. Returns what `handle` is to return: the request was answered. */
static inline int answer_text(int status, const char *text) {
    set_status(status);
    content_type("text/plain; charset=utf-8");
    write_call_output(text, strlen(text));
    write_call_output("\n", 1);
    return 0;
}

/* Answers for a read_body that failed. */
static inline int answer_body_error(int error) {
    return error == -1 ? answer_text(413, "the body is larger than this function takes")
                       : answer_text(413, "the body needs more memory than this function has");
}

/* Sends what was composed; 500 if memory ran out while composing. */
static inline int answer_buffer(const struct buffer *buffer, const char *type) {
    if (buffer->failed) return answer_text(500, "the answer needs more memory than this function has");
    content_type(type);
    write_call_output(buffer->bytes, buffer->length);
    return 0;
}

#endif
