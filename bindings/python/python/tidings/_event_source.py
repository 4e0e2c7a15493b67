"""Any stream of server-sent events, read by threads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

from . import _arguments, _ending, _json, _tidings, _wait
from .exceptions import ArgumentError, ForkedError, TooLargeError


@dataclass(frozen=True)
class Message:
    """One message."""

    event: str
    """Its type; ``"message"`` unless the server names another."""
    data: str
    """Its text."""
    id: str
    """The id of the last message that had one, this one included."""

    def json(self) -> Any:
        """The text as JSON.

        Raises:
            ValueError: It is not JSON.
            ProtocolError: It is nested deeper than 10,000 levels.
        """
        return _json.read(self.data.encode())


@dataclass(frozen=True)
class Open:
    """A stream is open."""

    url: str
    """Its URL, after redirects. The query may hold secrets, so the repr does not show it."""
    status: int = field(default=200, compare=False)
    """The HTTP status."""
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The headers of the answer, with their names in lower case."""

    def __repr__(self) -> str:
        return f"Open({_arguments.without_query(self.url)!r}, status={self.status})"


@dataclass(frozen=True)
class Comment:
    """A comment, if they were asked for."""

    text: str


@dataclass(frozen=True)
class TooLarge:
    """A message was larger than the limit and was dropped."""

    limit: int
    """In bytes."""


@dataclass(frozen=True)
class Disconnected:
    """There is no connection, and the source tries again."""

    reason: str
    retry_in: float
    """In how many seconds."""
    error: Exception | None


@dataclass(frozen=True)
class Closed:
    """The last event."""

    error: Exception | None
    """Why; with ``status`` 204 if the server has asked the source to stop, and None after an orderly end."""
    unfinished: Message | None = None
    """A message without a blank line after it, with which the stream ended. By the standard it is dropped, and
    it may be cut anywhere; but some servers leave out the blank line after their last message."""


SourceEvent: TypeAlias = "Message | Open | Comment | TooLarge | Disconnected | Closed"
"""What `EventSource.events` yields."""


@dataclass(frozen=True)
class SourceRequest:
    """What the next connection is made with: the answer of ``on_connect``. What is None is as it was given to
    the source."""

    url: str | None = None
    """Another URL. The source's own headers, token and body are sent to it, whatever its origin."""
    token: str | None = None
    """Is sent as ``Authorization: Bearer …``."""
    headers: Mapping[str, Any] | None = None
    """Headers that are added, or replace those of the same name. Their values are treated as secrets."""

    def __repr__(self) -> str:
        return f"SourceRequest(url={self.url and _arguments.without_query(self.url)!r}, …)"


C = TypeVar("C")
T = TypeVar("T")
S = TypeVar("S")


