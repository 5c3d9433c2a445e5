/* thumbnail: scales a JPEG or PNG picture down to fit into a box, keeping its proportions.
 *
 * The body is the picture; the query says what is wanted:
 *
 *   w, h       the box, in pixels, 1 to 2048 each (default 128). A picture that fits already keeps its size
 *   format     jpeg or png (default: that of the picture)
 *   quality    of a JPEG, 1 to 100 (default 85)
 *
 * Averages are taken in linear light (sRGB decoded), weighted by opacity. dormouse_init computes the tables for that,
 * once, at deployment. What is not a JPEG or PNG is answered with a
 * 415, a damaged one with a 400, one of more than 16 megapixels with a 413. */
#include "call.h"
#include "query.h"

#include <math.h>
#include <stdio.h>

/* Broken invariants of the libraries stop the function; there is nobody to read a message on stderr. */
#define STB_CHECK(condition) ((condition) ? (void)0 : __builtin_trap())
#define STBI_ASSERT(condition) STB_CHECK(condition)
#define STBIR_ASSERT(condition) STB_CHECK(condition)
#define STBIW_ASSERT(condition) STB_CHECK(condition)

#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_THREAD_LOCALS
#define STBI_MAX_DIMENSIONS 16384
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include "stb_image.h"

#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include "stb_image_resize.h"

#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include "stb_image_write.h"

enum { BODY_BYTES_MAX = 32 << 20, PIXELS_MAX = 16 << 20, BOX_MAX = 2048 };

enum format { FORMAT_NONE, FORMAT_JPEG, FORMAT_PNG };

/* Tells the format by its first bytes; the Content-Type is only a claim. */
static enum format sniff(const struct buffer *body) {
    if (body->length >= 3 && memcmp(body->bytes, "\xff\xd8\xff", 3) == 0) return FORMAT_JPEG;
    if (body->length >= 8 && memcmp(body->bytes, "\x89PNG\r\n\x1a\n", 8) == 0) return FORMAT_PNG;
    return FORMAT_NONE;
}

static int answer_unreadable(void) {
    const char *reason = stbi_failure_reason();
    if (reason && strcmp(reason, "outofmem") == 0)
        return answer_text(413, "the picture needs more memory than this function has");
    struct buffer answer = {0};
    buffer_text(&answer, "the picture is damaged or of a kind that is not supported: ");
    buffer_text(&answer, reason ? reason : "unknown");
    buffer_append(&answer, "", 1);
    return answer.failed ? 1 : answer_text(400, answer.bytes);
}

/* The size of the thumbnail: the largest with the picture's proportions that fits the box, at least one pixel. */
static void fit(unsigned width, unsigned height, unsigned *box_width, unsigned *box_height) {
    if (width <= *box_width && height <= *box_height) {
        *box_width = width;
        *box_height = height;
    } else if ((uint64_t)width * *box_height > (uint64_t)height * *box_width) {
        *box_height = (unsigned)(((uint64_t)height * *box_width + width / 2) / width);
        if (*box_height == 0) *box_height = 1;
    } else {
        *box_width = (unsigned)(((uint64_t)width * *box_height + height / 2) / height);
        if (*box_width == 0) *box_width = 1;
    }
}

/* sRGB to linear light, 0 to 65535, and from the upper 12 bits of linear light back (IEC 61966-2-1). */
static uint16_t linear[256];
static uint8_t encoded[4096];
static int tables_ready;

static void fill_tables(void) {
    for (int i = 0; i < 256; i++) {
        double value = i / 255.0;
        linear[i] = (uint16_t)(65535 * (value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4)) + 0.5);
    }
    for (int i = 0; i < 4096; i++) {
        double value = i / 4095.0;
        encoded[i] = (uint8_t)(255 * (value <= 0.0031308 ? value * 12.92 : 1.055 * pow(value, 1 / 2.4) - 0.055) + 0.5);
    }
    tables_ready = 1;
}

DORMOUSE_EXPORT(dormouse_init) void dormouse_init(void) { fill_tables(); }

/* Shrinks a picture in place to 1/factor of its size, each pixel the average of factor x factor pixels; columns and
 * rows that fill no whole block are dropped. This is many times faster than the filter that does the rest. */
