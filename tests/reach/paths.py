"""Fails if a file to give away names a folder of the machine that built it.

    python3 paths.py FILE...      a library, an archive, a wheel or an sdist, or a folder of them
"""

import os
import pathlib
import re
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def folders():
    """With a slash behind, so that /root is not found in /rooted."""
    home = pathlib.Path.home()
    named = [ROOT, home, os.environ.get("CARGO_HOME", home / ".cargo"), os.environ.get("RUSTUP_HOME", home / ".rustup"),
             os.environ.get("CARGO_TARGET_DIR", ROOT / "target")]
    return sorted({f"{str(folder).rstrip('/')}/".encode() for folder in named if len(str(folder)) > 1})


def contents(path):
    """Each file within, with its name."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file():
                yield from contents(inner)
    elif path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield from ((f"{path.name}: {name}", wheel.read(name)) for name in wheel.namelist())
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            yield from ((f"{path.name}: {file.name}", archive.extractfile(file).read()) for file in archive if file.isfile())
    else:
        yield str(path), path.read_bytes()


def main(names):
    pattern = re.compile(b"|".join(re.escape(folder) for folder in folders()))
    found = checked = 0
    for name in names:
        for label, content in contents(pathlib.Path(name)):
            checked += 1
            for match in list(pattern.finditer(content))[:3]:
                found += 1
                text = re.match(rb"[\x20-\x7e]*", content[match.start():match.start() + 120])[0].decode()
                print(f"{label} names a folder of this machine: {text}", file=sys.stderr)
    if found or not checked:
        raise SystemExit(f"{found} paths in {checked} files")


if __name__ == "__main__":
    main(sys.argv[1:])
