"""Takes the directory of the build out of the bill of materials (SBOM) that maturin puts into a wheel.

    python3 sbom.py WHEEL DIRECTORY
"""

import base64
import hashlib
import os
import sys
import zipfile
from collections.abc import Callable


def main(wheel: str, directory: str) -> None:
    # The same name that the paths in the library get.
    rewrite(wheel, lambda name, content: content.replace(directory.encode(), b"/tidings") if "/sboms/" in name else content)


def rewrite(wheel: str, change: Callable[[str, bytes], bytes]) -> None:
    """Changes what is in a wheel, and its list of files accordingly."""
    with zipfile.ZipFile(wheel) as old:
        files = {info: old.read(info) for info in old.infolist()}
    changed = {info.filename: new for info, content in files.items() if (new := change(info.filename, content)) != content}
    made = wheel + ".new"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new_wheel:
        for info, content in files.items():
            if info.filename.endswith(".dist-info/RECORD"):
                content = record(content.decode(), changed).encode()
            new_wheel.writestr(info, changed.get(info.filename, content))
    os.replace(made, wheel)


def record(text: str, changed: dict[str, bytes]) -> str:
    """The list of files with the digests of those that changed."""
    lines = []
    for line in text.splitlines():
        name = line.split(",")[0]
        if content := changed.get(name):
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            line = f"{name},sha256={digest},{len(content)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
