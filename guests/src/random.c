/* random: 32 bytes of randomness in hexadecimal, different in every answer. Also in the first answers of two instances
 * restored from one image, which is what goes wrong when a generator's state is frozen. */
#include "dormouse.h"

#include <unistd.h>

enum { RANDOM_BYTES = 32 };

DORMOUSE_EXPORT(handle) int handle(void) {
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[RANDOM_BYTES];
    char text[2 * RANDOM_BYTES + 1];
    if (getentropy(bytes, sizeof bytes) != 0) return 1;
    for (int i = 0; i < RANDOM_BYTES; i++) {
        text[2 * i] = hex[bytes[i] >> 4];
        text[2 * i + 1] = hex[bytes[i] & 15];
    }
    text[2 * RANDOM_BYTES] = '\n';
    write_call_output(text, sizeof text);
    return 0;
}
