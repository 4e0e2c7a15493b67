"""A server to test against: in this process, in memory, with faults on demand.

::

    from tidings import Client
    from tidings.testing import Hub

    with Hub() as hub, Client(hub.url) as client:
        with client.collection("posts").subscribe("*") as posts:
            hub.create("posts", {"title": "Hello"})
            assert posts.next(timeout=5)["record"]["title"] == "Hello"

It answers the realtime endpoint and enough of the record and auth endpoints of PocketBase, the streams of
RustBaaS, and plain event streams. With pytest, the fixture ``tidings_hub`` is there by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

from . import _tidings
from .exceptions import ForkedError

__all__ = ["Endpoint", "Fault", "Hub"]

Endpoint = Literal["connect", "submit", "events", "sse", "records", "lists", "auth", "health", "other"]
"""What can be refused or delayed: the GET and the POST of PocketBase's realtime, RustBaaS streams, plain
streams, and so on."""
Fault = Literal["end_streams", "cut_streams", "reset_streams", "truncate_streams", "half_open"]
"""What can happen to the streams that are open: a clean end, a closed connection, a reset, an end within a
message, silence."""


class Hub:
    """A running server. Leaving the ``with`` block, `stop` or forgetting it stops it.

    All methods may be called from any thread, and act at once: what is created here has been sent to every
    stream's queue when `create` returns. What the real server would refuse is a `ValueError`. It belongs to
    the process that made it: in a child made by ``fork`` every call raises `ForkedError`, but for `stop`,
    which does nothing there.

    Args:
        port: The port to serve on; 0 picks a free one.
        seed: The seed of random ids; None picks one.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, *, port: int = 0, seed: int | None = None) -> None:
        self._native = _tidings.Hub(port, seed)

    @property
    def url(self) -> str:
        """Where it serves: ``http://127.0.0.1:PORT``."""
        return self._native.url

    def collection(self, name: str, fields: Mapping[str, Any] | None = None) -> str:
        """Declares a collection with default values for its fields. Collections that are not declared are created
        when they are first used.

        Returns:
            Its id.
        """
        return self._native.collection(name, json.dumps(dict(fields or {})))

    def create(self, collection: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Creates a record, and returns it."""
        return _read(self._native.create(collection, json.dumps(dict(record))))

    def update(self, collection: str, id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Changes fields of a record, and returns the whole record."""
        return _read(self._native.update(collection, id, json.dumps(dict(changes))))

    def delete(self, collection: str, id: str) -> None:
        """Deletes a record."""
        self._native.delete(collection, id)

    def records(self, collection: str) -> list[dict[str, Any]]:
        """The records of a collection, in order of creation."""
        records: list[dict[str, Any]] = json.loads(self._native.records(collection))
        return records

    def publish(self, topic: str, payload: Any) -> int:
        """Sends a message to all subscribers of a topic: bytes and text unchanged, anything else as JSON.

        Returns:
            The number of streams it was sent to.
        """
        return self._native.publish(topic, _text(payload).encode())

    def add_user(self, collection: str, email: str, password: str) -> str:
        """Creates an account. The collections ``users`` and ``_superusers`` exist from the start.

        Returns:
            The id of its record.
        """
        return self._native.add_user(collection, email, password)

    def token(self, collection: str, user: str, lifetime: float = 3600) -> str:
        """A token for an account, by the id of its record. ``lifetime`` is in seconds; a negative one makes an
        expired token."""
        return self._native.token(collection, user, lifetime)

    def revoke(self, user: str) -> bool:
        """Silently invalidates all tokens of an account, as a change of its password does."""
        return self._native.revoke(user)

    def oauth2(self, collection: str, provider: str, email: str | None = None) -> None:
        """Adds an OAuth2 provider to a collection of users. It logs in the account with this email address; with
        None it refuses."""
        self._native.oauth2(collection, provider, email)

    def send(self, path: str, data: Any, *, event: str | None = None, id: str | None = None) -> int:
        """Sends a message to all plain event streams at ``path``, e.g. ``"/events"``.

        Returns:
            The number of streams.
        """
        return self._native.send(path, _text(data), event, id)

    def send_raw(self, path: str, data: bytes) -> int:
        """The same with raw bytes."""
        return self._native.send_raw(path, data)

    def topics(self) -> list[str]:
        """The topics that are subscribed to now, over all streams."""
        return self._native.topics()

    def stats(self) -> dict[str, int]:
        """Counters: what is open now, and what has happened since the start."""
        return self._native.stats()

    def wait_until(self, condition: Callable[[dict[str, int]], bool], timeout: float = 10) -> bool:
        """Waits until the counters satisfy a condition; False on timeout."""
        deadline = time.monotonic() + timeout
        while not condition(self.stats()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        return True

    def refuse_next(self, endpoint: Endpoint, status: int, *, times: int = 1) -> None:
        """Answers the next requests of a kind with this status."""
        self._native.refuse_next(endpoint, status, times)

    def delay(self, endpoint: Endpoint, seconds: float) -> None:
        """Delays the responses to requests of a kind."""
        self._native.delay(endpoint, seconds)

    def break_streams(self, fault: Fault = "cut_streams") -> int:
        """Applies a fault to all open streams.

        Returns:
            The number of streams.
        """
        return self._native.break_streams(fault)

    def freeze(self, on: bool = True) -> None:
        """Stops accepting, reading and writing, like a machine that hangs."""
        self._native.freeze(on)

    def lose_tokens(self, on: bool = True) -> None:
        """Takes every token for an expired one, silently: lists are those of a guest, and often empty."""
        self._native.lose_tokens(on)

    def split_bytes(self, on: bool = True) -> None:
        """Sends streams one byte at a time."""
        self._native.split_bytes(on)

    def clear_faults(self) -> None:
        """Clears all faults."""
        self._native.clear_faults()

    def stop(self) -> None:
        """Closes the port and ends every stream. Stopping twice is harmless."""
        self._native.stop()

    def restart(self) -> None:
        """Stops and starts again on the same port, with the same records and accounts."""
        self._native.restart()

    def __enter__(self) -> Hub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        try:
            return f"<tidings.testing.Hub {self.url}>"
        except ForkedError:
            return "<tidings.testing.Hub forked>"


def _text(payload: Any) -> str:
    if isinstance(payload, bytes):
        return payload.decode()
    return payload if isinstance(payload, str) else json.dumps(payload)


def _read(record: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(record)
    return read
