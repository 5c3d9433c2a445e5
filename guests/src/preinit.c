/* preinit: a function whose work was done before the first request came.
 *
 * dormouse_init finds all primes below four million, once, when the function is deployed; the table (1.1 MiB) is then
 * part of the image. A request only looks something up:
 *
 *   /preinit             how often the table was built, and what is in it
 *   /preinit?nth=1000    the 1000th prime
 *   /preinit?below=1000  how many primes there are below 1000
 *
 * On a host that does not run dormouse_init, the first call builds the table: the answer says so. */
#include "call.h"
#include "query.h"

enum { LIMIT = 4000000, PRIMES_MAX = 283146 };

static uint32_t primes[PRIMES_MAX];
static uint32_t primes_found;
static uint32_t times_built;
static uint32_t calls;
static uint32_t built_during_call;

/* The sieve of Eratosthenes over the odd numbers: bit i stands for 2i + 1. */
static void find_primes(void) {
    uint8_t *composite = calloc(LIMIT / 16 + 1, 1);
    if (!composite) abort();
    for (uint32_t i = 1; (2 * i + 1) * (2 * i + 1) < LIMIT; i++) {
        if (composite[i >> 3] >> (i & 7) & 1) continue;
        for (uint32_t j = 2 * i * (i + 1); j < LIMIT / 2; j += 2 * i + 1) composite[j >> 3] |= (uint8_t)(1 << (j & 7));
    }
    primes_found = 0;
    primes[primes_found++] = 2;
    for (uint32_t i = 1; i < LIMIT / 2; i++) {
        if (composite[i >> 3] >> (i & 7) & 1) continue;
        if (primes_found == PRIMES_MAX) abort();
        primes[primes_found++] = 2 * i + 1;
    }
    /* The sieve is not needed again: zeroed, it takes no room in the image. */
    memset(composite, 0, LIMIT / 16 + 1);
    __asm__ volatile("" : : "r"(composite) : "memory");
    free(composite);
    times_built++;
}

DORMOUSE_EXPORT(dormouse_init) void dormouse_init(void) { find_primes(); }

/* How many primes are below a number, by binary search. */
static uint32_t primes_below(uint32_t number) {
    uint32_t low = 0, high = primes_found;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (primes[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

DORMOUSE_EXPORT(handle) int handle(void) {
    char query[256];
    unsigned number;
    struct buffer answer = {0};
    if (times_built == 0) {
        find_primes();
        built_during_call = 1;
    }
    calls++;
    if (read_query(query, sizeof query)) return answer_text(400, "the query is too long");

    if (query_number(query, "nth", 0, 1, primes_found, &number))
        return answer_text(400, "nth must be a number from 1 to 283146");
    if (number) {
        buffer_number(&answer, primes[number - 1]);
        buffer_text(&answer, "\n");
        return answer_buffer(&answer, "text/plain; charset=utf-8");
    }
    if (query_number(query, "below", 0, 1, LIMIT, &number))
        return answer_text(400, "below must be a number from 1 to 4000000");
    if (number) {
        buffer_number(&answer, primes_below(number));
        buffer_text(&answer, "\n");
        return answer_buffer(&answer, "text/plain; charset=utf-8");
    }

    buffer_text(&answer, "times built: ");
    buffer_number(&answer, times_built);
    buffer_text(&answer, built_during_call ? " (during this call)\n" : " (before any call)\n");
    buffer_text(&answer, "calls of this instance: ");
    buffer_number(&answer, calls);
    buffer_text(&answer, "\nprimes below ");
    buffer_number(&answer, LIMIT);
    buffer_text(&answer, ": ");
    buffer_number(&answer, primes_found);
    buffer_text(&answer, "\nthe last of them: ");
    buffer_number(&answer, primes[primes_found - 1]);
    buffer_text(&answer, "\ntable: ");
    buffer_number(&answer, sizeof primes);
    buffer_text(&answer, " bytes\n");
    return answer_buffer(&answer, "text/plain; charset=utf-8");
}
