"""Any stream of server-sent events, read by threads."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

from . import _arguments, _ending, _tidings
from .exceptions import ForkedError


@dataclass(frozen=True)
class Message:
    """One message."""

    event: str
    """Its type; ``"message"`` unless the server says otherwise."""
    data: str
    """Its text."""
    id: str
    """The id of the last message that had one, this one included."""

    def json(self) -> Any:
        """The text as JSON.

        Raises:
            ValueError: It is not.
        """
        return json.loads(self.data)


@dataclass(frozen=True)
class Open:
    """A connection was accepted."""

    url: str
    """Where it went, after redirects."""


@dataclass(frozen=True)
class Comment:
    """A comment, where they were asked for."""

    text: str


@dataclass(frozen=True)
class TooLarge:
    """A message was larger than the limit and was dropped."""

    limit: int
    """In bytes."""


@dataclass(frozen=True)
class Disconnected:
    """The connection is gone, and is tried again."""

    reason: str
    retry_in: float
    """In how many seconds."""
    error: Exception | None


@dataclass(frozen=True)
class Closed:
    """Nothing more comes."""

    error: Exception | None
    """Why; with ``status`` 204 if the server has said that it is the end, and None if the host has ended it."""


SourceEvent: TypeAlias = "Message | Open | Comment | TooLarge | Disconnected | Closed"
"""What `EventSource.events` gives."""


class BaseEventSource:
    """What `EventSource` and `AsyncEventSource` have in common."""

    def __init__(
        self,
        url: str,
        *,
        method: str | None = None,
        headers: Mapping[str, Any] | None = None,
        body: Any = None,
        token: str | None = None,
        last_event_id: str | None = None,
        read_timeout: float | None = None,
        connect_timeout: float | None = None,
        retry: float | None = None,
        backoff: tuple[float, float] | None = None,
        once: bool = False,
        comments: bool = False,
        strict: bool = False,
        message_limit: int | None = None,
        user_agent: str | None = None,
        ca_pem: bytes | str | None = None,
        client_certificate: tuple[bytes | str, bytes | str] | None = None,
        proxy: str | bool | None = None,
    ) -> None:
        """It connects at once. All times are in seconds.

        Args:
            url: The address of the stream.
            method: ``"GET"`` unless set.
            headers: Headers to send. Their values are taken for secrets.
            body: Bytes are sent as they are, anything else as JSON, in which dates and times,
                `decimal.Decimal` and `uuid.UUID` stand as text.
            token: Is sent as ``Authorization: Bearer …``.
            last_event_id: Where to go on.
            read_timeout: How long a stream may be silent before it is given up; for ever unless set.
            connect_timeout: How long name, TCP, proxy and TLS may take together; 10 unless set.
            retry: The delay before a lost connection is tried again, until the server says otherwise.
            backoff: The least and the longest delay when it fails again and again.
            once: Does not reconnect: the end of the stream is the end.
            comments: Gives comments too.
            strict: Takes only what the standard lets pass, such as the content type ``text/event-stream``.
            message_limit: The largest message taken, in bytes; 16 MiB unless set.
            user_agent: What to call itself.
            ca_pem: Certificates to trust besides those of the system, in PEM.
            client_certificate: The certificate to show to servers that ask for one: its chain and its key, in
                PEM.
            proxy: Instead of what the environment says; False for none.

        Raises:
            InvalidUrlError: The URL is not one of http or https with a host.
            ArgumentError: A setting cannot be used.
        """
        self._native: _tidings.EventSource | None = None
        content = _arguments.body(body)
        all_headers = _arguments.pairs(headers)
        if content.type and not any(name.lower() == "content-type" for name, _ in all_headers):
            all_headers.append(("Content-Type", content.type))
        self._native = _tidings.EventSource(
            url,
            _arguments.given(
                method=method,
                headers=all_headers or None,
                body=content.content,
                token=token,
                last_event_id=last_event_id,
                read_timeout=read_timeout,
                connect_timeout=connect_timeout,
                retry=retry,
                backoff=backoff,
                once=once or None,
                comments=comments or None,
                strict=strict or None,
                message_limit=message_limit,
                user_agent=user_agent,
                ca_pem=_arguments.pem(ca_pem),
                client_certificate=_arguments.pems(client_certificate),
                proxy=_arguments.proxy(proxy),
            ),
        )
        self._is_closed = False
        _ending.close_at_the_end(self)

    @property
    def _source(self) -> _tidings.EventSource:
        assert self._native is not None
        return self._native

    @property
    def last_event_id(self) -> str:
        """Where a reconnection goes on; the empty text before a message had an id."""
        return self._source.last_event_id

    @property
    def state(self) -> _tidings.State:
        """The state of the connection."""
        return self._source.state()

    def restart(self) -> None:
        """Connects anew, at once, whatever the state. Does not wait."""
        self._source.restart()

    def _taken(self) -> SourceEvent | None:
        """What is there; None where there is nothing.

        Raises:
            EOFError: Nothing more comes.
        """
        while told := self._source.take():
            kind, *values = told
            if kind == "message":
                return Message(*values)
            if kind == "open":
                return Open(values[0])
            if kind == "comment":
                return Comment(values[0])
            if kind == "too_large":
                return TooLarge(values[0])
            if kind == "disconnected":
                return Disconnected(*values)
            if kind == "closed":
                return Closed(values[0])
            if kind == "end":
                self._is_closed = True
                raise EOFError
        return None

    def __repr__(self) -> str:
        try:
            state = self._source.state().name
        except ForkedError:
            state = "forked"
        return f"<tidings.{type(self).__name__} {state}>"

    def __del__(self) -> None:
        # The native one closes when it goes.
        if getattr(self, "_native", None) is not None and not self._is_closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def _let_go(self) -> None:
        self._is_closed = True

    def _close_natively(self) -> None:
        self._source.close()

    def _disown(self) -> None:
        self._is_closed = True


def message_of(event: SourceEvent) -> Message | None:
    """The message, if it is one.

    Raises:
        TidingsError: What has closed the stream.
    """
    # 204 is how a server says that there is no more, which is an end and no error.
    if isinstance(event, Closed) and event.error is not None and getattr(event.error, "status", 0) != 204:
        raise event.error
    return event if isinstance(event, Message) else None


class EventSource(BaseEventSource):
    """A stream of server-sent events, with reconnection.

    ::

        with EventSource("https://example.com/events") as source:
            for message in source:
                print(message.event, message.data)

    Iterating gives messages, and raises what has closed the stream for good (`ClientResponseError` with the
    ``status`` of an answer such as 401 or 404); it ends when `close` was called or the server has said that
    it is the end (204). `events` gives everything.

    It may be read by one thread at a time; everything else may be called from any. Waiting answers Ctrl-C.
    """

    def next(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: How many seconds to wait; for ever unless set.

        Raises:
            TimeoutError: Nothing came in time.
            StopIteration: The stream has ended.
            TidingsError: What has closed it for good.
        """
        while True:
            if (message := message_of(self.next_event(timeout))) is not None:
                return message

    def next_event(self, timeout: float | None = None) -> SourceEvent:
        """The next message or other news, as `events` gives it. Errors as of `next`, but `Closed` is no error
        here."""
        while True:
            try:
                event = self._taken()
            except EOFError:
                raise StopIteration from None
            if event is not None:
                return event
            if not self._source.wait(timeout):
                raise TimeoutError(f"nothing came within {timeout:g} s")

    def events(self) -> Iterator[SourceEvent]:
        """Messages and all other news of the stream, until it ends: `Open`, `Message`, `Comment`, `TooLarge`,
        `Disconnected`, and last `Closed`."""
        while True:
            try:
                event = self.next_event()
            except StopIteration:
                return
            yield event

    def __iter__(self) -> EventSource:
        return self

    def __next__(self) -> Message:
        return self.next()

    def close(self) -> None:
        """Ends the stream within a second, and with it the iteration. From any thread; harmless when done
        before."""
        self._is_closed = True
        self._source.close()

    def __enter__(self) -> EventSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
