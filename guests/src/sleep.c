/* sleep: a CGI command that waits `ms` milliseconds (100 if not given, at most 600000) and then answers. While it
 * sleeps it must cost its host no more than its memory. */
#include "query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(void) {
    const char *query = getenv("QUERY_STRING");
    unsigned ms;
    if (query_number(query ? query : "", "ms", 100, 0, 600000, &ms)) {
        printf("Status: 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nms must be a number from 0 to 600000\n");
        return 0;
    }
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    printf("Content-Type: text/plain\r\n\r\nslept %u ms\n", ms);
    return 0;
}
