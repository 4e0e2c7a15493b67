"""What a host wants to be told, and what is told to the log. Shared by the sync and the async face."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ._event import Event
from ._tidings import State

logger = logging.getLogger("tidings")

EventCallback: TypeAlias = Callable[[Event[Any]], object]
"""Is called with each event of a subscription. What it returns does not matter."""
AsyncCallback: TypeAlias = Callable[[Event[Any]], object]
"""The same, as a plain or a coroutine function, whose end is waited for before the next event."""
DisconnectHandler: TypeAlias = Callable[[list[str]], object]
"""Is called with the topics still wanted when an open stream is gone."""
StateHandler: TypeAlias = Callable[[State], object]
"""Is called with each new state of the connection."""
ErrorHandler: TypeAlias = Callable[[BaseException, "Event[Any] | None"], object]
"""Is called with what a callback raised, and with the event that it raised it for, if that is what it was
called with."""
AuthHandler: TypeAlias = Callable[[str, "dict[str, Any] | None"], object]
"""Is called with the token and the record of who the client is now."""
Provider: TypeAlias = Callable[[], "str | None"]
"""Gives a token, or None for a guest."""
AsyncProvider: TypeAlias = Callable[[], "str | Awaitable[str | None] | None"]
"""Gives a token, or None for a guest; a coroutine function or a plain one."""


def wire_topic(event: Event) -> str:
    """The topic without its options, which may hold what is not for the log."""
    return event.topic.partition("?")[0]


class Handlers:
    """What the host has set. It knows no client, so that one that is forgotten can go."""

    __slots__ = ("on_disconnect", "on_error", "on_state")

    def __init__(self) -> None:
        self.on_disconnect: DisconnectHandler | None = None
        self.on_error: ErrorHandler | None = None
        self.on_state: StateHandler | None = None

    def failed(self, error: BaseException, event: Event | None = None) -> None:
        """Says that a callback or a handler raised."""
        told = (
            f"a callback raised for an event of {wire_topic(event)}"
            if event is not None
            else "a handler raised"
        )
        logger.error("%s", told, exc_info=error)
        if self.on_error is None:
            return
        try:
            self.on_error(error, event)
        except BaseException as second:
            logger.error("on_error raised", exc_info=second)


def log_notice(event: Event) -> None:
    if event.action == "gap":
        logger.warning(
            "events of %s may have been missed in %.1f s: %s",
            wire_topic(event),
            event.gap_seconds or 0,
            event.gap_reason,
        )
    elif event.action == "lagged":
        logger.warning(
            "%d events of %s were dropped: the callback does not keep up", event.lagged, wire_topic(event)
        )
    elif event.action == "refused":
        logger.error("the server refused %s: %s", wire_topic(event), event.error)


def log_state(state: State) -> None:
    why = f": {state.reason}" if state.reason else ""
    if state.name in ("waiting", "suspended"):
        logger.warning("not connected (%s)%s; next try in %.1f s", state.name, why, state.retry_in or 0)
    elif state.name == "unauthenticated" or (state.name == "closed" and state.error is not None):
        logger.warning("%s%s", state.name, why)
    else:
        logger.info("%s%s", state.name, why)


def log_disconnected(topics: list[str]) -> None:
    logger.info("disconnected; %d topics are still wanted", len(topics))
