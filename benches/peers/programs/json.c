// yyjson: a document of records is parsed, walked and written again.
#include "bench.h"
#include <yyjson.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static char *document(size_t *bytes) {
    size_t room = 4 << 20, at = 0;
    char *text = allocate(room);
    text[at++] = '[';
    for (int i = 0; i < 8000; i++) {
        at += (size_t)snprintf(
            text + at, room - at,
            "%s{\"id\": %d, \"name\": \"user-%u \\u00e9\\n\", \"active\": %s, \"score\": %u.%03u,\n  \"tags\": [\"t%u\", \"t%u\", null], "
            "\"address\": {\"street\": \"%u Main Street\", \"zip\": \"%05u\", \"geo\": [%d.%04u, -%u.%04u]}}",
            i ? ", " : "", i, random_u32(), i % 3 ? "true" : "false", random_u32() % 1000, random_u32() % 1000, random_u32() % 100,
            random_u32() % 100, random_u32() % 10000, random_u32() % 100000, (int)(random_u32() % 90), random_u32() % 10000,
            random_u32() % 180, random_u32() % 10000);
    }
    text[at++] = ']';
    *bytes = at;
    return text;
}

static double walk(yyjson_val *value) {
    size_t i, count;
    yyjson_val *key, *item;
    double total = 0;
    if (yyjson_is_num(value)) return yyjson_get_num(value);
    if (yyjson_is_str(value)) return (double)yyjson_get_len(value);
    if (yyjson_is_arr(value)) yyjson_arr_foreach(value, i, count, item) total += walk(item);
    if (yyjson_is_obj(value)) yyjson_obj_foreach(value, i, count, key, item) total += walk(item) + (double)yyjson_get_len(key);
    return total;
}

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    size_t bytes;
#ifdef __GLIBC__
    // The parser is to be measured, not how glibc gives large blocks back to the system at once, which dlmalloc does not.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
    char *text = document(&bytes);
    for (int i = 0; i < n; i++) {
        yyjson_doc *doc = yyjson_read(text, bytes, 0);
        if (!doc) return 1;
        sum_double(walk(yyjson_doc_get_root(doc)));
        size_t written_bytes;
        char *written = yyjson_write(doc, 0, &written_bytes);
        if (!written) return 1;
        sum_u64(written_bytes);
        if (i == 0) sum_bytes(written, written_bytes);
        free(written);
        yyjson_doc_free(doc);
    }
    return print_sum();
}
