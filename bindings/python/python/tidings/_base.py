"""The common part of the sync and the async client: all that does not wait."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from . import _arguments, _ending, _tidings
from ._arguments import Overflow
from ._auth_store import AuthStore
from ._handlers import DisconnectHandler, ErrorHandler, Handlers, StateHandler, check
from ._journal import Journal
from .exceptions import ArgumentError, ForkedError

P = TypeVar("P")

USER_AGENT = f"tidings/{_tidings.__version__}"
IDENTITY_CHECK = 300.0
BACKOFF = (0.2, 20.0)


class BaseClient(Generic[P]):
    """The base of `Client` and `AsyncClient`."""

    # Whether callbacks, handlers and the token provider may be coroutine functions.
    _awaits = False

    def __init__(
        self,
        url: str,
        *,
        # Connection
        name: str | None = None,
        headers: Mapping[str, Any] | None = None,
        user_agent: str = USER_AGENT,
        proxy: str | bool = True,
        ca_pem: bytes | str | None = None,
        client_certificate: tuple[bytes | str, bytes | str] | None = None,
        backoff: tuple[float, float] = BACKOFF,
        # Identity
        token: str | None = None,
        token_provider: P | None = None,
        identity_check: float = IDENTITY_CHECK,
        # Topics and queues
        verify_topics: bool = True,
        gather: float = 250e-6,
        queue: int = 8192,
        overflow: Overflow = "drop_oldest",
        message_limit: int = 16 << 20,
        # Timeouts
        connect_timeout: float = 10,
        subscribe_timeout: float = 30,
        silence_timeout: float | None = None,
        # RustBaaS
        rustbaas: tuple[str, str] | None = None,
        rustbaas_workspace: tuple[str, str] | None = None,
        heartbeat: float | None = None,
        token_in_query: bool = False,
    ) -> None:
        """Connects with the first subscription, not before. All times are in seconds.

        Args:
            url: The URL of the server, e.g. ``http://127.0.0.1:8090``.

            name: The client's name in the log, in its ``repr`` and in the names of its threads. None stands for
                the host and port of the server.
            headers: Headers for every request. Their values are treated as secrets: they are never logged or
                shown, and never sent to another origin after a redirect.
            user_agent: The ``User-Agent`` of every request.
            proxy: A proxy, as ``http://user:password@host:port``. True stands for ``HTTP_PROXY``,
                ``HTTPS_PROXY`` and ``NO_PROXY`` of the environment, False for no proxy.
            ca_pem: Certificates to trust in addition to those of the system, in PEM.
            client_certificate: The certificate for servers that ask for one: its chain and its key, in PEM.
            backoff: The shortest and the longest delay before a failed connection is retried. The delay is
                random, up to a limit that doubles with each failure. With the default, a stream that was live
                is tried again within 0.1 a few times; with any other value, every reconnect keeps the shortest
                delay, but for one after a change of the user.

            token: The initial token.
            token_provider: Called for a token before the first connection, a minute before a token expires,
                and when the server no longer accepts one. None stands for a guest. If it raises, it is called
                again, with backoff. It may block: each call has a daemon thread of its own (with
                `AsyncClient` a task, and it may be a coroutine function).
            identity_check: How often the server is asked whether it still accepts the client's identity;
                PocketBase drops one silently, e.g. when the password changes. Not for RustBaaS.

            verify_topics: Whether the server is asked, with one small list request, if a collection's topic can
                deliver anything: PocketBase acknowledges every topic, also of a collection that does not exist.
                What it refuses (404, 403, 400) fails `subscribe`.
            gather: How long events may gather before the socket is read again, while thousands come in a second;
                0 reads always at once.
            queue: How many events may be queued for each subscription.
            overflow: What a full queue does: ``"drop_oldest"``, ``"drop_newest"``, or ``"conflate"``, which
                keeps the newest event of each record. Dropped events are counted and reported as a
                ``"lagged"`` event.
            message_limit: The size of the largest message accepted, in bytes, at least 1024. A larger one is
                dropped and reported as a ``"gap"``.

            connect_timeout: Timeout for connecting: DNS, TCP, proxy and TLS together.
            subscribe_timeout: How long `subscribe` waits for the server's acknowledgement. It fails sooner where
                the server cannot be reached, also if the client was connected before, and with the second 429 or
                5xx in a row; ``wait=False`` waits for as long as it takes.
            silence_timeout: After how long a silence a connection is given up as dead. None stands for three
                heartbeats of RustBaaS, and with PocketBase for a little more than the 5 minutes after which it
                ends an idle connection itself. A shorter one notices a dead connection sooner, and reconnects,
                with a ``"gap"``, whenever nothing changes for that long.

            rustbaas: The server is a RustBaaS, and the collections belong to this (realm, app).
            rustbaas_workspace: The same for a newer RustBaaS, whose apps are below ``/api/workspaces/``: the
                collections belong to this (workspace, app). There the server filters.
            heartbeat: The interval of the RustBaaS server's heartbeats. None stands for its default, 15.
            token_in_query: Sends the token of a RustBaaS stream as ``?access_token=``. It then appears in
                access logs: use this only where a proxy removes headers.

        Raises:
            InvalidUrlError: The URL does not have the scheme http or https and a host.
            ArgumentError: A setting is invalid.
            UnsupportedError: The server cannot honour a setting.
            TypeError: The token provider cannot be called, or would never run.
        """
        # First, since `__del__` runs even when this fails.
        self._native: _tidings.Client | None = None
        self._is_closed = self._is_used = False
        if token_provider is not None:
            check("token_provider", token_provider, awaits=self._awaits)
        is_rustbaas = rustbaas or rustbaas_workspace
        if rustbaas and rustbaas_workspace:
            raise ArgumentError("invalid rustbaas_workspace: the server cannot be both; leave out rustbaas")
        options = _arguments.given(
            name=name,
            token=token,
            headers=_arguments.pairs(headers) or None,
            silence_timeout=silence_timeout,
            queue=queue,
            overflow=overflow,
            ca_pem=_arguments.pem(ca_pem),
            client_certificate=_arguments.pems(client_certificate),
            proxy=_arguments.proxy(proxy),
            user_agent=user_agent,
            connect_timeout=connect_timeout,
            subscribe_timeout=subscribe_timeout,
            # Set for RustBaaS it is refused; the default is not a setting.
            identity_check=None if is_rustbaas and identity_check == IDENTITY_CHECK else identity_check,
            heartbeat=heartbeat,
            verify_topics=verify_topics,
            gather=gather,
            # Set it holds for every reconnect; the default is not a setting.
            backoff=None if backoff == BACKOFF else backoff,
            message_limit=message_limit,
            rustbaas=rustbaas,
            rustbaas_workspace=rustbaas_workspace,
            token_in_query=token_in_query or None,
            token_requests=token_provider is not None or None,
        )
        for what in ("name", "token", "user_agent", "proxy"):
            if isinstance(text := options.get(what), str):
                _arguments.valid(what, text)
        self._queue: tuple[int, Overflow] = (queue, overflow)
        self._native = native = _tidings.Client(_arguments.valid("url", url), options)
        self._journal = Journal(native.name())
        self._handlers = Handlers(self._journal)
        self._auth_store = AuthStore(native, self._handlers)
        self._begin(native, token_provider)
        _ending.close_at_the_end(self)

    def _begin(self, native: _tidings.Client, provider: P | None) -> None:
        """Prepares to take what the native client queues."""
        raise NotImplementedError

    @property
    def _client(self) -> _tidings.Client:
        assert self._native is not None
        return self._native

    @property
    def name(self) -> str:
        """What the client is called in the log: the host and port of the server, unless a name was given."""
        return self._journal.name

    @property
    def auth_store(self) -> AuthStore:
        """The identity of the client: token, record, and changes of both."""
        return self._auth_store

    @property
    def on_error(self) -> ErrorHandler | None:
        """Called as ``on_error(exception, event)`` when a callback or a handler raised, after that was logged. The
        event is None for handlers, and for callbacks of views. Runs where callbacks run."""
        return self._handlers.on_error

    @on_error.setter
    def on_error(self, handler: ErrorHandler | None) -> None:
        if handler is not None:
            self._handlers.check("on_error", handler)
        self._handlers.on_error = handler

    @property
    def state(self) -> _tidings.State:
        """The current state of the connection.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return self._client.state()

    def filter(self, expression: str, params: Mapping[str, Any] | None = None) -> str:
        """Fills the placeholders ``{:name}`` of a filter expression with ``params``, quoted so that no value can
        change its meaning: the same as `tidings.filter`.

        Raises:
            ArgumentError: A placeholder has no value or is not closed, or a text contains a NUL character.
        """
        return _arguments.filter_expression(expression, params)

    def stats(self) -> dict[str, Any]:
        """Counters, all since the client was created unless said otherwise.

        - ``connects``: connections attempted; ``connected``: those on which all topics were acknowledged.
        - ``disconnects``: a dict of how connections ended: ``ended_by_server``, ``lost``, ``silence``,
          ``refused``, ``rejected`` (the server no longer knew the stream), ``identity_changed``,
          ``suspected`` (the network changed, or the machine slept).
        - ``hand_overs``: handovers, where a new connection replaced one without interruption.
        - ``submits``: sets of topics sent; ``submits_failed``: those not accepted; ``submit_latency``: seconds
          that the last accepted one took.
        - ``probes``: times that the server was asked whether it still accepts the identity.
        - ``messages``: messages received, handshakes included; ``bytes``: bytes received on streams.
        - ``delivered``: events put into queues (a message with three listeners counts three times); ``lost``:
          events dropped from full queues; ``queue_high_water``: the most events that one queue ever held.
        - ``unmatched``: messages that no listener wanted; ``too_large``: messages dropped for their size.
        - ``panics``: callbacks and handlers that raised.
        - ``topics``, ``listeners``, ``streams``: how many there are now.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return self._client.stats() | {"panics": self._handlers.failures}

    def network_changed(self) -> None:
        """Notifies the client that the network has changed. Connections that wait for a retry are tried at once,
        live ones are checked.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        self._client.network_changed()

    def _unsubscribe_topic(self, collection: str | None, topic: str | None) -> int:
        if topic is not None:
            _arguments.valid("topic", topic)
        ended = self._client.unsubscribe_topic(collection, topic)
        self._forget_ended()
        return ended

    def _unsubscribe_by_prefix(self, prefix: str) -> int:
        ended = self._client.unsubscribe_by_prefix(_arguments.valid("prefix", prefix))
        self._forget_ended()
        return ended

    def _outlives(self) -> bool:
        """Nothing refers to this any more: whether its callbacks are still called."""
        raise NotImplementedError

    def _forget_ended(self) -> None:
        """Delivers nothing more to what was unsubscribed."""
        raise NotImplementedError

    def __repr__(self) -> str:
        # Not the URL, which may hold a password.
        try:
            state = self._client.state().name
        except ForkedError:
            state = "forked"
        return f"<tidings.{type(self).__name__} {self.name} {state}>"

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is None or self._is_closed or self._outlives():
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
        """In a forked child, where everything belongs to the parent."""
        self._is_closed = True


