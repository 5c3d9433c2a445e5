#!/usr/bin/env bash
# Builds every example function from its source. The built .wasm files are committed, so that nobody needs a wasm
# toolchain to try Dormouse; this script is for those who change a function, and for checking that the files are what
# the sources say.
#
#   guests/build.sh            rebuilds all, in place
#   guests/build.sh --check    rebuilds all elsewhere and compares byte for byte with what is committed
#
# Invariants: the bytes depend on the sources and on the toolchain alone (Debian 12: clang 14, lld 14, wasi-libc,
# libstb-dev, wabt 1.0.32), not on where the repository or cargo's cache lies; a module imports nothing but
# wasi_snapshot_preview1 and dormouse; names of functions are kept, for backtraces; all modules together stay small.
set -euo pipefail
export LC_ALL=C

guests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
modules_bytes_max=3000000

die() {
    printf 'guests/build.sh: %s\n' "$*" >&2
    exit 1
}

mode=build
case "${1-}" in
    '') ;;
    --check) mode=check ;;
    *) die "unknown argument '$1'; usage: guests/build.sh [--check]" ;;
esac

# --- what must be installed ------------------------------------------------------------------------------------

missing=()
need() { [ -e "$1" ] || missing+=("$2"); }
need /usr/bin/clang-14 clang-14
need /usr/bin/wasm-ld-14 lld-14
need /usr/lib/wasm32-wasi/libc.a wasi-libc
need /usr/lib/llvm-14/lib/clang/14.0.6/lib/wasi/libclang_rt.builtins-wasm32.a libclang-rt-14-dev-wasm32
need /usr/include/stb/stb_image.h libstb-dev
need /usr/bin/wat2wasm wabt
if [ ${#missing[@]} -gt 0 ]; then
    die "the toolchain is not complete; on Debian 12: apt-get install ${missing[*]}"
fi
command -v cargo >/dev/null || die "cargo is needed: it fetches the C libraries that vendor/Cargo.toml names"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$guests
[ "$mode" = build ] || out=$work/out
mkdir -p "$out/commands" "$work/objects"

# clang looks for a wasi-libc below one folder and would otherwise take the host's headers.
sysroot=$work/sysroot
mkdir -p "$sysroot/include" "$sysroot/lib"
ln -s /usr/include/wasm32-wasi "$sysroot/include/wasm32-wasi"
ln -s /usr/lib/wasm32-wasi "$sysroot/lib/wasm32-wasi"

# --- the C libraries, from crates ------------------------------------------------------------------------------

metadata=$(cargo metadata --locked --format-version 1 --manifest-path "$guests/vendor/Cargo.toml")
crate() {
    local manifest
    manifest=$(grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^\"/]*/Cargo.toml\"" <<<"$metadata" | head -n 1 | cut -d '"' -f 4)
    [ -n "$manifest" ] || die "cargo did not say where the crate $1 is"
    dirname "$manifest"
}
yyjson=$(crate yyjson-sys)/yyjson/src
pcre2=$(crate pcre2-sys)/upstream
quickjs=$(crate rquickjs-sys)/quickjs

# --- how things are built --------------------------------------------------------------------------------------

# Compiling and linking are two steps because clang runs wasm-opt, where one is installed, when it links with -O.
compile_flags=(--target=wasm32-wasi "--sysroot=$sysroot" -O2 -std=gnu17 -Wall -Wextra -Werror -DNDEBUG
    "-ffile-prefix-map=$guests=guests" "-ffile-prefix-map=$yyjson=yyjson" "-ffile-prefix-map=$pcre2=pcre2"
    "-ffile-prefix-map=$quickjs=quickjs" "-ffile-prefix-map=$work=build" -I "$guests/include")
# The stack comes first, so that an overflow of it traps and does not run into the program's data. Debug information
# goes, the names of functions stay.
link_flags=(--target=wasm32-wasi "--sysroot=$sysroot" -Wl,--stack-first -Wl,--strip-debug)

# compile OBJECT SOURCE [FLAGS...]
compile() {
    local object=$1 source=$2
    shift 2
    clang-14 "${compile_flags[@]}" "$@" -c "$source" -o "$work/objects/$object.o"
}
objects() { printf "$work/objects/%s.o\n" "$@"; }

# Three ways to link: link_* OUTPUT OBJECT... The stack has the size to which $stack_bytes is set.
stack_bytes=65536
link_command() {
    local output=$1
    shift
    clang-14 "${link_flags[@]}" "-Wl,-z,stack-size=$stack_bytes" $(objects "$@") -o "$out/$output"
}
link_reactor() {
    local output=$1
    shift
    clang-14 "${link_flags[@]}" -mexec-model=reactor "-Wl,-z,stack-size=$stack_bytes" $(objects "$@") -o "$out/$output"
}
# Without a C library and its start-up code; a small stack, so that memory is a single wasm page.
link_bare() {
    local output=$1
    shift
    clang-14 "${link_flags[@]}" -nostdlib -Wl,--no-entry -Wl,-z,stack-size=4096 $(objects "$@") -o "$out/$output"
}
assemble() { wat2wasm --debug-names "$guests/$2" -o "$out/$1"; }

# --- the functions ---------------------------------------------------------------------------------------------

for name in nop counter trap spin pause; do assemble "$name.wasm" "src/$name.wat"; done
assemble commands/nop.wasm src/commands/nop.wat

for name in hello hog random preinit web echo sleep; do compile "$name" "$guests/src/$name.c"; done
compile cat "$guests/src/commands/cat.c"
link_bare hello.wasm hello
for name in hog random preinit; do link_reactor "$name.wasm" "$name"; done
for name in web echo sleep; do link_command "$name.wasm" "$name"; done
link_command commands/cat.wasm cat

# These work with libraries that are generous with the stack.
stack_bytes=1048576

# isystem: warnings in other people's headers are not ours.
compile thumbnail "$guests/src/thumbnail.c" -isystem /usr/include/stb
link_reactor thumbnail.wasm thumbnail

compile yyjson "$yyjson/yyjson.c" -w -DYYJSON_DISABLE_UTILS=1
compile json "$guests/src/json.c" -isystem "$yyjson" -DYYJSON_DISABLE_UTILS=1
link_reactor json.wasm json yyjson

pcre2_flags=(-isystem "$pcre2/include" -DPCRE2_STATIC)
pcre2_objects=()
for source in "$pcre2"/src/*.c; do
    name=$(basename "$source" .c)
    # These three are included by other files.
    case $name in pcre2_jit_match | pcre2_jit_misc | pcre2_ucptables) continue ;; esac
    pcre2_objects+=("$name")
    compile "$name" "$source" -w "${pcre2_flags[@]}" -I "$pcre2/src" -DHAVE_CONFIG_H -DPCRE2_CODE_UNIT_WIDTH=8 \
        -DSUPPORT_PCRE2_8 -DSUPPORT_UNICODE -DHAVE_STDLIB_H -DHAVE_MEMMOVE -DSTDC_HEADERS
done
compile text "$guests/src/text.c" "${pcre2_flags[@]}"
link_reactor text.wasm text "${pcre2_objects[@]}"

# EMSCRIPTEN is how QuickJS says: no atomics, no stack pointer to look at.
quickjs_flags=(-D_GNU_SOURCE -DEMSCRIPTEN=1 -DFE_DOWNWARD=0 -DFE_UPWARD=0)
quickjs_objects=(quickjs libregexp libunicode dtoa)
for name in "${quickjs_objects[@]}"; do compile "$name" "$quickjs/$name.c" -w "${quickjs_flags[@]}"; done
compile javascript "$guests/src/javascript.c" -isystem "$quickjs" "${quickjs_flags[@]}"
link_reactor javascript.wasm javascript "${quickjs_objects[@]}"

chmod 644 "$out"/*.wasm "$out"/commands/*.wasm

# --- what must be true of all of them --------------------------------------------------------------------------

total=0
modules=()
while read -r module; do
    modules+=("$module")
    foreign=$(wasm-objdump -x -j Import "$out/$module" 2>/dev/null | grep -o '<- [^.]*' |
        grep -v -x -e '<- wasi_snapshot_preview1' -e '<- dormouse' || true)
    [ -z "$foreign" ] || die "$module imports from other modules than wasi_snapshot_preview1 and dormouse: $foreign"
    if grep -q -a -F -e "$guests" -e "$work" -e "${CARGO_HOME:-$HOME/.cargo}" "$out/$module"; then
        die "$module contains a path of this machine"
    fi
    total=$((total + $(stat -c %s "$out/$module")))
done < <(cd "$out" && find . commands -maxdepth 1 -name '*.wasm' | sed 's,^\./,,' | sort -u)
[ "$total" -le "$modules_bytes_max" ] || die "the modules have $total bytes, more than $modules_bytes_max"

if [ "$mode" = check ]; then
    different=()
    for module in "${modules[@]}"; do
        cmp -s "$out/$module" "$guests/$module" || different+=("$module")
    done
    while read -r module; do
        [ -e "$out/$module" ] || different+=("$module (not built from anything)")
    done < <(cd "$guests" && find . commands -maxdepth 1 -name '*.wasm' | sed 's,^\./,,' | sort -u)
    [ ${#different[@]} -eq 0 ] ||
        die "not what the sources give: ${different[*]}; run guests/build.sh on Debian 12 and commit the result"
    echo "guests: ${#modules[@]} modules are what their sources give ($total bytes)"
else
    echo "guests: built ${#modules[@]} modules ($total bytes)"
fi
