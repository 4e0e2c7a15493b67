"""The identity of a client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import _arguments, _tidings
from ._handlers import AuthHandler, Handlers


class AuthStore:
    """The identity of the client, its token and record: ``client.auth_store``.

    A change takes effect on all subscriptions at once, without ending them. All methods may be called from any
    thread and from any callback, and none waits. In a forked child they raise `ForkedError`.
    """

    def __init__(self, native: _tidings.Client, handlers: Handlers) -> None:
        self._native = native
        self._handlers = handlers
        self._listeners: list[AuthHandler] = []
        self._lock = threading.RLock()
        self._last = native.token()

    @property
    def token(self) -> str:
        """The token; empty for a guest."""
        return self._native.token() or ""

    @property
    def record(self) -> dict[str, Any] | None:
        """The record of the user, as the login returned it; None for a guest, and if only a token is known."""
        record = self._native.record()
        return record if isinstance(record, dict) else None

    def is_valid(self) -> bool:
        """Whether there is a token that has not expired, according to its ``exp`` claim."""
        return self._native.is_valid()

    def save(self, token: str, record: dict[str, Any] | None = None) -> None:
        """Signs in with an existing token.

        Args:
            token: The token; an empty one signs out.
            record: The record of the user, which `record` returns from now on. In it, dates, times,
                `decimal.Decimal` and `uuid.UUID` become text.

        Raises:
            ArgumentError: The token cannot be sent in a header, or the record is not JSON.
        """
        _arguments.valid("token", token)
        self._native.set_token(token or None, _arguments.to_json(record) if record is not None else None)
        self._changed()

    def clear(self) -> None:
        """Signs out: the client becomes a guest."""
        self._native.set_token(None, None)
        self._changed()

    def on_change(self, callback: AuthHandler, fire_immediately: bool = False) -> Callable[[], None]:
        """Calls ``callback(token, record)`` when the token has changed.

        After `save`, `clear` and logins it is called on the thread that made the call. When a token provider
        or the server changed the identity, it is called where callbacks run, with the next change of the
        connection's state.

        Args:
            callback: If it raises, the exception is logged and passed to ``client.on_error``.
            fire_immediately: Also calls it now, with the current token and record.

        Returns:
            A function that removes the callback.

        Raises:
            TypeError: The callback cannot be called, or would never run.
        """
        self._handlers.check("callback", callback)
        with self._lock:
            self._listeners.append(callback)
        if fire_immediately:
            self._notify([callback])

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
        """Notifies the listeners if the token has changed."""
        with self._lock:
            before, self._last = self._last, self._native.token()
            if before == self._last:
                return
            listeners = list(self._listeners)
        self._notify(listeners)

    def _notify(self, listeners: list[AuthHandler]) -> None:
        token, record = self.token, self.record
        for listener in listeners:
            try:
                self._handlers.settle(listener(token, record))
            except BaseException as error:
                self._handlers.failed(error)
