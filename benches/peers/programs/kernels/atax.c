// y = transpose(A) (A x).
#include "kernel.h"
#define M 390
#define N 410
static double a[M][N], x[N], y[N], t[M];

static void initialise(void) {
    for (int i = 0; i < N; i++) x[i] = 1 + i / (double)N;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) a[i][j] = (double)((i + j) % N) / (5 * M);
}

static void kernel(void) {
    for (int times = 0; times < 20; times++) {
        for (int j = 0; j < N; j++) y[j] = 0;
        for (int i = 0; i < M; i++) {
            t[i] = 0;
            for (int j = 0; j < N; j++) t[i] += a[i][j] * x[j];
            for (int j = 0; j < N; j++) y[j] += a[i][j] * t[i];
        }
        for (int j = 0; j < N; j++) x[j] = y[j] / (1 + y[j]);
    }
}

static void results(void) { SUM_ALL(y); }
