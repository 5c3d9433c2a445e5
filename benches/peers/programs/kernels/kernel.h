// The frame of a PolyBench-style kernel: static arrays, an `initialise` that fills them, a `kernel` that is repeated, and
// `results`, which go into the checksum. Everything of a kernel is one file; the loops are the textbook's.
#ifndef KERNEL_H
#define KERNEL_H

#include "../bench.h"

static void initialise(void);
static void kernel(void);
static void results(void);

#define SUM_ALL(array)                                                                                              \
    do {                                                                                                            \
        const double *at = (const double *)(array);                                                                 \
        for (size_t i = 0; i < sizeof(array) / sizeof(double); i++) sum_double(at[i]);                              \
    } while (0)

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    for (int i = 0; i < n; i++) {
        initialise();
        kernel();
    }
    results();
    return print_sum();
}

#endif
