#!/bin/sh
# The binary interface of the C library, as the header says it: functions, types, sizes, values. abi.sh HEADER OUT writes
# the record. The library of Rust would say the same through its debug information, but at a hundred times the size.
set -eu
header=$1
out=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    echo '#include "tidings.h"'
    # Each declaration, as a definition.
    sed 's|//.*||; /^#/d; /^extern "C"/d' "$header" | tr '\n' ' ' | sed 's/;/;\n/g' |
        grep -E '^[^{}]*\btidings_[a-z0-9_]+\(' | grep -vE 'typedef|\(\*tidings' | sed 's/;$/ { __builtin_trap(); }/'
} >"$work/abi.c"
cp "$header" "$work/tidings.h"
(cd "$work" && gcc -std=c11 -g -shared -fPIC -fno-eliminate-unused-debug-types -ffile-prefix-map="$work"=. -w abi.c -o libtidings.so)
abidw --no-corpus-path --no-comp-dir-path --no-show-locs --out-file "$out" "$work/libtidings.so"
sed -i "s|$work/||g" "$out"
# Nothing was lost on the way.
nm -D --defined-only "$work/libtidings.so" | cut -d' ' -f3 | LC_ALL=C sort | diff bindings/c/symbols.txt - ||
    { echo "the record lacks functions of the header, or has others" >&2; exit 1; }
