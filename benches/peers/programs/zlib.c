// zlib: text compressed at its default level and decompressed again.
#include "bench.h"
#include <zlib.h>

#define BYTES (1 << 20)
static uint8_t text[BYTES], back[BYTES];

// Words of a small vocabulary, some more often than others: about as compressible as prose.
static void write_text(void) {
    char words[512][12];
    for (int i = 0; i < 512; i++) {
        int length = 2 + (int)(random_u32() % 9);
        for (int j = 0; j < length; j++) words[i][j] = (char)('a' + random_u32() % 26);
        words[i][length] = 0;
    }
    for (int at = 0; at < BYTES;) {
        uint32_t pick = random_u32();
        const char *word = words[(pick & 511) & (pick >> 16 | pick >> 24)];
        for (; *word && at < BYTES; word++) text[at++] = (uint8_t)*word;
        if (at < BYTES) text[at++] = pick >> 28 ? ' ' : '\n';
    }
}

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    write_text();
    uLong room = compressBound(BYTES);
    uint8_t *packed = allocate(room);
    for (int i = 0; i < n; i++) {
        uLongf packed_bytes = room, back_bytes = BYTES;
        text[random_u32() % BYTES] = '#';
        if (compress(packed, &packed_bytes, text, BYTES) != Z_OK) return 1;
        if (uncompress(back, &back_bytes, packed, packed_bytes) != Z_OK) return 1;
        if (back_bytes != BYTES || memcmp(text, back, BYTES)) return 1;
        sum_u64(packed_bytes);
    }
    sum_bytes(packed, room / 4);
    return print_sum();
}
