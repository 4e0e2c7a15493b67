"""A server that answers as the test says, and counts who comes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from conftest import PATIENCE


@dataclass
class Answer:
    """One answer; without `headers` of its own it is an event stream."""

    body: str | bytes = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    end: str = "end"
    """``"end"`` in an orderly way, ``"cut"`` in the middle, or ``"hold"`` it open."""


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Scripted:
    """Gives the answers in turn, and the last one to everybody after."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._accepted: list[tuple[str, int]] = []
        self._changed = threading.Condition()
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self) -> int:
        """How many connections were made up to now."""
        with socket.create_connection(self._listener.getsockname()) as last, self._changed:
            # They are accepted in order, so what comes before this one is all there is.
            me = last.getsockname()
            assert self._changed.wait_for(lambda: me in self._accepted, PATIENCE)
            self._accepted.remove(me)
            return len(self._accepted)

    def wait(self, requests: int = 1) -> None:
        """Waits until so many requests have been read."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= requests, PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._accepted.append(address)
                self._changed.notify_all()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            if (request := _read(reader)) is None:
                return
            with self._changed:
                self.requests.append(request)
                answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
                self._changed.notify_all()
            body = answer.body.encode() if isinstance(answer.body, str) else answer.body
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
            head = f"HTTP/1.1 {answer.status} X\r\n{head}Transfer-Encoding: chunked\r\n\r\n"
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            try:
                connection.sendall(head.encode() + chunk)
                if answer.end == "end":
                    connection.sendall(b"0\r\n\r\n")
                    connection.shutdown(socket.SHUT_WR)
                if answer.end == "hold":
                    # Until the other side goes, or the test ends.
                    self._held.append(connection)
                    reader.read()
            except OSError:
                pass

    def __enter__(self) -> Scripted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        for connection in self._held:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _read(reader: socket.SocketIO) -> Request | None:
    line = reader.readline().decode().split()
    if len(line) < 3:
        return None
    headers: dict[str, str] = {}
    while header := reader.readline().decode().strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line[0], line[1], headers, reader.read(int(headers.get("content-length", 0))))
