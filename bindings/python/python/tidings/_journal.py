"""What a client writes to the log: one line when an outage begins, and one when it is over."""

from __future__ import annotations

import logging
import time
from typing import Any

from ._event import Event
from ._tidings import State

logger = logging.getLogger("tidings")


def without_options(topic: str) -> str:
    """The topic without its options, which may hold what is not for the log."""
    return topic.partition("?")[0]


class Journal:
    """The log of one client. The logger is ``tidings``, and each line begins with the name of the client.

    An outage is a WARNING when it begins and an INFO when it is over, whatever the number of topics and of tries
    between. What repeats what was said already is DEBUG.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._is_live = False
        # When the outage began that is not over, by both clocks.
        self._lost: tuple[float, float] | None = None
        # From when until when changes may have been missed, by the last line about that.
        self._reported: tuple[float, float] = (0.0, 0.0)
        self._is_suspended = False

    def log(self, level: int, text: str, *values: object, error: BaseException | None = None) -> None:
        """Writes one line."""
        logger.log(level, f"%s: {text}", self.name, *values, exc_info=error)

    def state(self, state: State) -> None:
        """The state of the connection has changed."""
        why, level = state.reason, logging.DEBUG
        if state.name == "live":
            self._live()
        elif state.name == "waiting":
            text = "the connection was lost" if self._is_live else "cannot connect"
            level = logging.WARNING if self._lost is None else logging.DEBUG
            self._lose()
            self.log(level, "%s: %s; next attempt in %.1f s", text, why, state.retry_in or 0)
        elif state.name == "suspended":
            level = logging.DEBUG if self._is_suspended else logging.WARNING
            self._lose()
            self._is_suspended = True
            self.log(level, "no connection for over two minutes: %s; the client goes on trying", why)
        elif state.name == "unauthenticated":
            self._is_live = True
            self.log(logging.WARNING, "the server treats the client as a guest: %s", why)
        elif state.name == "closed" and state.error is not None:
            self.log(logging.ERROR, "the server ended all subscriptions: %s", why)
        else:
            self.log(logging.DEBUG, "%s", state.name)
        if state.name in ("idle", "closed"):
            self._is_live, self._lost, self._is_suspended = False, None, False

    def disconnected(self, topics: list[str]) -> None:
        """A stream is gone, with the topics that are still wanted. Without any, the host has unsubscribed."""
        if topics:
            self.log(logging.DEBUG, "a stream is gone; %d topics are still wanted", len(topics))

    def denied(self, topic: str, why: BaseException) -> None:
        """A topic that was not waited for is acknowledged, and no event can come."""
        text = "no event of %s can come: the server refuses a list with the same options: %s"
        self.log(logging.WARNING, text, without_options(topic), why)

    def parked(self, topic: str, why: BaseException) -> None:
        """The server refuses a topic for now, and is asked again."""
        text = "the server refuses %s for now; it is asked again: %s"
        self.log(logging.WARNING, text, without_options(topic), why)

    def notice(self, event: Event[Any]) -> None:
        """A callback gets a notice."""
        topic = without_options(event.topic)
        if event.action == "gap":
            self.log(
                self._level_of_gap(event),
                "changes of %s may have been missed in %.1f s: %s",
                topic,
                event.gap_seconds or 0,
                event.gap_reason,
            )
        elif event.action == "lagged":
            self.log(
                logging.WARNING, "%d events of %s were dropped: its callback is too slow", event.lagged, topic
            )
        elif event.action == "refused":
            self.log(logging.ERROR, "the server refused %s: %s", topic, event.error)

    def _live(self) -> None:
        if self._lost is not None:
            began, since = self._lost
            text = "connected again after %.1f s; changes may have been missed"
            self.log(logging.INFO, text, time.monotonic() - began)
            self._report(since, time.time())
        else:
            self.log(logging.DEBUG if self._is_live else logging.INFO, "connected")
        self._is_live, self._lost, self._is_suspended = True, None, False

    def _lose(self) -> None:
        if self._lost is None:
            self._lost = (time.monotonic(), time.time())

    def _level_of_gap(self, event: Event[Any]) -> int:
        """An outage has its own lines, and one gap has one line however many topics have it."""
        since = event.gap_since.timestamp() if event.gap_since else time.time()
        until = since + (event.gap_seconds or 0)
        began, ended = self._reported
        if self._lost is not None or (since <= ended and until >= began):
            return logging.DEBUG
        self._report(since, until)
        return logging.INFO if event.gap_reason == "identity_changed" else logging.WARNING

    def _report(self, since: float, until: float) -> None:
        self._reported = (since, until)
