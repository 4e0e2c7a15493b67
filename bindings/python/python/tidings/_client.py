"""The sync client."""

from __future__ import annotations

import functools
import time
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, overload

from . import _arguments, _docs, _notebook, _tidings
from ._arguments import Overflow
from ._base import BaseClient, BaseRealtime
from ._dispatcher import Dispatcher
from ._docs import documented
from ._event import plain
from ._handlers import EventCallback, Provider
from ._records import Records
from ._subscription import Listener, Subscription
from ._view import ChangesCallback, View, ViewListener, telling
from ._wait import is_patched, wait
from .exceptions import TimedOutError

# How often a call that waits inside a callback looks for token requests, and how often a login with OAuth2 is asked
# for its URL.
_SLICE = 0.05


class Client(BaseClient[Provider]):
    """A realtime client of a PocketBase, BosBase or RustBaaS server, for programs with threads.

    ::

        from tidings import Client

        with Client("http://127.0.0.1:8090") as client:
            for event in client.collection("posts").subscribe("*"):
                print(event["action"], event["record"]["title"])

    or with callbacks::

        def on_post(event):
            print(event["action"], event["record"]["title"])

        unsubscribe = client.collection("posts").subscribe("*", on_post)

    **Threads.** All methods may be called from any thread and from inside any callback. Callbacks and
    handlers run on one daemon thread of the client, the callback thread. Subscriptions take turns of a few
    milliseconds, so a slow callback delays the others by one call, and never the network. If one raises, the
    exception is logged and passed to `on_error`, and the others go on. Ctrl-C interrupts calls that wait.
    Under gevent (patched before the first call) they let other greenlets run.

    **Log.** The logger is ``tidings``; each line begins with the `name` of the client. An outage is logged
    when it begins (WARNING) and when it is over (INFO). No line holds a token.

    **Errors.** All are in `tidings.exceptions`. `ClientResponseError` covers whatever servers and networks do.

    **End.** `close` ends all subscriptions. So do leaving a ``with`` block and the end of the interpreter. A
    client that is no longer referenced is closed with a `ResourceWarning`, unless it has callbacks: then it
    goes on until the last of them is unsubscribed. In IPython and Jupyter, running a statement again closes
    the client that it made before, as soon as nothing else refers to it. In a child process made by ``fork``
    every call raises `ForkedError`; create a new client there.
    """

    # Whether callbacks get what the SDKs of others give them.
    _plain_events = False

    def _begin(self, native: _tidings.Client, provider: Provider | None) -> None:
        changed = self._auth_store._changed
        self._dispatcher = Dispatcher(native, self._handlers, self._journal, provider, changed)
        _notebook.made(self._dispatcher)
        if provider is not None:
            self._dispatcher.start()

    @property
    def realtime(self) -> Realtime:
        """Raw topics, and the connection itself."""
        return Realtime(self)

    def collection(self, name: str) -> Collection:
        """A collection of records, by name or id."""
        return Collection(self, _arguments.collection(name))

    @overload
    def send(
        self,
        method: str,
        path: str,
        /,
        *,
        headers: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float = 30,
    ) -> Any: ...

    @overload
    def send(
        self,
        path: str,
        /,
        *,
        method: str = "GET",
        headers: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float = 30,
    ) -> Any: ...

    @documented(_docs.SEND)
    def send(
        self,
        first: str,
        second: str | None = None,
        /,
        *,
        method: str | None = None,
        headers: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float = 30,
    ) -> Any:
        """Makes one HTTP request with the client's token."""
        method, path = _arguments.route(first, second, method)
        content = _arguments.body(body)
        call = self._client.send(
            method,
            path,
            content.content,
            content.type,
            _arguments.pairs(query),
            _arguments.pairs(headers),
            timeout,
        )
        return _arguments.answer(self._finish(call, None))

    def close(self) -> None:
        """Closes the client: all subscriptions end, and all pending requests fail with `ClosedError`.

        Returns within a second, when no thread, socket or descriptor of the client is left. It does not wait
        for a callback that is running. Closing twice is harmless.
        """
        self._is_closed = True
        if is_patched():
            self._client.close(wait=False)
            wait(self._client.closing(), None)
        else:
            self._client.close()
        self._dispatcher.end()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _finish(self, call: _tidings.Call, timeout: float | None) -> Any:
        """Waits for a call. Whatever ends the wait early withdraws the call."""
        try:
            if not self._wait(call, timeout):
                raise TimedOutError(f"no response within {timeout:g} s")
        except BaseException:
            call.withdraw()
            raise
        return call.result()

    def _wait(self, call: _tidings.Call, timeout: float | None) -> bool:
        if not self._dispatcher.is_current:
            return wait(call, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not wait(
            call, _SLICE if deadline is None else max(0, min(_SLICE, deadline - time.monotonic()))
        ):
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self._dispatcher.attend()
        return True

    def _subscribe(
        self,
        collection: str | None,
        topic: str,
        callback: EventCallback | None,
        options: dict[str, Any],
        wait: bool,
        timeout: float | None,
    ) -> Listener | Subscription:
        if callback is not None:
            self._handlers.check("callback", callback)
        _arguments.valid("topic", topic)
        options |= _arguments.given(timeout=_arguments.limit("timeout", timeout))
        native = self._client
        self._is_used = True
        full = topic if collection is None else f"{collection}/{topic}"
        if callback is None:
            # Outages are logged, callbacks or not.
            self._dispatcher.start()
            asked = native.stream(collection, topic, options, wait)
            if isinstance(asked, _tidings.Call):
                asked = self._finish(asked, None)
            return Subscription(self._dispatcher, full, asked, self)
        dispatcher = self._dispatcher
        id, call = dispatcher.ask(lambda: native.subscribe(collection, topic, options, wait))
        try:
            if call is not None:
                self._finish(call, None)
        except BaseException:
            dispatcher.forget(id)
            raise
        wanted = (lambda event: callback(plain(event))) if self._plain_events else callback
        dispatcher.enter(id, wanted)
        return Listener(dispatcher, full, id)

    def _watch(
        self, collection: str, callback: ChangesCallback | None, options: dict[str, Any], wait: bool
    ) -> View | ViewListener:
        self._begin_to_listen()
        if callback is None:
            native = self._client.watch(collection, options, wait)
            return View(self._made(native), collection, self)
        id, native = self._client.watch_queued(collection, options, wait)
        view = self._made(native)
        dispatcher = self._dispatcher
        handle = ViewListener(view, collection, self, functools.partial(dispatcher.forget, id))
        dispatcher.enter_view(id, telling(view, collection, callback, self._handlers))
        view.release()
        return handle

    def _made(self, view: _tidings.Call | _tidings.View) -> _tidings.View:
        made: _tidings.View = self._finish(view, None) if isinstance(view, _tidings.Call) else view
        return made

    def _log_in(self, call: _tidings.Call, timeout: float | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._finish(call, timeout)
        self._auth_store._changed()
        return answer

    def _log_in_with_provider(
        self, call: _tidings.Call, open: Callable[[str], object], timeout: float | None
    ) -> dict[str, Any]:
        try:
            _arguments.limit("timeout", timeout)
            # The URL comes first, or an error.
            while call.url is None and not self._wait(call, _SLICE):
                pass
            if call.url is not None:
                open(call.url)
        except BaseException:
            call.withdraw()
            raise
        return self._log_in(call, timeout)

    def _outlives(self) -> bool:
        return self._dispatcher.outlive()

    def _listen(self) -> None:
        self._dispatcher.start()

    def _begin_to_listen(self) -> None:
        """Before what listens: outages are logged from then on."""
        self._is_used = True
        self._dispatcher.start()

    def _forget_ended(self) -> None:
        self._dispatcher.forget_ended()

    def _let_go(self) -> None:
        super()._let_go()
        self._dispatcher.silence()

    def _disown(self) -> None:
        super()._disown()
        self._dispatcher._disown()


class BosBase(Client):
    """`Client`, by its name in the BosBase SDK, and with the events of that SDK: callbacks get a plain dict of the
    payload, as its programs expect, and not an `Event`.

    A message that is JSON and no object comes as it is, and text that is not JSON as ``{"raw": text}``. A notice
    is ``{"action": "gap", "record": {}}``; what more there is to know of it stands in the log.
    """

    _plain_events = True


class PocketBase(BosBase):
    """The same, by its name in the PocketBase SDK."""


class Collection(Records):
    """A collection of records: ``client.collection(name)``. All methods may be called from any thread and from
    any callback."""

    def __init__(self, client: Client, name: str) -> None:
        self._of = client
        self._name = name

    @property
    def _asker(self) -> Client:
        return self._of

    @overload
    def subscribe(
        self,
        topic: str,
        callback: EventCallback,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        filter: str | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Listener: ...

    @overload
    def subscribe(
        self,
        topic: str,
        callback: None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        filter: str | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Subscription: ...

    @documented(
        _docs.SUBSCRIBE_TO_RECORDS, topic=_docs.RECORDS, callback=_docs.SYNC_CALLBACK, block="``with``"
    )
    def subscribe(
        self,
        topic: str,
        callback: EventCallback | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        filter: str | None = None,
        expand: str | Iterable[str] | None = None,
        fields: str | Iterable[str] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Listener | Subscription:
        """Subscribes to the changes of records."""
        options = _arguments.subscribe_options(
            query=query,
            headers=headers,
            filter=filter,
            expand=expand,
            fields=fields,
            queue=queue,
            overflow=overflow,
            default=self._of._queue,
        )
        return self._of._subscribe(self._name, topic, callback, options, wait, timeout)

    @overload
    def watch(
        self,
        callback: ChangesCallback,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        limit: int | None = None,
        slack: int | None = None,
        expand: str | Iterable[str] | None = None,
        audit: float | None = 300,
        filter_on_server: bool = False,
        wait: bool = True,
        timeout: float = 30,
    ) -> ViewListener: ...

    @overload
    def watch(
        self,
        callback: None = None,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        limit: int | None = None,
        slack: int | None = None,
        expand: str | Iterable[str] | None = None,
        audit: float | None = 300,
        filter_on_server: bool = False,
        wait: bool = True,
        timeout: float = 30,
    ) -> View: ...

    @documented(_docs.WATCH, callback=_docs.CHANGES_CALLBACK.format(where="on the client's callback thread"))
    def watch(
        self,
        callback: ChangesCallback | None = None,
        *,
        filter: str | None = None,
        sort: str | Iterable[str] | None = None,
        limit: int | None = None,
        slack: int | None = None,
        expand: str | Iterable[str] | None = None,
        audit: float | None = 300,
        filter_on_server: bool = False,
        wait: bool = True,
        timeout: float = 30,
    ) -> View | ViewListener:
        """Makes a live view: a list of records that is kept up to date."""
        if callback is not None:
            self._of._handlers.check("callback", callback)
        options = _arguments.watch_options(
            filter=filter,
            sort=sort,
            limit=limit,
            slack=slack,
            expand=expand,
            audit=audit,
            filter_on_server=filter_on_server,
            timeout=timeout,
        )
        return self._of._watch(self._name, callback, options, wait)

    @documented(_docs.UNSUBSCRIBE)
    def unsubscribe(self, topic: str | None = None) -> int:
        """Ends all subscriptions to a topic of this collection, or with None to all of its topics."""
        return self._of._unsubscribe_topic(self._name, topic)

    @documented(_docs.LOGIN)
    def auth_with_password(self, identity: str, password: str) -> dict[str, Any]:
        """Logs in with a username or an email address."""
        return self._of._log_in(
            self._of._client.auth_with_password(
                self._name, _arguments.valid("identity", identity), _arguments.valid("password", password)
            )
        )

    @documented(_docs.LOGIN)
    def auth_refresh(self) -> dict[str, Any]:
        """Exchanges the token for a new one."""
        return self._of._log_in(self._of._client.auth_refresh(self._name))

    @documented(_docs.OAUTH2, where="on this thread")
    def auth_with_oauth2(
        self,
        provider: str,
        open: Callable[[str], object] = webbrowser.open,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Logs in with an OAuth2 provider."""
        call = self._of._client.auth_with_oauth2(self._name, _arguments.valid("provider", provider))
        return self._of._log_in_with_provider(call, open, timeout)

    def __repr__(self) -> str:
        return f"<tidings.Collection {self._name}>"


class Realtime(BaseRealtime):
    """Raw topics, and the connection itself: ``client.realtime``. All methods may be called from any thread and
    from any callback."""

    _of: Client

    @overload
    def subscribe(
        self,
        topic: str,
        callback: EventCallback,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Listener: ...

    @overload
    def subscribe(
        self,
        topic: str,
        callback: None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Subscription: ...

    @documented(_docs.SUBSCRIBE, topic=_docs.RAW_TOPIC, callback=_docs.SYNC_CALLBACK, block="``with``")
    def subscribe(
        self,
        topic: str,
        callback: EventCallback | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> Listener | Subscription:
        """Subscribes to a raw topic, e.g. one of messages that server hooks send."""
        options = _arguments.subscribe_options(
            query=query, headers=headers, queue=queue, overflow=overflow, default=self._of._queue
        )
        return self._of._subscribe(None, topic, callback, options, wait, timeout)

    @documented(_docs.UNSUBSCRIBE)
    def unsubscribe(self, topic: str | None = None) -> int:
        """Ends all subscriptions to a topic, or with None to all topics."""
        return self._of._unsubscribe_topic(None, topic)

    @documented(_docs.UNSUBSCRIBE)
    def unsubscribe_by_prefix(self, prefix: str) -> int:
        """Ends all subscriptions to topics that begin with ``prefix``, e.g. ``"posts/"``."""
        return self._of._unsubscribe_by_prefix(prefix)

    def _listen(self) -> None:
        self._of._listen()
