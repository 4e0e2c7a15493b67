#!/bin/sh
# What must be so of the header and of the library's symbols. lint.sh HEADER LIBRARY: the header as it would be written
# now, and a library as it would be built.
set -eu
cd "$(dirname "$0")/../.."
header=$1
library=$2

cmp "$header" include/tidings.h || {
    echo "include/tidings.h is not what bindings/c/src says: make header, and commit it" >&2
    exit 1
}

nm -D --defined-only "$library" | cut -d' ' -f3 | LC_ALL=C sort | diff bindings/c/symbols.txt - || {
    echo "the library does not export what bindings/c/symbols.txt says (< vanished, > new): programs need what vanished" >&2
    exit 1
}
if grep -v '^tidings_' bindings/c/symbols.txt; then
    echo "these are no names of ours" >&2
    exit 1
fi
# So is the record of the binary interface. What it may not change since the last release, `make abi` says.
record=$(mktemp)
trap 'rm -f "$record"' EXIT
tests/c/abi.sh "$header" "$record"
abidiff bindings/c/abi.xml "$record" || {
    echo "the header says another binary interface than bindings/c/abi.xml: make header, and commit it" >&2
    exit 1
}
# The list is what the header declares, no more and no less.
sed -n '/^ *\/\//d; s/.*\b\(tidings_[a-z0-9_]*\)(.*/\1/p' include/tidings.h | grep -v '_callback$' | LC_ALL=C sort |
    diff bindings/c/symbols.txt - || exit 1

# The example at its top, as a program.
{ echo '#include <stdio.h>'; echo '#include "tidings.h"'; sed -n '1,/^\/\/ Defaults/s|^//     ||p' include/tidings.h; } |
    gcc -x c -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude - || { echo "the example is not clean" >&2; exit 1; }

strict="-Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude"
check() {
    echo "#include \"$1\"" | $2 -x "$3" "-std=$4" $strict ${5-} - || { echo "$1 is not clean: $2 -std=$4 ${5-}" >&2; exit 1; }
}
for compiler in gcc clang; do
    for standard in c99 c11 c17 c2x; do check tidings.h $compiler c $standard; done
done
for compiler in g++ clang++; do
    for standard in c++11 c++17 c++20; do check tidings.h $compiler c++ $standard; done
    for standard in c++17 c++20; do check tidings.hpp $compiler c++ $standard -Wshadow; done
done
echo "the header is clean, and as it should be; $(wc -l <bindings/c/symbols.txt) symbols"
