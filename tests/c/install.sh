#!/bin/sh
# Installs the library into a folder, moves that folder, and uses it from an empty one, as a stranger would: with
# find_package and with pkg-config, shared and static. The argument is the URL of a server, and what follows goes to cmake.
set -eu
url=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build=${TIDINGS_BUILD:-$work/build}
CARGO_TARGET_DIR=$build/own-target
export CARGO_TARGET_DIR

# What CMAKE_BUILD_TYPE means to cargo.
for pair in Debug:dev MinSizeRel:c-small Release:c RelWithDebInfo:c; do
    cmake -S "$root/bindings/c" -B "$work/typed" "-DCMAKE_BUILD_TYPE=${pair%:*}" >"$work/log" || { cat "$work/log"; exit 1; }
    grep -rqE -e "--profile \"?${pair#*:}\"? " "$work/typed" || { echo "$pair: another profile" >&2; exit 1; }
    rm -r "$work/typed"
done

cmake -S "$root/bindings/c" -B "$build" "$@" >"$work/log" && cmake --build "$build" >>"$work/log" 2>&1 &&
    cmake --install "$build" --prefix "$work/first" >>"$work/log" || { cat "$work/log"; exit 1; }
test -e "$CARGO_TARGET_DIR/c/libtidings.so" || { echo "CARGO_TARGET_DIR was ignored" >&2; exit 1; }
mv "$work/first" "$work/moved"
prefix=$work/moved
if grep -rl -e "$work/first" -e "$build" "$prefix"; then
    echo "these name a folder of this machine" >&2
    exit 1
fi
python3 "$root/tests/reach/paths.py" "$prefix"

mkdir "$work/empty" && cd "$work/empty"
cp "$root/examples/c/callbacks.c" "$root/examples/c/wrapper.cpp" .

echo "  pkg-config:"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name tidings.pc)")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir tidings)
cc -D_GNU_SOURCE callbacks.c $(pkg-config --cflags --libs tidings) -pthread -o shared
LD_LIBRARY_PATH=$libdir ./shared "$url" >said && grep -q "Hello, C" said
readelf -d shared | grep -q "libtidings.so.$(pkg-config --modversion tidings | cut -d. -f1)\]"
cc -D_GNU_SOURCE callbacks.c $(pkg-config --cflags tidings) "$libdir/libtidings.a" \
    $(pkg-config --libs --static tidings | sed 's/-ltidings//; s/-L[^ ]*//') -pthread -o static
./static "$url" >said && grep -q "Hello, C" said
! readelf -d static | grep -q libtidings
cc -static -D_GNU_SOURCE callbacks.c $(pkg-config --cflags --libs --static tidings) -pthread -o all_static 2>warnings ||
    { cat warnings; exit 1; }
readelf -d all_static | grep -q "no dynamic section"
./all_static "$url" >said && grep -q "Hello, C" said
cc -D_GNU_SOURCE callbacks.c $(pkg-config --cflags --libs tidings) $(pkg-config --variable=rpath tidings) -pthread -o with_rpath
env -u LD_LIBRARY_PATH ./with_rpath "$url" >said && grep -q "Hello, C" said
c++ -std=c++17 wrapper.cpp $(pkg-config --cflags --libs tidings) -pthread -o wrapper
LD_LIBRARY_PATH=$libdir ./wrapper "$url" >said && grep -q "Hello, C++" said

echo "  valgrind:"
for program in shared static; do
    LD_LIBRARY_PATH=$libdir valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible \
        --suppressions="$prefix/share/tidings/valgrind.supp" "./$program" "$url" >said 2>&1 || { cat said; exit 1; }
done

echo "  find_package:"
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(stranger C CXX)
find_package(tidings 0.1 REQUIRED)
find_package(Threads REQUIRED)
add_compile_definitions(_GNU_SOURCE)
add_executable(with_shared callbacks.c)
target_link_libraries(with_shared tidings::tidings Threads::Threads)
add_executable(with_static callbacks.c)
target_link_libraries(with_static tidings::tidings-static Threads::Threads)
add_executable(with_cpp wrapper.cpp)
target_compile_features(with_cpp PRIVATE cxx_std_17)
target_link_libraries(with_cpp tidings::tidings Threads::Threads)
CMAKE
unset PKG_CONFIG_PATH
cmake -S . -B b -DCMAKE_PREFIX_PATH="$prefix" >log && cmake --build b >>log || { cat log; exit 1; }
for program in with_shared with_static with_cpp; do
    b/$program "$url" >said && grep -q "Hello, C" said || { echo "$program"; cat said; exit 1; }
done
strip -o stripped static
echo "  libtidings.so $(stat -c %s "$libdir"/libtidings.so.*.*) bytes, a static program $(stat -c %s stripped)"
