"""The async client."""

from __future__ import annotations

import inspect
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, overload

from . import _arguments, _notebook, _tidings
from ._arguments import Overflow
from ._async_subscription import AsyncListener, AsyncSubscription
from ._base import BaseClient, BaseRealtime
from ._handlers import AsyncCallback, AsyncProvider
from ._pump import Pump, on_thread
from .exceptions import TimedOutError

# How often a log-in through another site is asked for its address.
_SLICE = 0.05


class AsyncClient(BaseClient[AsyncProvider]):
    """A realtime client of a PocketBase, BosBase or RustBaaS server, for asyncio.

    ::

        from tidings import AsyncClient

        async with AsyncClient("http://127.0.0.1:8090") as client:
            async for event in await client.collection("posts").subscribe("*"):
                print(event["action"], event["record"]["title"])

    The names are those of `Client`. What waits is to be awaited; what does not, such as unsubscribing, is a
    plain call. Callbacks and handlers may be plain or coroutine functions.

    **Threads.** A client belongs to the event loop of its first use, and its methods are to be called there;
    another loop gets a `RuntimeError`. It has no thread in Python. Each callback has a task of its own, which
    hands it one event after another; what it raises goes to the logger ``tidings`` and to `on_error`, and the
    others go on.

    **Errors.** All are in `tidings.exceptions`; `ClientResponseError` is what servers and networks do.
    Cancelling a call withdraws what it asked for.

    **End.** `close` ends all subscriptions; so do ``async with`` and the end of the interpreter. A client
    that is forgotten closes with a `ResourceWarning`, unless it has callbacks: then it goes on as long as its
    loop. In a child made by ``fork`` every call raises `ForkedError`; a new client works there.
    """

    _awaits = True

    def _begin(self, native: _tidings.Client, provider: AsyncProvider | None) -> None:
        self._pump = Pump(native, self._handlers, self._journal, provider, self._auth_store._changed)
        _notebook.made(self._pump)

    @property
    def realtime(self) -> AsyncRealtime:
        """Raw topics and the connection."""
        return AsyncRealtime(self)

    def collection(self, name: str) -> AsyncCollection:
        """A collection of records, by name or id."""
        return AsyncCollection(self, _arguments.collection(name))

    async def send(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """One request with the client's token.

        Args:
            path: Below the server's URL, e.g. ``/api/collections/posts/records``; it may have a query.
            method: ``"GET"``, ``"POST"`` and so on.
            headers: Headers besides those of the client.
            query: Parameters. A list stands for several of one name, None for nothing.
            body: Bytes are sent as they are, anything else as JSON. Dates and times, `decimal.Decimal` and
                `uuid.UUID` stand in it as text.
            timeout: How many seconds it may take.

        Returns:
            The answer: parsed JSON, None if it is empty, or bytes if it is something else.

        Raises:
            ClientResponseError: The server refused, with its ``status``, or could not be asked.
            ArgumentError: An argument cannot be sent.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        content = _arguments.body(body)
        call = self._client.send(
            method.upper(),
            _arguments.path(path),
            content.content,
            content.type,
            _arguments.pairs(query),
            _arguments.pairs(headers),
            timeout,
        )
        return _arguments.answer(await self._finish(call, None))

    async def close(self) -> None:
        """Closes the client: all subscriptions end, and all requests under way fail with `ClosedError`.

        Resolves within a second, when no thread, socket or descriptor of the client is left; only a callback
        that runs is not waited for. Harmless when done before. The closing itself happens with the call, even
        if this is cancelled.
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
        """Waits for what was asked; what ends the wait withdraws it."""
        try:
            self._pump.attach()
            if not await self._pump.until(call.poll, timeout):
                raise TimedOutError(f"no answer came within {timeout:g} s")
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
        options |= _arguments.given(timeout=_arguments.limit("timeout", timeout))
        self._pump.attach()
        self._is_used = True
        told = topic if collection is None else f"{collection}/{topic}"
        native = self._client.stream(collection, topic, options, wait)
        if isinstance(native, _tidings.Call):
            native = await self._finish(native, None)
        if callback is None:
            return AsyncSubscription(self._pump, told, native, self)
        self._pump.heard.add(native.id)
        self._pump.spawn(self._pump.deliver(native, callback))
        return AsyncListener(self._pump, told, native.id)

    async def _log_in(self, call: _tidings.Call, timeout: float | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self._finish(call, timeout)
        self._auth_store._changed()
        return answer

    async def _log_in_elsewhere(
        self, call: _tidings.Call, open: Callable[[str], object], timeout: float | None
    ) -> dict[str, Any]:
        try:
            _arguments.limit("timeout", timeout)
            # The address comes first, or what went wrong.
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

    def _forget_ended(self) -> None:
        self._pump.forget_ended()


class AsyncCollection:
    """A collection of records: ``client.collection(name)``. All methods may be called in the loop of the
    client."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._of = client
        self._name = name

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
        """Subscribes to changes of records, and waits until the server has acknowledged that.

        From then on each change that the server sends comes, or a notice of what may have been missed: an
        event whose ``action`` is ``"gap"``, ``"lagged"`` or ``"refused"`` (the last one). Their
        ``event["record"]`` is an empty dict.

        Args:
            topic: ``"*"`` for all records, or the id of one.
            callback: Is called with each `Event`, as a plain or a coroutine function, in order. Without one,
                the handle that is returned is iterated over.
            query: Parameters that rules and hooks see; the names ``filter``, ``expand`` and ``fields`` are
                known to the server, and may be given here or by themselves. A list is joined with commas.
            headers: Headers that rules and hooks see.
            filter: Which records to tell of. See `AsyncClient.filter` for values in it.
            expand: Which relations to put into the records.
            fields: Which fields of the records to send.
            queue: How many events may wait; as the client has it unless set.
            overflow: What a full queue does; as the client has it unless set. See `AsyncClient`.
            wait: False returns at once, whether there is a network or not, and connects in the background.
            timeout: How many seconds to wait for the server's word; the client's ``subscribe_timeout`` unless
                set.

        Returns:
            A handle that unsubscribes this listener when called, or at the end of a ``async with`` block.

        Raises:
            ClientResponseError: The server refused, with its ``status``, or could not be asked.
            ArgumentError: The topic or an option cannot be used.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        options = _arguments.subscribe_options(
            query=query,
            headers=headers,
            filter=filter,
            expand=expand,
            fields=fields,
            queue=queue,
            overflow=overflow,
        )
        return await self._of._subscribe(self._name, topic, callback, options, wait, timeout)

    def unsubscribe(self, topic: str | None = None) -> int:
        """Ends all subscriptions to a topic of this collection, or to all of them, whatever their options.
        Does not wait.

        Returns:
            How many they were.

        Raises:
            ForkedError: In a forked child.
        """
        return self._of._unsubscribe_topic(self._name, topic)

    async def auth_with_password(self, identity: str, password: str) -> dict[str, Any]:
        """Logs in with a name or an e-mail address.

        Returns:
            ``{"token": …, "record": …}``, which ``client.auth_store`` has from now on.

        Raises:
            ClientResponseError: The server refused (status 400 for a wrong password), or could not be asked.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        return await self._of._log_in(self._of._client.auth_with_password(self._name, identity, password))

    async def auth_refresh(self) -> dict[str, Any]:
        """Exchanges the token for a fresh one. Errors and result as of `auth_with_password`."""
        return await self._of._log_in(self._of._client.auth_refresh(self._name))

    async def auth_with_oauth2(
        self,
        provider: str,
        open: Callable[[str], object] = webbrowser.open,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Logs in through another site, such as ``"google"``.

        Args:
            provider: Its name in the settings of the collection.
            open: Is called with the address that the person is to visit, in the loop.
            timeout: How many seconds to wait for the person; for ever unless set.

        Raises:
            ClientResponseError: The server or the site refused, or could not be asked. What ``open`` raises
                comes out too.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        call = self._of._client.auth_with_oauth2(self._name, provider)
        return await self._of._log_in_elsewhere(call, open, timeout)

    def __repr__(self) -> str:
        return f"<tidings.AsyncCollection {self._name}>"


class AsyncRealtime(BaseRealtime):
    """Raw topics and the connection: ``client.realtime``. All methods may be called in the loop of the
    client."""

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
        """Subscribes to a topic as it stands on the wire, and waits until the server has acknowledged that.

        From then on each change that the server sends comes, or a notice of what may have been missed: an
        event whose ``action`` is ``"gap"``, ``"lagged"`` or ``"refused"`` (the last one). Their
        ``event["record"]`` is an empty dict.

        Args:
            topic: E.g. ``"jobs/finished"``, ``"posts/*"``, or ``"PB_CONNECT"``, which tells each
                (re)connection as ``event["clientId"]``.
            callback: Is called with each `Event`, as a plain or a coroutine function, in order. Without one,
                the handle that is returned is iterated over.
            query: Parameters that rules and hooks see; the names ``filter``, ``expand`` and ``fields`` are
                known to the server, and may be given here or by themselves. A list is joined with commas.
            headers: Headers that rules and hooks see.
            queue: How many events may wait; as the client has it unless set.
            overflow: What a full queue does; as the client has it unless set. See `AsyncClient`.
            wait: False returns at once, whether there is a network or not, and connects in the background.
            timeout: How many seconds to wait for the server's word; the client's ``subscribe_timeout`` unless
                set.

        Returns:
            A handle that unsubscribes this listener when called, or at the end of a ``async with`` block.

        Raises:
            ClientResponseError: The server refused, with its ``status``, or could not be asked.
            ArgumentError: The topic or an option cannot be used.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        options = _arguments.subscribe_options(query=query, headers=headers, queue=queue, overflow=overflow)
        return await self._of._subscribe(None, topic, callback, options, wait, timeout)

    def unsubscribe(self, topic: str | None = None) -> int:
        """Ends all subscriptions to a topic, whatever their options, or to all topics. Does not wait.

        Returns:
            How many they were.

        Raises:
            ForkedError: In a forked child.
        """
        return self._of._unsubscribe_topic(None, topic)

    def unsubscribe_by_prefix(self, prefix: str) -> int:
        """The same for all topics that begin so, e.g. ``"posts/"``."""
        return self._of._unsubscribe_by_prefix(prefix)

    def _listen(self) -> None:
        self._of._listen()
