"""Windows, x86-64, built by mingw-w64 and run under wine: the core's tests, the C library, the command, quickstart.

    python3 windows.py CARGO TARGET [NAME ...]      NAME: core, library, command
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TRIPLE = "x86_64-pc-windows-gnu"
MINGW = ["-D_GNU_SOURCE", f"-I{ROOT / 'include'}", f"-I{ROOT / 'tests/c'}", "-include", HERE / "windows.h"]
C, CXX = ["x86_64-w64-mingw32-gcc-posix", "-std=c11", *MINGW], ["x86_64-w64-mingw32-g++-posix", "-std=c++17", *MINGW]
# Wine 8 reports the end of the stream where the peer resets it, and for a certificate of an unknown authority it reports
# that it could not look for revocations (0x800B010E): refused, but in other words.
WINE_CANNOT = ["http::tests::failure::a_reset_says_so", "http::tests::tls::an_unknown_authority_is_not_trusted"]


def run(*command, environment=None, limit=1200):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit,
                          env={**os.environ, **(environment or {})}, cwd=ROOT, errors="replace")
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-6000:]}\nexit code {done.returncode}")
    return done.stdout


@contextlib.contextmanager
def hub(program, *options):
    users = [word for user in ("ada", "bob") for word in ("--user", f"{user}@example.com", "secret")]
    with subprocess.Popen(["wine", program, *users, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def warnings(said):
    if "warning" in said:
        raise SystemExit(f"warnings:\n{said}")


def core(cargo, out):
    said = run(*cargo, "test", "--target", TRIPLE, "--all-features", "--lib", "--no-run")
    warnings(said)
    program = next(line.split("(")[1].rstrip(")") for line in said.splitlines() if "Executable" in line)
    skipped = [word for name in WINE_CANNOT for word in ("--skip", name)]
    said = run("wine", program, *skipped, "--test-threads", "4")
    print(f"  core under wine: {next(line for line in said.splitlines() if 'test result' in line)}", flush=True)
    print(f"  not run, since wine answers otherwise: {', '.join(WINE_CANNOT)}", flush=True)
    said = run("wine", out / "examples/quickstart.exe")
    if "delete: Hello, world" not in said:
        raise SystemExit(f"quickstart:\n{said}")
    print("  quickstart under wine: ok", flush=True)


def c_library(cargo, out, folder):
    warnings(run(*cargo, "build", "--target", TRIPLE, "--package", "tidings-c"))
    library = out / "tidings.dll"
    exported = run("x86_64-w64-mingw32-objdump", "-p", library)
    missing = [name for name in (ROOT / "bindings/c/symbols.txt").read_text().split() if f" {name}\n" not in exported]
    if missing:
        raise SystemExit(f"tidings.dll does not export {missing}")
    shutil.copy(library, folder)
    run(sys.executable, ROOT / "tests/c/matrix.py", ROOT / "include/tidings.h", folder / "matrix.c")
    # The others want fork, sockets or a descriptor of POSIX: life, threads, loop, one_answer.
    tests = [ROOT / "tests/c/callbacks.c", ROOT / "tests/c/source.c", folder / "matrix.c", ROOT / "tests/c/wrapper.cpp"]
    examples = [ROOT / "examples/c/callbacks.c", ROOT / "examples/c/wrapper.cpp"]
    for source in [*tests, *examples]:
        program = folder / f"{source.parent.parent.name}-{source.stem}.exe"
        run(*(CXX if source.suffix == ".cpp" else C), source, out / "libtidings.dll.a", "-static", "-o", program)
        with hub(out / "examples/hub.exe") as url:
            said = run("wine", program, *([url] if source in examples else []), environment={"TIDINGS_HUB": url}, limit=300)
        if source in examples and "Hello, C" not in said:
            raise SystemExit(f"{source}:\n{said}")
        print(f"  {program.name} with tidings.dll under wine: ok", flush=True)


def command(cargo, out):
    warnings(run(*cargo, "build", "--target", TRIPLE, "--package", "tidings-cli"))
    with hub(out / "examples/hub.exe", "--tick") as url:
        said = run("wine", out / "tidings.exe", "tail", url, "posts", "--count", "2", limit=60)
    if "create" not in said and "update" not in said:
        raise SystemExit(f"tidings tail:\n{said}")
    print("  the command, tail against the hub, under wine: ok", flush=True)


def main():
    cargo, target = [sys.argv[1]], pathlib.Path(sys.argv[2]).absolute()
    os.environ.update(CARGO_TARGET_DIR=str(target), WINEDEBUG="-all", WINEPREFIX=str(target / "wine"), WINEPATH="",
                      CARGO_PROFILE_DEV_DEBUG="0", CARGO_TERM_COLOR="never")
    out = target / TRIPLE / "debug"
    run("rustup", "target", "add", TRIPLE)
    run("wine", "wineboot", "-i")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run("x86_64-w64-mingw32-gcc-posix", "-shared", HERE / "bcryptprimitives.c", "-ladvapi32", "-o", folder / "bcryptprimitives.dll")
        # Where wine looks for libraries beside the folder of the program.
        os.environ["WINEPATH"] = f"Z:{str(folder).replace('/', chr(92))}"
        names = sys.argv[3:] or ["core", "library", "command"]
        warnings(run(*cargo, "build", "--target", TRIPLE, "--features", "hub", "--example", "quickstart", "--example", "hub"))
        if "core" in names:
            core(cargo, out)
        if "library" in names:
            c_library(cargo, out, folder)
        if "command" in names:
            command(cargo, out)


if __name__ == "__main__":
    main()
