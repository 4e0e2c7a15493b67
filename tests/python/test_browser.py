"""examples/python: a view in a browser, a real Chromium, against a real PocketBase that is killed and comes back; and the
program for asyncio."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EMAIL, PASSWORD, Program, soon
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from tidings import Client

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"

# Writes down each change of the rows, from inside the page: also what is there for a moment only.
OBSERVE = """
window.seen = [];
new MutationObserver(all => {
    for (const one of all) for (const row of one.removedNodes) if (row.id) window.seen.push(row.id);
}).observe(document.getElementById("rows"), {childList: true});
"""
ROWS = 'return [...document.getElementById("rows").children].map(row => row.textContent)'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Mortal:
    """A PocketBase that is killed, and comes back on its port with its data."""

    def __init__(self, directory: Path) -> None:
        self._binary, self._data = os.environ["TIDINGS_POCKETBASE"], str(directory / "data")
        subprocess.run(
            [self._binary, "superuser", "upsert", EMAIL, PASSWORD, "--dir", self._data],
            check=True,
            capture_output=True,
        )
        self._address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self._address}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "serve", "--http", self._address, "--dir", self._data],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        soon(self._answers, "PocketBase")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self._address.rpartition(":")[2]))) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mortal]:
    server = Mortal(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def tasks(server: Mortal) -> Iterator[Any]:
    with Client(server.url) as root:
        root.collection("_superusers").auth_with_password(EMAIL, PASSWORD)
        fields = [
            {"name": "title", "type": "text"},
            {"name": "priority", "type": "number"},
            {"name": "done", "type": "bool"},
            {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
        ]
        root.send(
            "POST",
            "/api/collections",
            body={"name": "tasks", "type": "base", "fields": fields, "listRule": ""},
        )
        yield root.collection("tasks")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or pytest.fail("the tests need chromium")
    # As root, and in a container with little shared memory.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    driver = shutil.which("chromedriver") or pytest.fail("the tests need chromedriver (chromium-driver)")
    browser = webdriver.Chrome(options, Service(driver))
    yield browser
    browser.quit()


@pytest.fixture
def app(server: Mortal) -> Iterator[str]:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--port",
        str(port),
        "--app-dir",
        str(EXAMPLES),
        "watch_fastapi:app",
    ]
    with subprocess.Popen(
        command, env={**os.environ, "TASKS": server.url}, stderr=subprocess.PIPE, text=True
    ) as app:
        assert app.stderr is not None
        assert any("Uvicorn running" in line for line in app.stderr), "it did not start"
        yield f"http://127.0.0.1:{port}/"
        app.kill()


def test_rows_appear_move_and_vanish_and_none_blinks_while_the_server_is_away(
    server: Mortal, tasks: Any, browser: webdriver.Chrome, app: str
) -> None:
    def shows(*titles: str) -> None:
        soon(lambda: browser.execute_script(ROWS) == list(titles), f"{titles}")

    ids = {title: tasks.create({"title": title, "priority": n})["id"] for n, title in enumerate("abc")}
    browser.get(app)
    shows("c", "b", "a")
    browser.execute_script(OBSERVE)
    tasks.create({"title": "d", "priority": 9})
    shows("d", "c", "b", "a")
    tasks.update(ids["a"], {"priority": 8})
    shows("d", "a", "c", "b")
    tasks.update(ids["b"], {"done": True})
    shows("d", "a", "c")
    tasks.update(ids["c"], {"title": "C"})
    shows("d", "a", "C")

    browser.execute_script("window.seen = []")
    server.kill()
    soon(
        lambda: browser.execute_script('return document.getElementById("rows").className') == "doubt",
        "the doubt",
    )
    assert browser.execute_script(ROWS) == ["d", "a", "C"]
    server.start()
    tasks.update(ids["c"], {"title": "c again"})
    tasks.create({"title": "e", "priority": 0})
    tasks.delete(ids["a"])
    shows("d", "c again", "e")
    soon(
        lambda: browser.execute_script('return document.getElementById("rows").className') == "", "the proof"
    )
    # Only what was deleted has ever left the page.
    assert browser.execute_script("return window.seen") == [ids["a"]]


def test_the_program_for_asyncio(server: Mortal, tasks: Any, program: Callable[..., Program]) -> None:
    one = program("", str(EXAMPLES / "watch_asyncio.py"), server.url)
    one.expect("0 open tasks")
    made = tasks.create({"title": "write", "priority": 3})
    one.expect("  3 write")
    tasks.update(made["id"], {"done": True})
    soon(
        lambda: [line for line in one.lines.got if "open tasks" in line][-1] == "0 open tasks",
        "an empty list",
    )
    server.kill()
    one.expect("0 open tasks (in doubt: disconnected)")
    one.process.send_signal(signal.SIGINT)
    assert one.end() == 0
    assert "Traceback" not in one.error
