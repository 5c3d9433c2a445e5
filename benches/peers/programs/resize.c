// stb_image_resize: a photograph's size brought down to a thumbnail's, and a bit up again.
#include "bench.h"
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb_image_resize.h>

#define WIDTH 1280
#define HEIGHT 960
static uint8_t image[WIDTH * HEIGHT * 4], small[320 * 240 * 4], large[800 * 600 * 4];

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            uint8_t *pixel = image + (y * WIDTH + x) * 4;
            pixel[0] = (uint8_t)(x * 255 / WIDTH);
            pixel[1] = (uint8_t)(y * 255 / HEIGHT);
            pixel[2] = (uint8_t)((x ^ y) & 255);
            pixel[3] = (uint8_t)(255 - random_u32() % 16);
        }
    for (int i = 0; i < n; i++) {
        image[random_u32() % sizeof image] ^= 255;
        stbir_resize_uint8(image, WIDTH, HEIGHT, 0, small, 320, 240, 0, 4);
        stbir_resize_uint8(small, 320, 240, 0, large, 800, 600, 0, 4);
        sum_u64(small[i % sizeof small]);
    }
    sum_bytes(small, sizeof small);
    return print_sum();
}
