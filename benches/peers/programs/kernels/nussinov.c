// The most pairs in an RNA sequence, by dynamic programming.
#include "kernel.h"
#define N 400
static char bases[N];
static int table[N][N];

static int max(int a, int b) { return a > b ? a : b; }

static void initialise(void) {
    for (int i = 0; i < N; i++) bases[i] = (char)((i + 1) % 4);
    memset(table, 0, sizeof table);
}

static void kernel(void) {
    for (int i = N - 1; i >= 0; i--)
        for (int j = i + 1; j < N; j++) {
            table[i][j] = max(table[i][j], table[i][j - 1]);
            if (i + 1 < N) table[i][j] = max(table[i][j], table[i + 1][j]);
            if (i + 1 < N) {
                int pair = i < j - 1 && bases[i] + bases[j] == 3;
                table[i][j] = max(table[i][j], table[i + 1][j - 1] + pair);
            }
            for (int k = i + 1; k < j; k++) table[i][j] = max(table[i][j], table[i][k] + table[k + 1][j]);
        }
}

static void results(void) { sum_bytes(table, sizeof table); }
