// The two products of the biconjugate gradient method: s = transpose(A) r, q = A p.
#include "kernel.h"
#define M 390
#define N 410
static double a[N][M], s[M], q[N], p[M], r[N];

static void initialise(void) {
    for (int i = 0; i < M; i++) p[i] = (double)(i % M) / M;
    for (int i = 0; i < N; i++) {
        r[i] = (double)(i % N) / N;
        for (int j = 0; j < M; j++) a[i][j] = (double)(i * (j + 1) % N) / N;
    }
}

static void kernel(void) {
    for (int times = 0; times < 20; times++) {
        for (int j = 0; j < M; j++) s[j] = 0;
        for (int i = 0; i < N; i++) {
            q[i] = 0;
            for (int j = 0; j < M; j++) {
                s[j] += r[i] * a[i][j];
                q[i] += a[i][j] * p[j];
            }
        }
        for (int i = 0; i < N; i++) r[i] = q[i] / (1 + q[i]);
    }
}

static void results(void) {
    SUM_ALL(s);
    SUM_ALL(q);
}
