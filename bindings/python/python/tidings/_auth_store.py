"""Who the client is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import _arguments, _tidings
from ._handlers import AuthHandler, Handlers


class AuthStore:
    """The token and the record of who the client is: ``client.auth_store``.

    A change takes effect at once on all subscriptions, which stay. All methods may be called from any thread
    and any callback, and none waits. They raise `ForkedError` in a forked child.
    """

    def __init__(self, native: _tidings.Client, handlers: Handlers) -> None:
        self._native = native
        self._handlers = handlers
        self._listeners: list[AuthHandler] = []
        self._lock = threading.RLock()
        self._told = native.token()

    @property
    def token(self) -> str:
        """The token; the empty text for a guest."""
        return self._native.token() or ""

    @property
    def record(self) -> dict[str, Any] | None:
        """The record of the user, as the log-in gave it; None for a guest, and where only a token is
        known."""
        record = self._native.record()
        return record if isinstance(record, dict) else None

    def is_valid(self) -> bool:
        """Whether there is a token that has not expired, as far as it tells."""
        return self._native.is_valid()

    def save(self, token: str, record: dict[str, Any] | None = None) -> None:
        """Becomes the owner of ``token``.

        Args:
            token: The token; the empty text makes a guest.
            record: The record of its owner, for `record` to return. Dates and times, `decimal.Decimal` and
                `uuid.UUID` become text.

        Raises:
            ArgumentError: The token cannot be sent in a header, or the record is not JSON.
        """
        self._native.set_token(token or None, _arguments.to_json(record) if record is not None else None)
        self._changed()

    def clear(self) -> None:
        """Becomes a guest."""
        self._native.set_token(None, None)
        self._changed()

    def on_change(self, callback: AuthHandler, fire_immediately: bool = False) -> Callable[[], None]:
        """Calls ``callback(token, record)`` when the client has become somebody else.

        After `save`, `clear` and log-ins this happens on the thread that made the call; for a token that was
        replaced or lost without one, on the thread (or in the loop) of the callbacks with the next change of
        the connection's state.

        Args:
            callback: What it raises goes to the log and to ``client.on_error``.
            fire_immediately: Calls it with the state of now as well.

        Returns:
            A function that ends this.
        """
        self._handlers.check("callback", callback)
        with self._lock:
            self._listeners.append(callback)
        if fire_immediately:
            self._tell([callback])

        def remove() -> None:
            with self._lock:
                if callback in self._listeners:
                    self._listeners.remove(callback)

        return remove

    def __repr__(self) -> str:
        # Never the token.
        return (
            f"<tidings.AuthStore {'valid' if self.is_valid() else 'guest' if not self.token else 'expired'}>"
        )

    def _changed(self) -> None:
        """Tells the listeners if the client has become somebody else."""
        with self._lock:
            before, self._told = self._told, self._native.token()
            if before == self._told:
                return
            listeners = list(self._listeners)
        self._tell(listeners)

    def _tell(self, listeners: list[AuthHandler]) -> None:
        token, record = self.token, self.record
        for listener in listeners:
            try:
                self._handlers.settle(listener(token, record))
            except BaseException as error:
                self._handlers.failed(error)
