// What every program of the suite shares: how much to do, inputs that are the same everywhere, and a checksum of what
// came out, by which a run natively and a run as wasm are compared.
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The first argument: how much to do.
static inline int amount(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 0;
    if (n <= 0) {
        fprintf(stderr, "usage: PROGRAM AMOUNT\n");
        exit(2);
    }
    return n;
}

static inline void *allocate(size_t bytes) {
    void *at = malloc(bytes);
    if (!at) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return at;
}

// xorshift64*
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static inline uint32_t random_u32(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1du) >> 32);
}

static uint64_t sum = 0xcbf29ce484222325u;

static inline void sum_u64(uint64_t value) { sum = (sum ^ value) * 0x100000001b3u; }

static inline void sum_bytes(const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    for (size_t i = 0; i < count; i++) sum_u64(at[i]);
}

// By its bits: the same operations in the same order give the same number everywhere.
static inline void sum_double(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    sum_u64(bits);
}

static inline int print_sum(void) {
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}

#endif
