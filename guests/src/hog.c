/* hog: takes memory and touches it until it is refused more, and then fails the way C programs do. */
#include "dormouse.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 20 };

DORMOUSE_EXPORT(handle) int handle(void) {
    for (;;) {
        char *block = malloc(BLOCK_BYTES);
        if (!block) abort();
        memset(block, 0xa5, BLOCK_BYTES);
        /* The compiler may not conclude that nobody reads the block and leave it out. */
        __asm__ volatile("" : : "r"(block) : "memory");
    }
}
