"""What the sync and the async client have in common: all that does not wait."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from . import _arguments, _ending, _tidings
from ._arguments import Overflow
from ._auth_store import AuthStore
from ._handlers import DisconnectHandler, ErrorHandler, Handlers, StateHandler
from .exceptions import ForkedError

P = TypeVar("P")


class BaseClient(Generic[P]):
    """What `Client` and `AsyncClient` have in common."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, Any] | None = None,
        token_provider: P | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        ca_pem: bytes | str | None = None,
        client_certificate: tuple[bytes | str, bytes | str] | None = None,
        proxy: str | bool | None = None,
        user_agent: str | None = None,
        connect_timeout: float | None = None,
        subscribe_timeout: float | None = None,
        identity_check: float | None = None,
        heartbeat: float | None = None,
        backoff: tuple[float, float] | None = None,
        message_limit: int | None = None,
        rustbaas: tuple[str, str] | None = None,
        token_in_query: bool = False,
    ) -> None:
        """Nothing is connected before the first subscription. All times are in seconds.

        Args:
            url: The address of the server, e.g. ``http://127.0.0.1:8090``.
            token: The token to begin with.
            headers: Headers for every request. Their values are taken for secrets: they are never shown, and
                never sent to another origin after a redirect.
            token_provider: Is asked for a token before the first stream, a minute before one expires, and
                when the server does not take one any more. None stands for a guest. One that raises is asked
                again, less and less often. It may block: each question has a daemon thread of its own (with
                `AsyncClient` a task, and it may be a coroutine function).
            queue: How many events may wait in each subscription, 8192 unless set.
            overflow: What a full queue does: ``"drop_oldest"`` (unless set), ``"drop_newest"``, or
                ``"conflate"``, which keeps the newest event of each record. What is lost is counted and told
                as a ``"lagged"`` event.
            ca_pem: Certificates to trust besides those of the system, in PEM.
            client_certificate: The certificate to show to servers that ask for one: its chain and its key, in
                PEM.
            proxy: ``http://user:password@host:port`` instead of what ``HTTP_PROXY``, ``HTTPS_PROXY`` and
                ``NO_PROXY`` say; False for none.
            user_agent: What to call itself.
            connect_timeout: How long name, TCP, proxy and TLS may take together; 10 unless set.
            subscribe_timeout: How long ``subscribe`` waits for the server's answer; 30 unless set. It fails sooner
                where the server cannot be reached, also if the client was connected before; ``wait=False`` waits
                for as long as it takes.
            identity_check: How often the server is asked whether it still takes the client for who it is; 300
                unless set.
            heartbeat: The interval of a RustBaaS server's heartbeats; 15 unless set.
            backoff: The least and the longest delay before a lost connection is tried again; (0.2, 20) unless
                set, and then a stream that was live is tried again within 0.1 a few times. Once set, every
                reconnect keeps the least delay, but for one after a change of the user.
            message_limit: The largest message taken, in bytes; 16 MiB unless set. A larger one is told as a
                ``"gap"``.
            rustbaas: The server is a RustBaaS, and the collections belong to this (realm, app).
            token_in_query: Sends the token of a RustBaaS stream as ``?access_token=``, where headers are
                taken away.

        Raises:
            InvalidUrlError: The URL is not one of http or https with a host.
            ArgumentError: A setting cannot be used.
        """
        # First, since `__del__` runs even when this fails.
        self._native: _tidings.Client | None = None
        options = _arguments.given(
            token=token,
            headers=_arguments.pairs(headers) or None,
            queue=queue,
            overflow=overflow,
            ca_pem=_arguments.pem(ca_pem),
            client_certificate=_arguments.pems(client_certificate),
            proxy=_arguments.proxy(proxy),
            user_agent=user_agent,
            connect_timeout=connect_timeout,
            subscribe_timeout=subscribe_timeout,
            identity_check=identity_check,
            heartbeat=heartbeat,
            backoff=backoff,
            message_limit=message_limit,
            rustbaas=rustbaas,
            token_in_query=token_in_query or None,
            token_requests=token_provider is not None or None,
        )
        self._native = native = _tidings.Client(url, options)
        self._handlers = Handlers()
        self._auth_store = AuthStore(native, self._handlers)
        self._is_closed = False
        self._is_used = False
        self._begin(native, token_provider)
        _ending.close_at_the_end(self)

    def _begin(self, native: _tidings.Client, provider: P | None) -> None:
        """Prepares for what the native client queues."""
        raise NotImplementedError

    @property
    def _client(self) -> _tidings.Client:
        assert self._native is not None
        return self._native

    @property
    def auth_store(self) -> AuthStore:
        """Who the client is: token, record, and changes of them."""
        return self._auth_store

    @property
    def on_error(self) -> ErrorHandler | None:
        """Is called as ``on_error(exception, event)`` with what a callback raised, after it was logged; event
        is None if a handler raised, which has none. It runs where callbacks run."""
        return self._handlers.on_error

    @on_error.setter
    def on_error(self, handler: ErrorHandler | None) -> None:
        self._handlers.on_error = handler

    @property
    def state(self) -> _tidings.State:
        """The state of the connection.

        Raises:
            ForkedError: In a forked child.
        """
        return self._client.state()

    def filter(self, expression: str, params: Mapping[str, Any] | None = None) -> str:
        """A filter expression with ``params`` in its places ``{:name}``, quoted so that no value changes its
        meaning.

        Text is quoted and escaped; numbers, True, False and None stand as PocketBase spells them, and so do
        dates and times. The same as `tidings.filter`.

        Raises:
            ArgumentError: A place has no value or is not closed, or a text holds a NUL character.
        """
        return _arguments.filter_expression(expression, params)

    def stats(self) -> dict[str, Any]:
        """Counters, as a dashboard would show them.

        Raises:
            ForkedError: In a forked child.
        """
        return self._client.stats()

    def network_changed(self) -> None:
        """Tells the client that the network has changed: waiting connections are tried at once, live ones are
        checked.

        Raises:
            ForkedError: In a forked child.
        """
        self._client.network_changed()

    def _unsubscribe_topic(self, collection: str | None, topic: str | None) -> int:
        ended = self._client.unsubscribe_topic(collection, topic)
        self._forget_ended()
        return ended

    def _unsubscribe_by_prefix(self, prefix: str) -> int:
        ended = self._client.unsubscribe_by_prefix(prefix)
        self._forget_ended()
        return ended

    def _forget_ended(self) -> None:
        """Lets nothing more be delivered to what was unsubscribed."""
        raise NotImplementedError

    def _unsubscribe(self, id: int) -> None:
        """The same for one."""
        raise NotImplementedError

    def __repr__(self) -> str:
        # Not the URL, which may hold a password.
        try:
            state = self._client.state().name
        except ForkedError:
            state = "forked"
        return f"<tidings.{type(self).__name__} {state}>"

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is None or self._is_closed:
            return
        if self._is_used:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        self._let_go()

    def _let_go(self) -> None:
        """Closes without waiting."""
        self._is_closed = True
        self._client.close(wait=False)

    def _close_natively(self) -> None:
        """Closes, and waits until nothing is left."""
        self._client.close()

    def _disown(self) -> None:
        """In a forked child: what the parent has is none of our business."""
        self._is_closed = True


