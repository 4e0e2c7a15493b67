"""Fails when a wing of src/ uses one that is not below it.

ARROWS has a line for each wing, with the wings that it may name; the drawing in ARCHITECTURE.md has to agree. What a file
names is read from its text: `crate::wing::…`, and what lib.rs re-exports. Unit tests (`#[cfg(test)] mod …` and files that
only tests include) may use anything.

The modules of bindings/c/src are many and small, so they have no table: they only may not use each other in a circle.

It also fails on functions over 70 lines.
"""

import graphlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

BOTTOM = "topic error lock rt thread shown"
ENGINE = f"event sse http {BOTTOM}"
ARROWS = {
    "lock": "",
    "thread": "",
    "shown": "",
    "topic": "error",
    "rt": "thread",
    "sse": "",
    "filter": "",
    "order": "filter",
    "http": "rt lock shown",
    "error": "http shown",
    "event": BOTTOM,
    "engine": f"event sse {BOTTOM}",
    "delivery": f"engine {ENGINE}",
    "driver": f"delivery engine {ENGINE}",
    "client": f"order filter driver delivery engine {ENGINE}",
    "view": f"client order filter driver delivery engine {ENGINE}",
    "event_source": f"client driver engine {ENGINE}",
    "blocking": f"view event_source client driver delivery engine {ENGINE}",
    # The embedded server: beside the client, and without it.
    "hub": "lock filter",
}


def wing_of(path: Path) -> str:
    part = path.relative_to(SRC).parts[0].removesuffix(".rs")
    return "rt" if part == "runtime" else part


def exports() -> dict[str, str]:
    """What lib.rs re-exports, and the wing that it comes from."""
    found = {}
    for wing, names in re.findall(r"pub use (\w+)::((?:\w+::)*(?:\{[^}]*\}|\w+));", (SRC / "lib.rs").read_text(), re.S):
        found |= dict.fromkeys(re.findall(r"\w+", names), wing)
    return found


def without_tests(text: str) -> str:
    text = re.split(r"#\[cfg\(test\)\]\n(?:pub\(crate\) )?mod \w+ \{", text)[0]
    return re.sub(r"^\s*//.*$", "", text, flags=re.M)


def is_test(path: Path) -> bool:
    """A file that a `#[cfg(test)] mod name;` includes, or what is below it."""
    return any(
        re.search(rf"#\[cfg\((?:all\()?test[^\]]*\]\n(?:#\[[^\]]*\]\n)*mod {step.stem};", (folder / "mod.rs").read_text())
        for step in (path, *path.parents)
        if (folder := step.parent).is_relative_to(SRC) and (folder / "mod.rs").is_file()
    )


def names_in(text: str) -> set[str]:
    """The first step of each path that begins with `crate::`."""
    names = set(re.findall(r"\bcrate::(\w+)", text))
    for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.S):
        while (flat := re.sub(r"\{[^{}]*\}", "", group)) != group:
            group = flat
        names |= {part.strip().split("::")[0].split(" as ")[0] for part in group.split(",") if part.strip()}
    return names


def circle(folder: Path) -> str | None:
    """A circle of modules that use each other."""
    uses = {path.stem: names_in(without_tests(path.read_text())) - {path.stem} for path in folder.glob("*.rs")}
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError as error:
        return f"{folder.relative_to(ROOT)}: a circle: {' ← '.join(error.args[1])}"


def drawing() -> dict[str, set[str]]:
    """The arrows of ARCHITECTURE.md."""
    page = (SRC.parent / "ARCHITECTURE.md").read_text()
    arrows = {}
    for line in re.search(r"^```arrows\n(.*?)^```", page, re.M | re.S)[1].splitlines():
        wing, names = re.match(r"(\w+) +→ ?((?:\w+ ?)*)", line).groups()
        arrows[wing] = set(names.split())
    return arrows


def disagreements() -> list[str]:
    """Where the drawing and ARROWS do not say the same."""
    drawn = drawing()
    wrong = [f"ARCHITECTURE.md does not draw `{wing}`" for wing in ARROWS if wing not in drawn]
    reached = drawn
    for _ in drawn:
        reached = {wing: below.union(*(reached.get(name, set()) for name in below)) for wing, below in reached.items()}
    for wing, names in ARROWS.items():
        allowed, below = set(names.split()), reached.get(wing, set())
        wrong += [f"ARCHITECTURE.md draws no way from `{wing}` to `{name}`" for name in sorted(allowed - below)]
        wrong += [f"ARCHITECTURE.md lets `{wing}` use `{name}`" for name in sorted(drawn.get(wing, set()) - allowed)]
    return wrong + [f"ARCHITECTURE.md draws a circle through `{wing}`" for wing in drawn if wing in reached[wing]]


LONGEST = 70
# A standard's own steps, in its order.
TRANSCRIPTIONS = {"src/sse/transcription.rs"}


def long_functions() -> list[str]:
    """Functions of src/ that nobody reads at a glance. rustfmt puts a function's last brace below its first letter."""
    found = []
    for path in sorted(SRC.rglob("*.rs")):
        name = str(path.relative_to(ROOT))
        text = path.read_text() if name not in TRANSCRIPTIONS else ""
        for function in re.finditer(r"^( *)(?:[\w()]+ )*fn (\w+)[^;{]*\{\n.*?^\1\}$", text, re.M | re.S):
            lines = function[0].count("\n") + 1
            if lines > LONGEST:
                found.append(f"{name}: `{function[2]}` has {lines} lines; {LONGEST} at most")
    return found


def main() -> int:
    exported = exports()
    wrong, used = disagreements(), {}
    for path in sorted(SRC.rglob("*.rs")):
        wing = wing_of(path)
        if wing == "lib" or is_test(path):
            continue
        if wing not in ARROWS:
            wrong.append(f"{path.relative_to(SRC.parent)}: the wing `{wing}` has no line in {Path(__file__).name}")
            continue
        allowed = {wing, *ARROWS[wing].split()}
        for name in sorted(names_in(without_tests(path.read_text()))):
            # `filter` is a wing and, of the client, a function.
            target = name if name in ARROWS else exported.get(name, name)
            used.setdefault(wing, set()).add(target)
            if target not in allowed:
                wrong.append(f"{path.relative_to(SRC.parent)}: `{wing}` must not know `{target}` (crate::{name})")
    if "-v" in sys.argv:
        for wing in ARROWS:
            print(f"{wing:>12} → {' '.join(sorted(used.get(wing, set()) - {wing}))}")
    wrong += filter(None, [circle(ROOT / "bindings/c/src")])
    wrong += long_functions()
    print("\n".join(wrong), end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