static void shrink(stbi_uc *pixels, int *width, int *height, int channels, int factor) {
    size_t row_bytes = (size_t)*width * (size_t)channels;
    int colours = channels == 4 ? 3 : channels, new_width = *width / factor, new_height = *height / factor;
    stbi_uc *to = pixels;
    for (int y = 0; y < new_height; y++) {
        for (int x = 0; x < new_width; x++, to += channels) {
            const stbi_uc *from = pixels + (size_t)(y * factor) * row_bytes + (size_t)(x * factor * channels);
            uint64_t sums[4] = {0}, weight = 0;
            for (int v = 0; v < factor; v++, from += row_bytes) {
                const stbi_uc *pixel = from;
                for (int u = 0; u < factor; u++, pixel += channels) {
                    unsigned alpha = channels == 4 ? pixel[3] : 1;
                    for (int c = 0; c < colours; c++) sums[c] += (uint32_t)linear[pixel[c]] * alpha;
                    weight += alpha;
                }
            }
            for (int c = 0; c < colours; c++) to[c] = weight ? encoded[sums[c] / weight >> 4] : 0;
            if (channels == 4) to[3] = (stbi_uc)(weight / (unsigned)(factor * factor));
        }
    }
    *width = new_width;
    *height = new_height;
}

static void collect(void *answer, void *bytes, int length) { buffer_append(answer, bytes, (size_t)length); }

DORMOUSE_EXPORT(handle) int handle(void) {
    static struct buffer body, answer;
    if (!tables_ready) fill_tables();
    char query[1024], format_name[8];
    unsigned box_width, box_height, quality;
    if (read_query(query, sizeof query)) return answer_text(400, "the query is longer than 1023 bytes");
    if (query_number(query, "w", 128, 1, BOX_MAX, &box_width) || query_number(query, "h", 128, 1, BOX_MAX, &box_height))
        return answer_text(400, "w and h must be numbers from 1 to 2048");
    if (query_number(query, "quality", 85, 1, 100, &quality))
        return answer_text(400, "quality must be a number from 1 to 100");
    int error = read_body(&body, BODY_BYTES_MAX);
    if (error) return answer_body_error(error);

    enum format format = sniff(&body);
    if (format == FORMAT_NONE) return answer_text(415, "the body must be a JPEG or PNG picture");
    if (query_parameter(query, "format", format_name, sizeof format_name) >= 0) {
        if (strcmp(format_name, "jpeg") == 0)
            format = FORMAT_JPEG;
        else if (strcmp(format_name, "png") == 0)
            format = FORMAT_PNG;
        else
            return answer_text(400, "format must be jpeg or png");
    }

    int width, height, channels;
    const stbi_uc *bytes = (const stbi_uc *)body.bytes;
    if (!stbi_info_from_memory(bytes, (int)body.length, &width, &height, &channels)) return answer_unreadable();
    if ((uint64_t)width * (uint64_t)height > PIXELS_MAX)
        return answer_text(413, "the picture has more than 16 megapixels");
    /* JPEG has no transparency: the picture is shown on white. */
    int with_alpha = channels == 2 || channels == 4;
    stbi_uc *pixels = stbi_load_from_memory(bytes, (int)body.length, &width, &height, &channels, with_alpha ? 4 : 0);
    if (!pixels) return answer_unreadable();
    if (with_alpha) channels = 4;
    free(body.bytes);

    fit((unsigned)width, (unsigned)height, &box_width, &box_height);
    /* What is left for the filter is at least twice as large as the thumbnail, so that it decides what is seen. */
    int across = width / (int)box_width, down = height / (int)box_height, factor = (across < down ? across : down) / 2;
    if (factor >= 2) shrink(pixels, &width, &height, channels, factor);
    stbi_uc *small = pixels;
    if (width != (int)box_width || height != (int)box_height) {
        small = malloc((size_t)box_width * box_height * (size_t)channels);
        if (!small || !stbir_resize_uint8_srgb(pixels, width, height, 0, small, (int)box_width, (int)box_height, 0,
                                               channels, with_alpha ? 3 : STBIR_ALPHA_CHANNEL_NONE, 0))
            return answer_text(413, "the picture needs more memory than this function has");
    }

    int written;
    if (format == FORMAT_JPEG) {
        for (size_t i = 0; with_alpha && i < (size_t)box_width * box_height; i++) {
            unsigned alpha = small[4 * i + 3];
            for (size_t c = 0; c < 3; c++)
                small[3 * i + c] = (stbi_uc)((small[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
        if (with_alpha) channels = 3;
        written = stbi_write_jpg_to_func(collect, &answer, (int)box_width, (int)box_height, channels, small, (int)quality);
    } else {
        written = stbi_write_png_to_func(collect, &answer, (int)box_width, (int)box_height, channels, small, 0);
    }
    if (!written) return answer_text(413, "the picture needs more memory than this function has");
    return answer_buffer(&answer, format == FORMAT_JPEG ? "image/jpeg" : "image/png");
}
