/* query.h: parameters of a query string or of a form body (application/x-www-form-urlencoded).
 *
 * Plain functions over NUL-terminated text, for commands and reactors alike; no allocation. */
#ifndef QUERY_H
#define QUERY_H

#include <stddef.h>
#include <string.h>

static inline int query_hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

/* Looks up the first parameter of this name and puts its decoded value into `value`, NUL-terminated and cut off to
 * fit `value_bytes` (at least 1). Returns the length of the whole decoded value, so that a result of `value_bytes` or
 * more says that it was cut off; -1 if there is no such parameter. A `%` that is not followed by two hexadecimal
 * digits stands for itself. The name is compared as it stands, not decoded. */
static inline int query_parameter(const char *query, const char *name, char *value, size_t value_bytes) {
    size_t name_bytes = strlen(name);
    value[0] = 0;
    while (*query) {
        size_t bytes = strcspn(query, "&");
        if (bytes >= name_bytes && memcmp(query, name, name_bytes) == 0 &&
            (bytes == name_bytes || query[name_bytes] == '=')) {
            size_t from = bytes == name_bytes ? bytes : name_bytes + 1, length = 0;
            while (from < bytes) {
                char decoded = query[from++];
                if (decoded == '+') {
                    decoded = ' ';
                } else if (decoded == '%' && from + 2 <= bytes && query_hex(query[from]) >= 0 &&
                           query_hex(query[from + 1]) >= 0) {
                    decoded = (char)(query_hex(query[from]) * 16 + query_hex(query[from + 1]));
                    from += 2;
                }
                if (length + 1 < value_bytes) value[length] = decoded;
                length++;
            }
            value[length < value_bytes ? length : value_bytes - 1] = 0;
            return (int)length;
        }
        query += bytes;
        if (*query) query++;
    }
    return -1;
}

/* A parameter that is a decimal number: puts `otherwise` into `number` if it is absent. Returns 0, or -1 if it is
 * there but not a number from `minimum` to `maximum`. */
static inline int query_number(const char *query, const char *name, unsigned otherwise, unsigned minimum,
                               unsigned maximum, unsigned *number) {
    char text[12];
    int length = query_parameter(query, name, text, sizeof text);
    *number = otherwise;
    if (length < 0) return 0;
    if (length == 0 || length > 10) return -1;
    unsigned long long sum = 0;
    for (int i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        sum = sum * 10 + (unsigned)(text[i] - '0');
    }
    if (sum < minimum || sum > maximum) return -1;
    *number = (unsigned)sum;
    return 0;
}

#endif
