"""The callbacks and handlers of the host. Shared by the sync and the async client."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ._event import Event
from ._journal import Journal, without_options
from ._tidings import State

EventCallback: TypeAlias = Callable[[Event[Any]], object]
"""Called with each event of a subscription. Its result is ignored."""
AsyncCallback: TypeAlias = Callable[[Event[Any]], object]
"""The same; a plain or a coroutine function, which is awaited before the next event."""
DisconnectHandler: TypeAlias = Callable[[list[str]], object]
"""Called with the topics that are still wanted when an open connection has ended."""
StateHandler: TypeAlias = Callable[[State], object]
"""Called with each new state of the connection."""
ErrorHandler: TypeAlias = Callable[[BaseException, "Event[Any] | None"], object]
"""Called with what a callback or handler raised, and with the event of the callback; None for handlers, and for the
callbacks of views."""
AuthHandler: TypeAlias = Callable[[str, "dict[str, Any] | None"], object]
"""Called with the token and the record of the client's new identity."""
Provider: TypeAlias = Callable[[], "str | None"]
"""Returns a token, or None for a guest."""
AsyncProvider: TypeAlias = Callable[[], "str | Awaitable[str | None] | None"]
"""Returns a token, or None for a guest; a coroutine function or a plain one."""


def check(what: str, value: object, *, awaits: bool) -> None:
    """Refuses what could not be called, or would be called for nothing.

    Raises:
        TypeError: It is not callable, or nobody would await what it returns.
    """
    if not callable(value):
        raise TypeError(f"invalid {what}: {value!r} is not callable")
    # A partial is seen through, an object with an async `__call__` is not.
    functions = (value, type(value).__call__)
    if any(map(inspect.isasyncgenfunction, functions)):
        raise TypeError(f"invalid {what}: it is an asynchronous generator, whose body would never run")
    if not awaits and any(map(inspect.iscoroutinefunction, functions)):
        raise TypeError(
            f"invalid {what}: it is a coroutine function, which this client would never await; "
            "give a plain function, or use AsyncClient"
        )


class Handlers:
    """What the host has set. It knows no client, so that one that is forgotten can go.

    Args:
        journal: Where to log.
    """

    __slots__ = ("_journal", "failures", "on_disconnect", "on_error", "on_state", "spawn")

    def __init__(self, journal: Journal) -> None:
        self.on_disconnect: DisconnectHandler | None = None
        self.on_error: ErrorHandler | None = None
        self.on_state: StateHandler | None = None
        # How many callbacks and handlers have raised.
        self.failures = 0
        # Runs what a handler returned and is to be awaited; None where nothing is.
        self.spawn: Callable[[Awaitable[object]], None] | None = None
        self._journal = journal

    def check(self, what: str, value: object) -> None:
        """As `check`, for a client that awaits or does not."""
        check(what, value, awaits=self.spawn is not None)

    def settle(self, result: object) -> None:
        """Runs what a handler returned, if it is to be awaited.

        Raises:
            TypeError: Nobody awaits here.
        """
        if result is None:
            return
        if self.spawn is not None:
            if inspect.isawaitable(result):
                self.spawn(result)
        elif inspect.iscoroutine(result):
            result.close()
            raise TypeError("it returned a coroutine, which this client does not await; use AsyncClient")

    def call(self, handler: Callable[..., object] | None, *values: object) -> None:
        """Calls a handler, if it was set. What it raises is reported."""
        if handler is None:
            return
        try:
            self.settle(handler(*values))
        except BaseException as error:
            self.failed(error)

    def failed(self, error: BaseException, event: Event[Any] | None = None, view: str | None = None) -> None:
        """Reports what a callback or a handler raised: that of a subscription, that of the view of a collection, or
        another."""
        self.failures += 1
        if view is not None:
            self._journal.log(logging.ERROR, "a callback raised for changes of %s", view, error=error)
        elif event is None:
            self._journal.log(logging.ERROR, "a handler raised", error=error)
        else:
            topic = without_options(event.topic)
            self._journal.log(logging.ERROR, "a callback raised for an event of %s", topic, error=error)
        if self.on_error is None:
            return
        try:
            self.settle(self.on_error(error, event))
        except BaseException as second:
            self._journal.log(logging.ERROR, "on_error raised", error=second)
