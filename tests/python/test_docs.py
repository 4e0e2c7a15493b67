"""What the pages say: the programs in README.md and docs/ run against a hub, links lead somewhere, and the texts that
docs/troubleshooting.md explains exist. Blocks of Rust are doctests, blocks of C are run by tests/c/run.py."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tidings.testing import Hub

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PATIENCE = 60


class Program(NamedTuple):
    code: str
    shows: str
    """What it prints sooner or later: what the comment before it says, or anything."""


def programs() -> list[Any]:
    found = []
    for page in PAGES:
        if page.name == "event-source.md":
            continue  # test_recipes.py runs it, against servers of its own
        text = page.read_text()
        for block in re.finditer(r"(?:<!-- shows: (.*?) -->\n)?^```python\n(.*?)^```", text, re.M | re.S):
            line = text.count("\n", 0, block.start(2)) + 1
            found.append(pytest.param(Program(block[2], block[1] or ""), id=f"{page.name}:{line}"))
    return found


@contextlib.contextmanager
def busy(hub: Hub, owner: str) -> Iterator[None]:
    """Somebody who makes and changes records, and now and then ends all streams."""
    is_over = threading.Event()

    def work() -> None:
        count = 0
        while not is_over.wait(0.05):
            count += 1
            post = hub.create("posts", {"title": "Hello", "updated": "2026-01-01 00:00:00.000Z"})
            hub.update("posts", post["id"], {"title": "Hello again"})
            hub.create("tasks", {"status": "open", "owner": owner})
            if count % 20 == 0:
                hub.break_streams("cut_streams")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("program", programs())
def test_each_program_runs(program: Program, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if "\ndef test_" in program.code:
        path = tmp_path / "test_page.py"
        path.write_text(program.code)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout
        return
    with Hub() as hub:
        owner = hub.add_user("users", "ada@example.com", "her password")
        path = tmp_path / "page.py"
        path.write_text(program.code.replace("http://127.0.0.1:8090", hub.url))
        with (
            busy(hub, owner),
            subprocess.Popen(
                [sys.executable, str(path)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            alarm = threading.Timer(PATIENCE, process.kill)
            alarm.start()
            assert process.stdout is not None
            assert process.stderr is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if program.shows in line:
                    break
            else:
                process.wait()
                pytest.fail(f"{program.shows!r} was not printed: {said[-5:]} {process.stderr.read()}")
            alarm.cancel()
            process.kill()
            assert "Traceback" not in process.stderr.read()


def anchors(page: Path) -> set[str]:
    """The names that headings get on GitHub."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name} links to {target}, and has no such heading"


def test_the_texts_that_are_explained_exist() -> None:
    suffixes = {".rs", ".py"}
    folders = ("src", "bindings/c/src", "bindings/python/src", "bindings/python/python")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    # A text that a line of source cuts is whole for the reader, and so is one with values in it.
    source = re.sub(r"\\\n\s*", "", "\n".join(path.read_text() for path in files))
    explained = re.findall(r"^\| `([^`]*)`", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    assert len(explained) > 30
    # What a server says is in no source of ours.
    server = {"the server answered 400: Failed to authenticate.", "the server answered 502"}
    for text in set(explained) - server:
        for part in text.split("…"):
            assert part.strip() in source, f"{part.strip()!r} of {text!r} is in no source"


def test_the_readme_is_read_in_a_minute_or_five() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1000
