// Which points of a square belong to the Mandelbrot set, as a bitmap.
#include "bench.h"

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    for (int y = 0; y < n; y++) {
        double ci = 2.0 * y / n - 1.0;
        uint32_t bits = 0;
        for (int x = 0; x < n; x++) {
            double cr = 2.0 * x / n - 1.5;
            double zr = 0, zi = 0, tr = 0, ti = 0;
            int i = 0;
            for (; i < 50 && tr + ti <= 4.0; i++) {
                zi = 2.0 * zr * zi + ci;
                zr = tr - ti + cr;
                tr = zr * zr;
                ti = zi * zi;
            }
            bits = bits << 1 | (tr + ti <= 4.0);
            if (x % 32 == 31) sum_u64(bits);
        }
    }
    return print_sum();
}
