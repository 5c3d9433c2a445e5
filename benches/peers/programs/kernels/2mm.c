// D = alpha A B C + beta D.
#include "kernel.h"
#define N 192
static double a[N][N], b[N][N], c[N][N], d[N][N], t[N][N];

static void initialise(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)((i * j + 1) % N) / N;
            b[i][j] = (double)(i * (j + 1) % N) / N;
            c[i][j] = (double)((i * (j + 3) + 1) % N) / N;
            d[i][j] = (double)(i * (j + 2) % N) / N;
        }
}

static void kernel(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            t[i][j] = 0;
            for (int k = 0; k < N; k++) t[i][j] += 1.5 * a[i][k] * b[k][j];
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            d[i][j] *= 1.2;
            for (int k = 0; k < N; k++) d[i][j] += t[i][k] * c[k][j];
        }
}

static void results(void) { SUM_ALL(d); }
