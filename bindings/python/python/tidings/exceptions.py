"""What can go wrong.

::

    TidingsError
    ├── ClientResponseError          the server's answer, or that there was none (status 0)
    │   ├── NetworkError             also a ConnectionError: not reached, or the connection broke
    │   ├── TimedOutError            also a TimeoutError
    │   ├── ProtocolError            what answered does not speak the expected protocol
    │   └── TokenProviderError       the token provider of the host failed
    ├── ArgumentError                also a ValueError; found before the network
    │   ├── InvalidUrlError
    │   ├── InvalidTopicError
    │   └── UnsupportedError         the backend cannot do this
    ├── ClosedError                  the client was closed
    └── ForkedError                  the client belongs to the parent process

``except ClientResponseError`` so catches all that a server or a network does to a call. No text holds a
token, a password or the query of a URL. All of them can be pickled.
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
    "UnsupportedError",
]


class TidingsError(Exception):
    """The base of all errors of this package."""


class ClientResponseError(TidingsError):
    """The server refused, or could not be asked.

    Args:
        message: What to tell a person.
        status: The HTTP status of the answer; 0 where there was none.
        body: The answer as received.
        retry_after: The seconds that the server asked to wait.
    """

    message: str
    """What to tell a person."""
    status: int
    """The HTTP status of the answer; 0 where there was none."""
    body: bytes
    """The answer as received; empty where there was none."""
    retry_after: float | None
    """The seconds that the server asked to wait, if it did."""

    def __init__(
        self, message: str = "", *, status: int = 0, body: bytes = b"", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.body = body
        self.retry_after = retry_after

    # Of the two bases of some, `OSError` would have its own idea.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message,), self.__dict__

    @property
    def response(self) -> dict[str, Any]:
        """The answer as a dict, e.g. ``{"status": 404, "message": "…", "data": {}}``; empty unless it is a
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
        """The same as `response`, by its name in the PocketBase SDK."""
        return self.response


class NetworkError(ClientResponseError, ConnectionError):
    """The server could not be reached, or the connection broke. ``status`` is 0."""


class TimedOutError(ClientResponseError, TimeoutError):
    """Something took longer than it may. ``status`` is 0."""


class ProtocolError(ClientResponseError):
    """What answered does not speak the expected protocol: not HTTP, not an event stream, not JSON. ``status``
    is 0."""


class TokenProviderError(ClientResponseError):
    """The token provider of the host failed, with this text. ``status`` is 0."""


class ArgumentError(TidingsError, ValueError):
    """An option, header, token or argument cannot be used; found before the network."""


class InvalidUrlError(ArgumentError):
    """The URL of the server cannot be used."""


class InvalidTopicError(ArgumentError):
    """The topic cannot be subscribed to."""


class UnsupportedError(ArgumentError):
    """The backend cannot do this."""


class ClosedError(TidingsError, RuntimeError):
    """The client was closed."""


class ForkedError(TidingsError, RuntimeError):
    """The client was made by the process that this one was forked from. Make a new one here."""
