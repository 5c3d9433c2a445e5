// A Toeplitz system solved by Durbin's recursion.
#include "kernel.h"
#define N 400
static double r[N], y[N], z[N];

static void initialise(void) {
    for (int i = 0; i < N; i++) r[i] = 1.0 / (N + 1 + i);
}

static void kernel(void) {
    for (int times = 0; times < 20; times++) {
        double alpha = -r[0], beta = 1;
        y[0] = -r[0];
        for (int k = 1; k < N; k++) {
            double total = 0;
            beta = (1 - alpha * alpha) * beta;
            for (int i = 0; i < k; i++) total += r[k - i - 1] * y[i];
            alpha = -(r[k] + total) / beta;
            for (int i = 0; i < k; i++) z[i] = y[i] + alpha * y[k - i - 1];
            for (int i = 0; i < k; i++) y[i] = z[i];
            y[k] = alpha;
        }
    }
}

static void results(void) { SUM_ALL(y); }
