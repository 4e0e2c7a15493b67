"""Other machines and another libc, built with zig and run here: musl, 32 bits, aarch64 under qemu-user.

    python3 machines.py VENV TARGET [NAME ...]      NAME: musl, i686, aarch64; VENV has zig and cargo-zigbuild
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# They take minutes of an emulated processor, and what they show is the same on each machine.
HEAVY = [word for name in ("simulation", "check_tests", "coming_back", "waiting_takes_no_processor_time")
         for word in ("--skip", name)]


def run(*command, limit=3000, **options):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, cwd=ROOT, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-6000:]}\nexit code {done.returncode}")
    return done.stdout


def tests(triple, *arguments):
    """How the library tests of a target ended."""
    run("rustup", "target", "add", triple)
    said = run("cargo-zigbuild", "test", "--target", triple, "--lib", *arguments)
    (result,) = [line for line in said.splitlines() if line.startswith("test result:")]
    if " 0 passed" in result:
        raise SystemExit(said)
    print(f"  {triple}: {result}", flush=True)


def musl(target):
    triple = "x86_64-unknown-linux-musl"
    tests(triple, "--all-features")
    run("cargo-zigbuild", "build", "--target", triple, "--package", "tidings-c")
    run("cargo-zigbuild", "build", "--target", triple, "--example", "hub")
    out = target / triple / "debug"
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "callbacks"
        run("python-zig", "cc", "-target", "x86_64-linux-musl", "-static", "-D_GNU_SOURCE", f"-I{ROOT / 'include'}",
            ROOT / "examples/c/callbacks.c", out / "libtidings.a", "-lunwind", "-o", program)
        if "statically linked" not in run("file", program):
            raise SystemExit(run("file", program))
        with subprocess.Popen([out / "examples/hub"], stdout=subprocess.PIPE, text=True) as hub:
            try:
                said = run(program, hub.stdout.readline().strip(), limit=60)
            finally:
                hub.kill()
    if "Hello, C" not in said:
        raise SystemExit(said)
    print(f"  {triple}: examples/c/callbacks.c, static, with a static hub: ok", flush=True)


def i686(target):
    tests("i686-unknown-linux-gnu", "--no-default-features", "--", "engine::", "sse::", "filter::", "order::")


def aarch64(target):
    os.environ["CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER"] = "qemu-aarch64 -L /usr/aarch64-linux-gnu"
    tests("aarch64-unknown-linux-gnu", "--all-features", "--", "--test-threads", "4", *HEAVY)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("venv", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("names", nargs="*", default=["musl", "i686", "aarch64"])
    arguments = parser.parse_args()
    target = arguments.target.absolute()
    os.environ.update(PATH=f"{arguments.venv.absolute() / 'bin'}:{os.environ['PATH']}", CARGO_TARGET_DIR=str(target),
                      CARGO_PROFILE_DEV_DEBUG="0", CARGO_TERM_COLOR="never")
    for name in arguments.names:
        {"musl": musl, "i686": i686, "aarch64": aarch64}[name](target)
        for folder in target.glob(f"{ {'musl': 'x86_64-unknown-linux-musl'}.get(name, name + '-unknown-linux-gnu') }/debug"):
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
