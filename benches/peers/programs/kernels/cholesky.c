// A = L transpose(L), in place.
#include "kernel.h"
#include <math.h>
#define N 400
static double a[N][N];

// Symmetric, and positive definite because its diagonal dominates.
static void initialise(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = i == j ? N : (double)((i + j) % 17) / 17;
}

static void kernel(void) {
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < i; j++) {
            for (int k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
            a[i][j] /= a[j][j];
        }
        for (int k = 0; k < i; k++) a[i][i] -= a[i][k] * a[i][k];
        a[i][i] = sqrt(a[i][i]);
    }
}

static void results(void) { SUM_ALL(a); }
