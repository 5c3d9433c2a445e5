// Nine-point averages in place: each depends on the one before.
#include "kernel.h"
#define N 250
static double a[N][N];

static void initialise(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = ((double)i * (j + 2) + 2) / N;
}

static void kernel(void) {
    for (int t = 0; t < 20; t++)
        for (int i = 1; i < N - 1; i++)
            for (int j = 1; j < N - 1; j++)
                a[i][j] = (a[i - 1][j - 1] + a[i - 1][j] + a[i - 1][j + 1] + a[i][j - 1] + a[i][j] + a[i][j + 1] + a[i + 1][j - 1] +
                           a[i + 1][j] + a[i + 1][j + 1]) /
                          9.0;
}

static void results(void) { SUM_ALL(a); }
