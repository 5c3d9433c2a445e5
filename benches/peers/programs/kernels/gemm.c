// C = alpha A B + beta C.
#include "kernel.h"
#define N 256
static double a[N][N], b[N][N], c[N][N];

static void initialise(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(i * (j + 1) % N) / N;
            b[i][j] = (double)(i * (j + 2) % N) / N;
            c[i][j] = (double)((i * j + 1) % N) / N;
        }
}

static void kernel(void) {
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) c[i][j] *= 1.2;
        for (int k = 0; k < N; k++)
            for (int j = 0; j < N; j++) c[i][j] += 1.5 * a[i][k] * b[k][j];
    }
}

static void results(void) { SUM_ALL(c); }
