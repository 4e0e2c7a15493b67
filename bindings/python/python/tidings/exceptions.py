"""The exceptions of this package.

::

    TidingsError
    ├── ClientResponseError          the server refused, or there was no response (status 0)
    │   ├── NetworkError             also a ConnectionError: unreachable, or the connection broke
    │   ├── TimedOutError            also a TimeoutError
    │   ├── ProtocolError            the response was not of the expected protocol, or cannot be read
    │   │   └── TooLargeError        a message of an event source was larger than its limit
    │   └── TokenProviderError       your token provider failed
    ├── ArgumentError                also a ValueError; raised before the network is used
    │   ├── InvalidUrlError
    │   ├── InvalidTopicError
    │   └── UnsupportedError         the server cannot do this
    ├── ClosedError                  the client is closed
    └── ForkedError                  the client belongs to the parent process

``except ClientResponseError`` catches everything that a server or a network can do to a call. No message
contains a token, a password or the query of a URL. All exceptions can be pickled.
"""

from __future__ import annotations

from typing import Any

from . import _json

__all__ = [
    "ArgumentError",
    "ClientResponseError",
    "ClosedError",
    "ForkedError",
    "InvalidTopicError",
    "InvalidUrlError",
    "NetworkError",
    "ProtocolError",
    "TidingsError",
    "TimedOutError",
    "TokenProviderError",
    "TooLargeError",
    "UnsupportedError",
]


class TidingsError(Exception):
    """The base of all errors of this package."""


class ClientResponseError(TidingsError):
    """The server refused, or there was no response.

    Args:
        message: Text for a person.
        status: The HTTP status of the response; 0 if there was none.
        body: The response body as received.
        retry_after: How many seconds the server asked to wait.
        headers: The headers of the response.
        messages: The number of messages before the answer to an event source was cut.
    """

    message: str
    """Text for a person."""
    status: int
    """The HTTP status of the response; 0 if there was none."""
    body: bytes
    """The response body as received; empty if there was none."""
    retry_after: float | None
    """How many seconds the server asked to wait, if it did."""
    headers: dict[str, str]
    """The headers of the response, with their names in lower case; empty if there was none."""
    messages: int | None
    """The number of messages that an event source had delivered before its answer was cut; None if it was not."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        body: bytes = b"",
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
        messages: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self.headers = headers or {}
        self.messages = messages

    # Some have `OSError` as a second base, which would pickle them its own way.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), self.__dict__

    @property
    def response(self) -> dict[str, Any]:
        """The response body as a dict, e.g. ``{"status": 404, "message": "…", "data": {}}``; empty unless it is a
        JSON object.

        Raises:
            ProtocolError: It is nested too deeply to be read; `body` has it.
        """
        try:
            answer = _json.read(self.body)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    @property
    def data(self) -> dict[str, Any]:
        """The same as `response`, under its name in the PocketBase SDK."""
        return self.response


class NetworkError(ClientResponseError, ConnectionError):
    """The server is unreachable, or the connection broke. ``status`` is 0."""


class TimedOutError(ClientResponseError, TimeoutError):
    """A timeout has passed. ``status`` is 0."""


class ProtocolError(ClientResponseError):
    """The response was not of the expected protocol (HTTP, an event stream, JSON), or its content cannot be read.
    ``status`` is 0, or 200 with the ``headers`` and the ``body`` if an event source was not answered with an event
    stream."""


class TooLargeError(ProtocolError):
    """A message of an event source was larger than its limit and was dropped. The stream goes on."""

    limit: int = 0
    """The limit in bytes."""


class TokenProviderError(ClientResponseError):
    """Your token provider failed, with this message. ``status`` is 0."""


class ArgumentError(TidingsError, ValueError):
    """An option, header, token or argument is invalid. Raised before the network is used."""


class InvalidUrlError(ArgumentError):
    """The URL of the server is invalid."""


class InvalidTopicError(ArgumentError):
    """The topic is invalid."""


class UnsupportedError(ArgumentError):
    """The server cannot do this."""


class ClosedError(TidingsError, RuntimeError):
    """The client is closed."""


class ForkedError(TidingsError, RuntimeError):
    """The client belongs to the process that this one was forked from. Create a new one here."""
