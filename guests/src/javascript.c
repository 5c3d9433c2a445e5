/* javascript: functions in JavaScript, by QuickJS.
 *
 * The script is in the variable SCRIPT of the function's configuration. It is run once, when the function is deployed, and
 * what it leaves is frozen: requests start with its functions compiled and its tables built. It defines
 *
 *     function handle(request) { ... }
 *
 * which is called with { method, path, query, body } and returns the answer: a text, or { status, headers, body }.
 * A script that throws, or an answer that cannot be given, is told on standard error and is a failed request. Math.random and Date
 * are those of the request; at deployment neither is to be had. */
#include "call.h"

#include <quickjs.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#define BODY_BYTES_MAX (8 << 20)

static const char example[] =
    "function handle(request) {\n"
    "  const name = decodeURIComponent(request.query.replace(/^name=/, '')) || 'world';\n"
    "  return { headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body: `Hello, ${name}!\\n` };\n"
    "}\n";

static JSContext *context;
static JSValue handler;
static int serving;

/* In place of the C library's: the interpreter asks when it starts, and there is no time at deployment. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    __wasi_timestamp_t time = 0;
    if (serving && __wasi_clock_time_get(clock == CLOCK_REALTIME ? __WASI_CLOCKID_REALTIME : __WASI_CLOCKID_MONOTONIC, 1, &time)) return -1;
    now->tv_sec = (time_t)(time / 1000000000);
    now->tv_nsec = (long)(time % 1000000000);
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec time;
    if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

/* In place of the interpreter's, whose state would be the same in every instance. */
static JSValue math_random(JSContext *js, JSValueConst this, int count, JSValueConst *arguments) {
    (void)this, (void)count, (void)arguments;
    uint64_t bits;
    if (!serving) return JS_ThrowTypeError(js, "there is no Math.random at deployment: it would be the same in every request");
    if (getentropy(&bits, sizeof bits)) return JS_ThrowInternalError(js, "no entropy");
    return JS_NewFloat64(js, (double)(bits >> 11) / 9007199254740992.0);
}

/* Tells what was thrown, on standard error. */
static void tell_exception(void) {
    JSValue exception = JS_GetException(context);
    JSValue stack = JS_GetPropertyStr(context, exception, "stack");
    const char *text = JS_ToCString(context, exception), *where = JS_ToCString(context, stack);
    fprintf(stderr, "%s\n%s", text ? text : "an exception that is no text", JS_IsString(stack) && where ? where : "");
}

DORMOUSE_EXPORT(dormouse_init) void dormouse_init(void) {
    const char *script = getenv("SCRIPT");
    if (!script) script = example;
    context = JS_NewContext(JS_NewRuntime());
    if (!context) abort();
    JSValue global = JS_GetGlobalObject(context), math = JS_GetPropertyStr(context, global, "Math");
    JS_SetPropertyStr(context, math, "random", JS_NewCFunction(context, math_random, "random", 0));
    JSValue value = JS_Eval(context, script, strlen(script), "SCRIPT", JS_EVAL_TYPE_GLOBAL);
    if (JS_IsException(value)) {
        tell_exception();
        abort();
    }
    handler = JS_GetPropertyStr(context, global, "handle");
    if (!JS_IsFunction(context, handler)) {
        fputs("the script defines no function handle(request)\n", stderr);
        abort();
    }
    serving = 1;
}

/* Sets a property to a part of the request line. */
static void set_part(JSValue request, const char *property, const char *name) {
    char text[8192];
    int32_t length = call_header(name, strlen(name), text, sizeof text);
    if (length < 0) length = 0;
    if ((size_t)length > sizeof text) length = sizeof text;
    JS_SetPropertyStr(context, request, property, JS_NewStringLen(context, text, (size_t)length));
}

/* Sets the headers that an object names. */
static int set_headers(JSValue headers) {
    JSPropertyEnum *names;
    uint32_t count;
    if (JS_IsUndefined(headers)) return 0;
    if (JS_GetOwnPropertyNames(context, &names, &count, headers, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY)) return -1;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = JS_AtomToCString(context, names[i].atom);
        JSValue value = JS_GetProperty(context, headers, names[i].atom);
        const char *text = JS_ToCString(context, value);
        if (!name || !text) return -1;
        set_header(name, strlen(name), text, strlen(text));
    }
    return 0;
}

/* Sends what the script answered. */
static int answer(JSValue value) {
    JSValue body = value;
    if (JS_IsObject(value)) {
        JSValue status = JS_GetPropertyStr(context, value, "status");
        int32_t code;
        if (!JS_IsUndefined(status)) {
            if (JS_ToInt32(context, &code, status)) return -1;
            set_status(code);
        }
        if (set_headers(JS_GetPropertyStr(context, value, "headers"))) return -1;
        body = JS_GetPropertyStr(context, value, "body");
    }
    if (JS_IsUndefined(body)) return 0;
    size_t length;
    const char *text = JS_ToCStringLen(context, &length, body);
    if (!text) return -1;
    write_call_output(text, length);
    return 0;
}

DORMOUSE_EXPORT(handle) int handle(void) {
    struct buffer body = {0};
    int error = read_body(&body, BODY_BYTES_MAX);
    if (error) return answer_body_error(error);
    JSValue request = JS_NewObject(context);
    set_part(request, "method", ":method");
    set_part(request, "path", ":path");
    set_part(request, "query", ":query");
    JS_SetPropertyStr(context, request, "body", JS_NewStringLen(context, body.bytes ? body.bytes : "", body.length));
    JSValue value = JS_Call(context, handler, JS_UNDEFINED, 1, &request);
    if (JS_IsException(value) || answer(value)) {
        tell_exception();
        return 1;
    }
    return 0;
}