class BaseRealtime:
    """The common part of the sync and the async ``client.realtime``."""

    def __init__(self, client: BaseClient[Any]) -> None:
        self._of = client

    @property
    def on_disconnect(self) -> DisconnectHandler | None:
        """Called with the list of topics that are still wanted when an open connection has ended. The client
        reconnects by itself; the list is empty when it has no reason to. Runs where callbacks run."""
        return self._of._handlers.on_disconnect

    @on_disconnect.setter
    def on_disconnect(self, handler: DisconnectHandler | None) -> None:
        if handler is not None:
            self._of._handlers.check("on_disconnect", handler)
        self._of._handlers.on_disconnect = handler
        self._listen()

    @property
    def on_state(self) -> StateHandler | None:
        """Called with each new `State` of the connection. Runs where callbacks run."""
        return self._of._handlers.on_state

    @on_state.setter
    def on_state(self, handler: StateHandler | None) -> None:
        if handler is not None:
            self._of._handlers.check("on_state", handler)
        self._of._handlers.on_state = handler
        self._listen()

    @property
    def client_id(self) -> str:
        """The id that the server has given to the open connection; empty while there is none."""
        return self._of._client.client_id() or ""

    @property
    def active_subscriptions(self) -> list[str]:
        """The topics that are subscribed to, options included."""
        return self._of._client.active_subscriptions()

    def get_active_subscriptions(self) -> list[str]:
        """The same as `active_subscriptions`, by its name in the BosBase SDK."""
        return self.active_subscriptions

    def _listen(self) -> None:
        """Makes sure that handlers will be called."""
        raise NotImplementedError
