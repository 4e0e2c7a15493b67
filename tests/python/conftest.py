"""What the tests share: a real PocketBase, programs in processes of their own, and patience."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import tidings
from tidings.testing import Hub

EMAIL = "root@example.com"
PASSWORD = "correct-horse-1"

# Long enough for a loaded machine; no test waits this long and passes.
PATIENCE = 30


def soon(condition: Callable[[], Any], what: str = "it", patience: float = PATIENCE) -> Any:
    """Waits for something that no event tells of."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.005)
    return found


class Box:
    """A callback that keeps what it is called with, for a test to wait for."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self._came = threading.Condition()

    def __call__(self, *told: Any) -> None:
        with self._came:
            self.got.append(told[0] if len(told) == 1 else told)
            self._came.notify_all()

    def wait(self, count: int = 1, patience: float = PATIENCE) -> list[Any]:
        """The first so many, when they have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.got) >= count, patience), f"only {self.got} came"
            return self.got[:count]


class PocketBase:
    """A real server with a directory of its own; it ends with this process."""

    def __init__(self, binary: str) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="tidings-py-"))
        data = ["--dir", str(self._dir / "data")]
        subprocess.run(
            [binary, "superuser", "upsert", EMAIL, PASSWORD, *data], check=True, capture_output=True
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        # The shell reads a pipe that we hold, and takes the server with it.
        script = '"$0" serve --http "$1" --dir "$2/data" 2>&1 & server=$!; read -r _; kill -9 "$server"; rm -rf "$2"'
        self._shell = subprocess.Popen(
            ["sh", "-c", script, binary, address, str(self._dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._shell.stdout is not None
        assert any("Server started" in line for line in self._shell.stdout), "PocketBase did not start"
        threading.Thread(target=self._shell.stdout.read, daemon=True).start()
        self.root = tidings.Client(self.url)
        self.root.collection("_superusers").auth_with_password(EMAIL, PASSWORD)

    def stop(self) -> None:
        self.root.close()
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()
        shutil.rmtree(self._dir, ignore_errors=True)

    def collection(self, name: str, *fields: dict[str, Any], rule: str = "") -> str:
        """Makes a collection whose records all may see that satisfy `rule`, and gives its id."""
        rules = {"listRule": rule, "viewRule": rule, "createRule": "", "updateRule": "", "deleteRule": ""}
        made = self.root.send(
            "/api/collections",
            method="POST",
            body={"name": name, "type": "base", "fields": list(fields), **rules},
        )
        return made["id"]

    def create(self, collection: str, record: dict[str, Any]) -> dict[str, Any]:
        return self.root.send(f"/api/collections/{collection}/records", method="POST", body=record)

    def update(self, collection: str, id: str, changes: dict[str, Any]) -> None:
        self.root.send(f"/api/collections/{collection}/records/{id}", method="PATCH", body=changes)

    def delete(self, collection: str, id: str) -> None:
        self.root.send(f"/api/collections/{collection}/records/{id}", method="DELETE")


@pytest.fixture(scope="session")
def pocketbase() -> Iterator[PocketBase]:
    binary = os.environ.get("TIDINGS_POCKETBASE")
    if not binary:
        pytest.fail(
            "TIDINGS_POCKETBASE does not name a PocketBase binary: run `make test-python`, which sets it"
        )
    server = PocketBase(binary)
    yield server
    server.stop()


class Program:
    """A program in a process of its own."""

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, stdin: int = subprocess.PIPE
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            # A shell ignores Ctrl-C for what it starts in the background, and so does what that starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines = Box()
        self.errors = Box()
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, box), daemon=True)
            for pipe, box in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe: Any, box: Box) -> None:
        for line in pipe:
            box(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines.got)

    @property
    def error(self) -> str:
        return "\n".join(self.errors.got)

    def expect(self, text: str) -> None:
        """Waits until a line with this text was printed."""

        def printed() -> bool:
            assert self.process.poll() is None or text in self.output, f"it ended: {self.output}{self.error}"
            return text in self.output

        try:
            soon(printed, repr(text))
        except AssertionError as error:
            raise AssertionError(f"{error}; printed:\n{self.output}\n{self.error}") from None

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self, patience: float = PATIENCE) -> int:
        """Closes its input, waits for its end, and gives its status."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.wait(patience)

    def wait(self, patience: float = PATIENCE) -> int:
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; printed:\n{self.output}\n{self.error}") from None
        for reader in self._readers:
            reader.join()
        return status


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    """Starts programs: their text, or with `arguments` the command line after `python`."""
    started: list[Program] = []

    def start(text: str = "", *arguments: str, env: dict[str, str] | None = None) -> Program:
        line = arguments or ("-X", "dev", "-c", textwrap.dedent(text))
        started.append(Program(*line, env=env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.wait()
        for pipe in (one.process.stdin, one.process.stdout, one.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def client(hub: Hub) -> Iterator[tidings.Client]:
    with tidings.Client(hub.url) as client:
        yield client


@pytest.fixture
def box() -> Box:
    return Box()


def dumped(value: Any) -> str:
    """As a literal of a program."""
    return json.dumps(value)


class NoReaders(asyncio.SelectorEventLoop):
    """As on Windows."""

    def add_reader(self, *args: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(params=["descriptor", "thread"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine, with the loop watching the descriptor and with the thread for loops that cannot."""

    def run(test: Coroutine[Any, Any, None]) -> None:
        loop = NoReaders() if request.param == "thread" else asyncio.SelectorEventLoop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(asyncio.wait_for(test, 2 * PATIENCE))
            left = asyncio.all_tasks(loop)
            assert not left, left
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    return run
