"""The async client."""

from __future__ import annotations

import functools
import inspect
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, overload

from . import _arguments, _docs, _notebook, _tidings
from ._arguments import Overflow
from ._async_subscription import AsyncListener, AsyncSubscription
from ._base import BaseClient, BaseRealtime
from ._docs import documented
from ._handlers import AsyncCallback, AsyncProvider
from ._pump import Pump, on_thread
from ._records import AsyncRecords
from ._view import AsyncView, AsyncViewListener, ChangesCallback, deliver
from .exceptions import TimedOutError

# How often a login with OAuth2 is asked for its URL.
_SLICE = 0.05


class AsyncClient(BaseClient[AsyncProvider]):
    """A realtime client of a PocketBase, BosBase or RustBaaS server, for asyncio.

    ::

        from tidings import AsyncClient

        async with AsyncClient("http://127.0.0.1:8090") as client:
            async for event in await client.collection("posts").subscribe("*"):
                print(event["action"], event["record"]["title"])

    The names are those of `Client`. Methods that wait are coroutines; those that do not, such as
    unsubscribing, are plain methods. Callbacks and handlers may be plain or coroutine functions.

    **Event loop.** A client belongs to the asyncio event loop on which it was first used; calls from another
    loop raise `RuntimeError`. It starts no Python thread. Each callback runs in a task of its own, one event
    after another. If one raises, the exception is logged and passed to `on_error`, and the others go on.
    anyio works on its asyncio backend. Trio has no asyncio loop: use `Client` in threads there, with
    ``trio.to_thread.run_sync``.

    **Log.** As that of `Client`.

    **Errors.** All are in `tidings.exceptions`. `ClientResponseError` covers whatever servers and networks do.
    Cancelling a call withdraws it.

    **End.** `close` ends all subscriptions. So do leaving an ``async with`` block and the end of the
    interpreter. A client that is no longer referenced is closed with a `ResourceWarning`, unless it has
    callbacks: then it goes on until the last of them is unsubscribed, or its loop ends. In IPython and
    Jupyter, running a statement again closes the client that it made before, as soon as nothing else refers
    to it. In a child process made by ``fork`` every call raises `ForkedError`; create a new client there.
    """

    _awaits = True

    def _begin(self, native: _tidings.Client, provider: AsyncProvider | None) -> None:
        self._pump = Pump(native, self._handlers, self._journal, provider, self._auth_store._changed)
        _notebook.made(self._pump)

    @property
    def realtime(self) -> AsyncRealtime:
        """Raw topics, and the connection itself."""
        return AsyncRealtime(self)

    def collection(self, name: str) -> AsyncCollection:
        """A collection of records, by name or id."""
        return AsyncCollection(self, _arguments.collection(name))

    @overload
    async def send(
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
    async def send(
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
    async def send(
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
        return _arguments.answer(await self._finish(call, None))

    async def close(self) -> None:
        """Closes the client: all subscriptions end, and all pending requests fail with `ClosedError`.

        Returns within a second, when no thread, socket or descriptor of the client is left. It does not wait
        for a callback that is running. Closing twice is harmless. Cancelling this ends the wait, not the
        closing.
        """
        self._is_closed = True
        self._client.close(wait=False)
        self._pump.heard.clear()
        self._pump.stop()
        await on_thread(self._client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _finish(self, call: _tidings.Call, timeout: float | None) -> Any:
        """Waits for a call. Whatever ends the wait early withdraws the call."""
        try:
            self._pump.attach()
            if not await self._pump.until(call.poll, timeout):
                raise TimedOutError(f"no response within {timeout:g} s")
        except BaseException:
            call.withdraw()
            raise
        return call.result()

    async def _subscribe(
        self,
        collection: str | None,
        topic: str,
        callback: AsyncCallback | None,
        options: dict[str, Any],
        wait: bool,
        timeout: float | None,
    ) -> AsyncListener | AsyncSubscription:
        if callback is not None:
            self._handlers.check("callback", callback)
        _arguments.valid("topic", topic)
        options |= _arguments.given(timeout=_arguments.limit("timeout", timeout))
        self._pump.attach()
        self._is_used = True
        full = topic if collection is None else f"{collection}/{topic}"
        native = self._client.stream(collection, topic, options, wait)
        if isinstance(native, _tidings.Call):
            native = await self._finish(native, None)
        if callback is None:
            return AsyncSubscription(self._pump, full, native, self)
        self._pump.heard.add(native.id)
        self._pump.spawn(self._pump.deliver(native, callback))
        return AsyncListener(self._pump, full, native.id)

    async def _watch(
        self, collection: str, callback: ChangesCallback | None, options: dict[str, Any], wait: bool
    ) -> AsyncView | AsyncViewListener:
        self._begin_to_listen()
        id, native = self._client.watch_queued(collection, options, wait)
        view: _tidings.View = (
            await self._finish(native, None) if isinstance(native, _tidings.Call) else native
        )
        pump = self._pump
        if callback is None:
            return AsyncView(view, collection, self, pump)
        pump.views.add(id)
        pump.spawn(deliver(pump, id, view, collection, callback, self._handlers))
        return AsyncViewListener(view, collection, self, functools.partial(pump.forget_view, id))

    async def _log_in(self, call: _tidings.Call, timeout: float | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self._finish(call, timeout)
        self._auth_store._changed()
        return answer

    async def _log_in_with_provider(
        self, call: _tidings.Call, open: Callable[[str], object], timeout: float | None
    ) -> dict[str, Any]:
        try:
            _arguments.limit("timeout", timeout)
            # The URL comes first, or an error.
            while call.url is None and not await self._pump.until(call.poll, _SLICE):
                pass
            if call.url is not None:
                result = open(call.url)
                if inspect.isawaitable(result):
                    await result
        except BaseException:
            call.withdraw()
            raise
        return await self._log_in(call, timeout)

    def _listen(self) -> None:
        try:
            self._pump.attach()
        except RuntimeError:
            # No loop runs yet: the first use of the client attaches it.
            if self._pump.is_attached:
                raise

    def _outlives(self) -> bool:
        return self._pump.outlive()

    def _begin_to_listen(self) -> None:
        """Before what listens: outages are logged from then on."""
        self._is_used = True
        self._pump.attach()

    def _forget_ended(self) -> None:
        self._pump.forget_ended()


class AsyncCollection(AsyncRecords):
    """A collection of records: ``client.collection(name)``. Its methods are called on the client's event
    loop."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._of = client
        self._name = name

    @property
    def _asker(self) -> AsyncClient:
        return self._of

    @overload
    async def subscribe(
        self,
        topic: str,
        callback: AsyncCallback,
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
    ) -> AsyncListener: ...

    @overload
    async def subscribe(
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
    ) -> AsyncSubscription: ...

    @documented(
        _docs.SUBSCRIBE_TO_RECORDS, topic=_docs.RECORDS, callback=_docs.ASYNC_CALLBACK, block="``async with``"
    )
    async def subscribe(
        self,
        topic: str,
        callback: AsyncCallback | None = None,
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
    ) -> AsyncListener | AsyncSubscription:
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
        return await self._of._subscribe(self._name, topic, callback, options, wait, timeout)

    @overload
    async def watch(
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
    ) -> AsyncViewListener: ...

    @overload
    async def watch(
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
    ) -> AsyncView: ...

    @documented(_docs.WATCH, callback=_docs.CHANGES_CALLBACK.format(where="a plain or a coroutine function"))
    async def watch(
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
    ) -> AsyncView | AsyncViewListener:
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
        return await self._of._watch(self._name, callback, options, wait)

    @documented(_docs.UNSUBSCRIBE)
    def unsubscribe(self, topic: str | None = None) -> int:
        """Ends all subscriptions to a topic of this collection, or with None to all of its topics."""
        return self._of._unsubscribe_topic(self._name, topic)

    @documented(_docs.LOGIN)
    async def auth_with_password(self, identity: str, password: str) -> dict[str, Any]:
        """Logs in with a username or an email address."""
        return await self._of._log_in(
            self._of._client.auth_with_password(
                self._name, _arguments.valid("identity", identity), _arguments.valid("password", password)
            )
        )

    @documented(_docs.LOGIN)
    async def auth_refresh(self) -> dict[str, Any]:
        """Exchanges the token for a new one."""
        return await self._of._log_in(self._of._client.auth_refresh(self._name))

    @documented(_docs.OAUTH2, where="on the event loop")
    async def auth_with_oauth2(
        self,
        provider: str,
        open: Callable[[str], object] = webbrowser.open,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Logs in with an OAuth2 provider."""
        call = self._of._client.auth_with_oauth2(self._name, _arguments.valid("provider", provider))
        return await self._of._log_in_with_provider(call, open, timeout)

    def __repr__(self) -> str:
        return f"<tidings.AsyncCollection {self._name}>"


class AsyncRealtime(BaseRealtime):
    """Raw topics, and the connection itself: ``client.realtime``. Its methods are called on the client's event
    loop."""

    _of: AsyncClient

    @overload
    async def subscribe(
        self,
        topic: str,
        callback: AsyncCallback,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> AsyncListener: ...

    @overload
    async def subscribe(
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
    ) -> AsyncSubscription: ...

    @documented(_docs.SUBSCRIBE, topic=_docs.RAW_TOPIC, callback=_docs.ASYNC_CALLBACK, block="``async with``")
    async def subscribe(
        self,
        topic: str,
        callback: AsyncCallback | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        queue: int | None = None,
        overflow: Overflow | None = None,
        wait: bool = True,
        timeout: float | None = None,
    ) -> AsyncListener | AsyncSubscription:
        """Subscribes to a raw topic, e.g. one of messages that server hooks send."""
        options = _arguments.subscribe_options(
            query=query, headers=headers, queue=queue, overflow=overflow, default=self._of._queue
        )
        return await self._of._subscribe(None, topic, callback, options, wait, timeout)

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
