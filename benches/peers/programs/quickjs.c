// QuickJS interpreting a program: objects and closures, arrays, strings, a regular expression, maps, typed arrays, JSON.
#include "bench.h"
#include <quickjs.h>

static const char program[] =
    "class Vector { constructor(x, y, z) { this.x = x; this.y = y; this.z = z; }\n"
    "  add(o) { return new Vector(this.x + o.x, this.y + o.y, this.z + o.z); }\n"
    "  scale(k) { return new Vector(this.x * k, this.y * k, this.z * k); }\n"
    "  dot(o) { return this.x * o.x + this.y * o.y + this.z * o.z; } }\n"
    "function random() { let s = 42; return () => (s = (s * 1103515245 + 12345) % 2147483648); }\n"
    "function vectors(n) { let p = new Vector(0, 0, 0), v = new Vector(1, 0.5, 0.25), e = 0;\n"
    "  for (let i = 0; i < n; i++) { p = p.add(v.scale(0.01)); v = v.add(p.scale(-0.01)); e += p.dot(v); } return e; }\n"
    "function sieve(n) { const a = new Uint8Array(n + 1); let c = 0;\n"
    "  for (let i = 2; i <= n; i++) { if (a[i]) continue; c++; for (let j = i * 2; j <= n; j += i) a[j] = 1; } return c; }\n"
    "function sorting(n) { const r = random(), a = []; for (let i = 0; i < n; i++) a.push(r() % 100000);\n"
    "  const b = a.map((x) => ({ key: x, text: 'k' + x })).sort((p, q) => p.key - q.key).filter((p) => p.key % 3);\n"
    "  return b.reduce((s, p, i) => (s * 31 + p.key + i + p.text.length) % 1000003, 7); }\n"
    "function words(n) { const r = random(), seen = new Map(); let text = '';\n"
    "  for (let i = 0; i < n; i++) text += String.fromCharCode(97 + r() % 5, 97 + r() % 7) + (r() % 4 ? ' ' : ', ');\n"
    "  for (const w of text.split(/[ ,]+/)) seen.set(w, (seen.get(w) || 0) + 1);\n"
    "  const found = text.match(/a[b-d]+,? e/g) || [];\n"
    "  return [...seen].sort().map(([w, c]) => w + c).join('').length + found.length; }\n"
    "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }\n"
    "function json(n) { const a = []; for (let i = 0; i < n; i++) a.push({ id: i, name: 'n' + i, tags: [i, i * 0.5, null, true] });\n"
    "  const s = JSON.stringify(a); return s.length + JSON.parse(s).reduce((t, o) => t + o.tags[1], 0); }\n"
    "[vectors(20000), sieve(60000), sorting(5000), words(6000), fib(20), json(1500)].join(' ');";

int main(int argc, char **argv) {
    int n = amount(argc, argv);
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *context = JS_NewContext(runtime);
    if (!context) return 1;
    for (int i = 0; i < n; i++) {
        JSValue value = JS_Eval(context, program, sizeof program - 1, "program.js", JS_EVAL_TYPE_GLOBAL);
        const char *text = JS_ToCString(context, value);
        if (JS_IsException(value) || !text) return 1;
        sum_bytes(text, strlen(text));
        JS_FreeCString(context, text);
        JS_FreeValue(context, value);
        JS_FreeContext(context);
        context = JS_NewContext(runtime);
    }
    JS_FreeContext(context);
    JS_FreeRuntime(runtime);
    return print_sum();
}
