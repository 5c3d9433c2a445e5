// x += A y, and z += transpose(A) w.
#include "kernel.h"
#define N 400
static double a[N][N], x[N], y[N], z[N], w[N];

static void initialise(void) {
    for (int i = 0; i < N; i++) {
        x[i] = (double)(i % N) / N;
        z[i] = (double)((i + 1) % N) / N;
        y[i] = (double)((i + 3) % N) / N;
        w[i] = (double)((i + 4) % N) / N;
        for (int j = 0; j < N; j++) a[i][j] = (double)(i * j % N) / N;
    }
}

static void kernel(void) {
    for (int times = 0; times < 10; times++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) x[i] += a[i][j] * y[j];
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) z[i] += a[j][i] * w[j];
    }
}

static void results(void) {
    SUM_ALL(x);
    SUM_ALL(z);
}