class BaseEventSource(Generic[C, T, S]):
    """What `EventSource` and `AsyncEventSource` have in common."""

    def __init__(
        self,
        url: str,
        *,
        method: str | None = None,
        headers: Mapping[str, Any] | None = None,
        body: Any = None,
        json: Any = None,
        token: str | None = None,
        token_provider: T | None = None,
        on_connect: C | None = None,
        last_event_id: str | None = None,
        reconnect: bool | None = None,
        once: bool = False,
        max_tries: int | None = None,
        retry_for: float | None = None,
        retry_forever: bool = False,
        read_timeout: float | None = None,
        connect_timeout: float | None = None,
        retry: float | None = None,
        backoff: tuple[float, float] | None = None,
        on_status: S | None = None,
        strict: bool = False,
        accept_type: str | Sequence[str] | None = None,
        comments: bool = False,
        message_limit: int | None = None,
        skip_too_large: bool = False,
        user_agent: str | None = None,
        ca_pem: bytes | str | None = None,
        client_certificate: tuple[bytes | str, bytes | str] | None = None,
        proxy: str | bool | None = None,
    ) -> None:
        """It connects at once (with ``on_connect`` or ``token_provider``: when it is first read). All times are
        in seconds.

        **The method decides what the end of a stream means.** ``GET`` reconnects until the source is closed, as
        the standard says: that is how feeds of changes are read. Every other method takes *one answer*, since
        the request may have effects: a prompt sent twice is answered and paid for twice, and its answers run
        into each other. A client must not repeat such a request on its own (RFC 9110, section 9.2.2). So with
        one answer

        - the request is repeated only until the answer has begun, and only if the server cannot have acted on
          it: there was no connection, or the status was 429, 503 or 529, with or without ``Retry-After``;
        - at most 3 tries are made within 60 seconds;
        - once bytes of a 200 have arrived, an end is the end: the loop ends after an orderly one, and raises
          `NetworkError` or `TimedOutError` with the number of ``messages`` if the stream was cut.

        Args:
            url: The address of the stream.
            method: Any but CONNECT and HEAD. The default is ``"GET"``, and ``"POST"`` with a body.
            headers: Headers of each request. Their values are treated as secrets.
            body: Bytes are sent as they are and a str as text in UTF-8. Anything else is sent as with ``json``.
            json: A body of JSON, in which dates and times, `decimal.Decimal` and `uuid.UUID` stand as text.
            token: Is sent as ``Authorization: Bearer …``.
            token_provider: A function that returns a token, or None for none. It is called before each
                connection, so that a stream that is open for days survives the expiry of its token, by the
                thread or task that reads, and may block (with `AsyncEventSource` it may be a coroutine
                function). If it raises, the connection counts as failed and is tried again after a delay.
            on_connect: The same for all that a connection is made with: it returns a `SourceRequest`, or None.
            last_event_id: The id to continue after.
            reconnect: True reconnects with any method, False takes one answer with ``GET`` too.
            once: Makes the request once. Unlike ``reconnect=False`` it is not repeated before the answer either.
            max_tries: How many connections in a row may fail before the source ends with the last error. A
                stream that delivers a message, or lasts for a minute, begins a new count. By default a source
                that reconnects never gives up. Setting ``max_tries`` or ``retry_for`` replaces both defaults.
            retry_for: For how long failed connections are repeated, counted from the first failing one. It ends
                early if the next try would be later than that, for example because of a long ``Retry-After``.
            retry_forever: Sets no limit of tries or of time.
            read_timeout: How long a stream may be silent before it counts as lost; no limit by default.
            connect_timeout: The timeout for connecting: DNS, TCP, proxy and TLS; 10 by default.
            retry: The delay before a lost connection is tried again, until the server names another; 1 by
                default.
            backoff: The least and the longest delay if that fails again and again; (0.2, 20) by default.
            on_status: A function that is called with the status of an answer that is not an event stream (200 if
                its content type is not accepted), and returns True to try again, False to end with the error,
                and None for the default: a source that reconnects tries again after 408, 425, 429 and 5xx. It
                is not called for 204, which ends the source for good, nor, with one answer, for any 2xx.
                It is called by the thread or task that reads (with `AsyncEventSource` it may be a coroutine
                function), and what it raises, the loop raises.
            strict: Ends with every answer that is not an event stream, whatever its status, as the standard
                says. Lost connections are still retried.
            accept_type: A content type to accept besides ``text/event-stream``, or several, for servers that
                label their streams wrongly; ``""`` accepts an answer without one.
            comments: Delivers comments too, to `events`.
            message_limit: The largest message accepted, in bytes; 16 MiB by default.
            skip_too_large: Skips larger messages. By default the loop raises `TooLargeError`; the next message
                can be read after it.
            user_agent: The ``User-Agent``; ``tidings/VERSION`` by default.
            ca_pem: Certificates to trust in addition to those of the system, in PEM.
            client_certificate: The certificate to show to servers that ask for one: its chain and its key, in
                PEM.
            proxy: ``http://user:password@host:port`` instead of what the environment says; False for none.

        Raises:
            InvalidUrlError: The URL is not an http or https URL with a host.
            ArgumentError: A setting cannot be used.
        """
        self._native: _tidings.EventSource | None = None
        if strict and on_status is not None:
            raise ArgumentError("invalid on_status: `strict` decides about every status; give one of them")
        if on_connect is not None and token_provider is not None:
            raise ArgumentError("invalid token_provider: `on_connect` can give the token; give one of them")
        content = _content(body, json)
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
                ask_connect=on_connect is not None or token_provider is not None or None,
                last_event_id=last_event_id,
                reconnect=reconnect,
                once=once or None,
                max_tries=max_tries,
                retry_for=retry_for,
                retry_forever=retry_forever or None,
                read_timeout=read_timeout,
                connect_timeout=connect_timeout,
                retry=retry,
                backoff=backoff,
                ask_status=on_status is not None or None,
                strict=strict or None,
                accept_type=[accept_type] if isinstance(accept_type, str) else accept_type,
                comments=comments or None,
                message_limit=message_limit,
                user_agent=user_agent,
                ca_pem=_arguments.pem(ca_pem),
                client_certificate=_arguments.pems(client_certificate),
                proxy=_arguments.proxy(proxy),
            ),
        )
        self._on_connect = on_connect
        self._token_provider = token_provider
        self._on_status = on_status
        self._skips_too_large = skip_too_large
        self._unfinished: Message | None = None
        self._ended: Closed | None = None
        # Was taken, and is not answered: who was about to do so may have been interrupted.
        self._question: Question | None = None
        self._is_closed = False
        _ending.close_at_the_end(self)

    @property
    def _source(self) -> _tidings.EventSource:
        assert self._native is not None
        return self._native

    @property
    def last_event_id(self) -> str:
        """The id that a reconnection continues after; empty before a message had an id."""
        return self._source.last_event_id

    @property
    def state(self) -> _tidings.State:
        """The state of the connection."""
        return self._source.state()

    @property
    def ended(self) -> Closed | None:
        """The last event, once it was read: how the stream has ended."""
        return self._ended

    def restart(self) -> None:
        """Makes the request again, at once, whatever the state (but after the end) and the method. Does not
        wait."""
        self._source.restart()

    def _taken(self) -> SourceEvent | Question | None:
        """What is there; None where there is nothing.

        Raises:
            EOFError: Nothing more comes.
        """
        if self._question is not None:
            return self._question
        while taken := self._source.take():
            kind, *values = taken
            if kind == "message":
                return Message(*values)
            if kind == "open":
                return Open(*values)
            if kind == "comment":
                return Comment(values[0])
            if kind == "too_large":
                return TooLarge(values[0])
            if kind == "disconnected":
                return Disconnected(*values)
            if kind == "unfinished":
                self._unfinished = Message(*values)
            if kind == "closed":
                self._ended = Closed(values[0], self._unfinished)
                return self._ended
            if kind == "connect_asked":
                self._question = Question(values[0], None)
                return self._question
            if kind == "status_asked":
                self._question = Question(*values[:2])
                return self._question
            if kind == "end":
                self._is_closed = True
                raise EOFError
        return None

    def _ask(self, question: Question) -> Any:
        """What the host's function says; with asyncio that may be something to await."""
        if question.status is not None:
            assert callable(self._on_status)
            return self._on_status(question.status)
        function = self._on_connect or self._token_provider
        assert callable(function)
        return function()

    def _settle(self, question: Question, answer: Any) -> None:
        self._question = None
        if question.status is not None:
            question.native.answer(None if answer is None else bool(answer))
            return
        if self._token_provider is not None:
            answer = SourceRequest(token=answer)
        request = answer or SourceRequest()
        try:
            question.native.answer(request.url, request.token, _arguments.pairs(request.headers))
        except (AttributeError, TypeError):
            wanted = "a token or None" if self._token_provider else "a SourceRequest or None"
            question.native.fail(f"it did not return {wanted}")

    def _fail(self, question: Question, error: Exception) -> None:
        """The host's function has raised."""
        self._question = None
        if question.status is not None:
            question.native.answer(None)
            raise error
        question.native.fail(f"{type(error).__name__}: {error}")

    def _message_of(self, event: SourceEvent) -> Message | None:
        """The message, if it is one.

        Raises:
            TidingsError: What has closed the stream.
        """
        if isinstance(event, TooLarge) and not self._skips_too_large:
            error = TooLargeError(f"a message was larger than {event.limit} bytes and was dropped")
            error.limit = event.limit
            raise error
        # 204 is how a server says that there is no more, which is an end and no error.
        if isinstance(event, Closed) and event.error is not None and getattr(event.error, "status", 0) != 204:
            raise event.error
        return event if isinstance(event, Message) else None

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


