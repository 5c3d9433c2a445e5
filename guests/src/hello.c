/* hello: the smallest useful answer. A reactor without a C library: it writes no memory at all, so an instance that
 * has served a request still equals its image and there is nothing to reset. */
#include "dormouse.h"

static const char greeting[] = "Hello from Dormouse!\n";

DORMOUSE_EXPORT(handle) int handle(void) {
    write_call_output(greeting, sizeof greeting - 1);
    return 0;
}
