/* text: reads a text or a log and tells what is in it, as JSON.
 *
 * The answer counts bytes, lines and words, lists the commonest words, the log levels, and every e-mail address, URL,
 * IPv4 address and date with how often each occurs. `?top=N` sets how many entries a list has at most (default 10,
 * at most 1000). The text is taken as UTF-8; bytes that are not UTF-8 count as question marks.
 *
 * The regular expressions are compiled by dormouse_init, once, at deployment: they are part of the image. */
#include "call.h"
#include "query.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "pcre2.h"

enum { BODY_BYTES_MAX = 8 << 20, DISTINCT_MAX = 200000 };

/* A kind of thing that is looked for. Every repetition is possessive or bounded, so that no text makes a search take
 * more than time proportional to its length. (*SKIP) lets a search that fails behind it go on there, and not at the
 * next letter of a word that is not an address. */
struct kind {
    const char *name, *pattern;
    int ignore_case;
    pcre2_code *code;
};

static struct kind kinds[] = {
    {"words", "[\\p{L}\\p{N}]++(?:['\\x{2019}_-][\\p{L}\\p{N}]++)*+", 1, NULL},
    {"levels", "\\b(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\\b", 0, NULL},
    {"emails", "[\\w.+-]++(*SKIP)@(?:[A-Za-z0-9-]{1,63}\\.){1,8}[A-Za-z]{2,24}\\b", 1, NULL},
    {"urls", "\\bhttps?://[^\\s<>\"'`\\\\]{1,2000}(?<![.,;:!?)\\]}])", 0, NULL},
    {"ipv4",
     "(?<![\\d.])(?:(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)(?!\\.?\\d)", 0,
     NULL},
    {"dates",
     "\\b(?:\\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\\d|3[01])"
     "(?:[T ]\\d{2}:\\d{2}(?::\\d{2}(?:[.,]\\d{1,9})?)?(?:Z|[+-]\\d{2}:?\\d{2})?)?"
     "|\\d{2}/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\\d{4}(?::\\d{2}:\\d{2}:\\d{2}(?: [+-]\\d{4})?)?)"
     "(?!\\d)",
     0, NULL},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static pcre2_match_data *match_data;

static void compile_patterns(void) {
    for (int i = 0; i < KINDS; i++) {
        int error;
        PCRE2_SIZE at;
        kinds[i].code = pcre2_compile((PCRE2_SPTR)kinds[i].pattern, PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF, &error, &at, NULL);
        if (!kinds[i].code) abort();
    }
    match_data = pcre2_match_data_create(1, NULL);
    if (!match_data) abort();
}

DORMOUSE_EXPORT(dormouse_init) void dormouse_init(void) { compile_patterns(); }

/* Something that was found, and how often. */
struct entry {
    const char *text;
    uint32_t bytes, count;
};

/* The distinct findings of one kind: a hash table with open addressing, at most three quarters full. */
struct findings {
    struct entry *places;
    uint32_t capacity, distinct, total;
    int ignore_case;
};

static char fold(char byte) { return byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte; }

static struct entry *find(const struct findings *findings, const char *text, uint32_t bytes) {
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)(findings->ignore_case ? fold(text[i]) : text[i])) * 16777619u;
    for (uint32_t place = hash;; place++) {
        struct entry *entry = &findings->places[place & (findings->capacity - 1)];
        if (!entry->text) return entry;
        if (entry->bytes != bytes) continue;
        uint32_t same = 0;
        while (same < bytes && (findings->ignore_case ? fold(text[same]) == fold(entry->text[same])
                                                      : text[same] == entry->text[same]))
            same++;
        if (same == bytes) return entry;
    }
}

/* Counts one finding. Returns 0, or -1 if there are too many distinct ones or no memory. */
static int count(struct findings *findings, const char *text, uint32_t bytes) {
    if (findings->distinct * 4 >= findings->capacity * 3) {
        struct findings larger = *findings;
        larger.capacity = findings->capacity ? findings->capacity * 2 : 64;
        larger.places = calloc(larger.capacity, sizeof *larger.places);
        if (!larger.places) return -1;
        for (uint32_t i = 0; i < findings->capacity; i++) {
            const struct entry *entry = &findings->places[i];
            if (entry->text) *find(&larger, entry->text, entry->bytes) = *entry;
        }
        free(findings->places);
        *findings = larger;
    }
    struct entry *entry = find(findings, text, bytes);
    if (!entry->text) {
        if (findings->distinct == DISTINCT_MAX) return -1;
        findings->distinct++;
        entry->text = text;
        entry->bytes = bytes;
    }
    entry->count++;
    findings->total++;
    return 0;
}