class Question:
    """What the source wants to know before it goes on."""

    def __init__(self, native: Any, status: int | None) -> None:
        self.native = native
        self.status = status


def _content(body: Any, json: Any) -> _arguments.Body:
    if json is not None:
        if body is not None:
            raise ArgumentError("invalid body: `json` is a body too; give one of them")
        return _arguments.Body(_arguments.to_json(json).encode(), "application/json")
    if isinstance(body, str):
        return _arguments.Body(body.encode(), "text/plain; charset=utf-8")
    return _arguments.body(body)


OnConnect: TypeAlias = "Callable[[], SourceRequest | None]"
TokenProvider: TypeAlias = "Callable[[], str | None]"
OnStatus: TypeAlias = "Callable[[int], bool | None]"


class EventSource(BaseEventSource[OnConnect, TokenProvider, OnStatus]):
    """A stream of server-sent events. A prompt to a language model::

        prompt = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        with EventSource("https://llm.example/v1/chat", json=prompt, token=key) as answer:
            for message in answer:
                print(message.data)

    A feed of changes, which reconnects::

        with EventSource("https://example.com/events") as source:
            for message in source:
                print(message.event, message.data)

    Iterating yields messages, and raises what has closed the stream for good: `ClientResponseError` with the
    ``status``, ``headers`` and ``body`` of an answer such as 401 or 429, or `NetworkError` with the number of
    ``messages`` if an answer was cut. It ends when `close` was called, the server has said that it is the end
    (204), or the one answer is complete. `events` yields everything.

    It may be read by one thread at a time; everything else may be called from any. Waiting can be interrupted
    with Ctrl-C.
    """

    def next(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: How many seconds to wait; indefinitely by default.

        Raises:
            TimeoutError: Nothing arrived in time.
            StopIteration: The stream has ended.
            TooLargeError: A message was larger than the limit. The next call goes on after it.
            TidingsError: What has closed it for good.
        """
        while True:
            if (message := self._message_of(self.next_event(timeout))) is not None:
                return message

    def next_event(self, timeout: float | None = None) -> SourceEvent:
        """The next event, as `events` yields it. Errors as of `next`, but `Closed` and `TooLarge` are no errors
        here."""
        while True:
            try:
                event = self._taken()
            except EOFError:
                raise StopIteration from None
            if isinstance(event, Question):
                try:
                    answer = self._ask(event)
                except Exception as error:
                    self._fail(event, error)
                else:
                    self._settle(event, answer)
                continue
            if event is not None:
                return event
            if not _wait.wait(self._source, timeout):
                raise TimeoutError(f"nothing arrived within {timeout:g} s")

    def events(self) -> Iterator[SourceEvent]:
        """Messages and all other events of the stream, until it ends: `Open`, `Message`, `Comment`, `TooLarge`,
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
        """Ends the stream within a second, and with it the iteration. From any thread; harmless if repeated."""
        self._is_closed = True
        self._source.close()

    def __enter__(self) -> EventSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