class BaseRealtime:
    """What the sync and the async ``client.realtime`` have in common."""

    def __init__(self, client: BaseClient[Any]) -> None:
        self._of = client

    @property
    def on_disconnect(self) -> DisconnectHandler | None:
        """Is called with the list of topics still wanted when an open stream is gone. The client reconnects
        by itself; an empty list means that it has no reason to. It runs where callbacks run."""
        return self._of._handlers.on_disconnect

    @on_disconnect.setter
    def on_disconnect(self, handler: DisconnectHandler | None) -> None:
        self._of._handlers.on_disconnect = handler
        self._listen()

    @property
    def on_state(self) -> StateHandler | None:
        """Is called with each new `State` of the connection. It runs where callbacks run."""
        return self._of._handlers.on_state

    @on_state.setter
    def on_state(self, handler: StateHandler | None) -> None:
        self._of._handlers.on_state = handler
        self._listen()

    @property
    def client_id(self) -> str:
        """The name that the server has given to the open stream; the empty text while there is none."""
        return self._of._client.client_id() or ""

    @property
    def active_subscriptions(self) -> list[str]:
        """The topics subscribed to, options included."""
        return self._of._client.active_subscriptions()

    def get_active_subscriptions(self) -> list[str]:
        """The same as `active_subscriptions`, by its name in the BosBase SDK."""
        return self.active_subscriptions

    def _listen(self) -> None:
        """Makes sure that handlers are called."""
        raise NotImplementedError