/* The commonest first, then by text. Places without an entry have a count of 0 and come last. */
static int by_count(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    if (!x->count) return 0;
    int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : (int)x->bytes - (int)y->bytes;
}

/* The length of the UTF-8 sequence that begins here (RFC 3629, section 4); 0 if what is here is not one. */
static size_t sequence(const unsigned char *text, size_t bytes) {
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (first == 0xe0) low = 0xa0;  /* no overlong forms, */
    if (first == 0xed) high = 0x9f; /* no surrogates, */
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f; /* nothing beyond U+10FFFF */
    if (length > bytes) return 0;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
        if (text[i] < low || text[i] > high) return 0;
    return length;
}

/* Makes the text valid UTF-8, for the matcher is told not to check: it would check all that follows at every match. */
static void repair(struct buffer *body) {
    for (size_t at = 0; at < body->length;) {
        size_t length = sequence((const unsigned char *)body->bytes + at, body->length - at);
        if (length == 0) {
            body->bytes[at] = '?';
            length = 1;
        }
        at += length;
    }
}

/* Finds everything of one kind. Returns 0, -1 as `count` does, or -2 if the matcher gave up. */
static int find_all(const struct kind *kind, const struct buffer *body, struct findings *findings) {
    PCRE2_SIZE at = 0;
    while (at < body->length) {
        int result = pcre2_match(kind->code, (PCRE2_SPTR)body->bytes, body->length, at, PCRE2_NO_UTF_CHECK,
                                 match_data, NULL);
        if (result == PCRE2_ERROR_NOMATCH) return 0;
        if (result < 0) return -2;
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match_data);
        if (count(findings, body->bytes + range[0], (uint32_t)(range[1] - range[0]))) return -1;
        at = range[1];
    }
    return 0;
}

static void put_findings(struct buffer *answer, const struct kind *kind, struct findings *findings, unsigned top) {
    qsort(findings->places, findings->capacity, sizeof *findings->places, by_count);
    buffer_text(answer, ",\n \"");
    buffer_text(answer, kind->name);
    buffer_text(answer, "\": {\"total\": ");
    buffer_number(answer, findings->total);
    buffer_text(answer, ", \"distinct\": ");
    buffer_number(answer, findings->distinct);
    buffer_text(answer, ", \"most\": [");
    for (uint32_t i = 0; i < top && i < findings->distinct; i++) {
        const struct entry *entry = &findings->places[i];
        buffer_text(answer, i ? ", {\"text\": " : "{\"text\": ");
        buffer_json_string(answer, entry->text, entry->bytes);
        buffer_text(answer, ", \"count\": ");
        buffer_number(answer, entry->count);
        buffer_text(answer, "}");
    }
    buffer_text(answer, "]}");
}

DORMOUSE_EXPORT(handle) int handle(void) {
    static struct buffer body, answer;
    char query[256];
    unsigned top;
    if (!match_data) compile_patterns();
    if (read_query(query, sizeof query) || query_number(query, "top", 10, 0, 1000, &top))
        return answer_text(400, "top must be a number from 0 to 1000");
    int error = read_body(&body, BODY_BYTES_MAX);
    if (error) return answer_body_error(error);
    repair(&body);

    size_t lines = body.length > 0 && body.bytes[body.length - 1] != '\n';
    for (size_t i = 0; i < body.length; i++) lines += body.bytes[i] == '\n';
    buffer_text(&answer, "{\"bytes\": ");
    buffer_number(&answer, body.length);
    buffer_text(&answer, ", \"lines\": ");
    buffer_number(&answer, lines);
    for (int i = 0; i < KINDS; i++) {
        struct findings findings = {.ignore_case = kinds[i].ignore_case};
        error = find_all(&kinds[i], &body, &findings);
        if (error == -1) return answer_text(413, "the text has more different words than this function can hold");
        if (error == -2) return answer_text(422, "the text could not be searched");
        put_findings(&answer, &kinds[i], &findings, top);
        free(findings.places);
    }
    buffer_text(&answer, "}\n");
    return answer_buffer(&answer, "application/json");
}
