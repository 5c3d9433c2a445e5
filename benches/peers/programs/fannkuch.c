// The most flips of pancakes over all permutations (the Computer Language Benchmarks Game's fannkuch-redux).
#include "bench.h"

#define ELEMENTS_MAX 16

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    if (n > ELEMENTS_MAX) return 2;
    int permutation[ELEMENTS_MAX], work[ELEMENTS_MAX], count[ELEMENTS_MAX];
    int most = 0, checksum = 0, number = 0, r = n;
    for (int i = 0; i < n; i++) permutation[i] = i;
    for (;;) {
        for (; r != 1; r--) count[r - 1] = r;
        int flips = 0;
        memcpy(work, permutation, sizeof work);
        for (int k; (k = work[0]) != 0; flips++) {
            for (int i = 0, j = k; i < j; i++, j--) {
                int t = work[i];
                work[i] = work[j];
                work[j] = t;
            }
        }
        if (flips > most) most = flips;
        checksum += number % 2 == 0 ? flips : -flips;
        for (;; r++) {
            if (r == n) {
                sum_u64((uint64_t)(uint32_t)checksum);
                sum_u64((uint64_t)most);
                return print_sum();
            }
            int first = permutation[0];
            for (int i = 0; i < r; i++) permutation[i] = permutation[i + 1];
            permutation[r] = first;
            if (--count[r] > 0) break;
        }
        number++;
    }
}
