"""The sync client."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, overload

from . import _arguments, _notebook, _tidings
from ._arguments import Overflow
from ._base import BaseClient, BaseRealtime
from ._dispatcher import Dispatcher
from ._event import plain
from ._handlers import EventCallback, Provider
from ._subscription import Listener, Subscription
from ._wait import is_patched, wait
from .exceptions import TimedOutError

# How long a call from inside a callback waits before questions for a token are looked after, and how often a
# log-in through another site is asked for its address.
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
    handlers run on one daemon thread of the client, in order; a slow one delays the others, and never the
    network. What one raises goes to the logger ``tidings`` and to `on_error`, and the others go on. Calls
    that wait answer Ctrl-C.

    **Errors.** All are in `tidings.exceptions`; `ClientResponseError` is what servers and networks do.

    **End.** `close` ends all subscriptions; so do ``with`` and the end of the interpreter. A client that is
    forgotten closes with a `ResourceWarning`, unless it has callbacks: then it goes on. In a child made by
    ``fork`` every call raises `ForkedError`; a new client works there.
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
        """Raw topics and the connection."""
        return Realtime(self)

    def collection(self, name: str) -> Collection:
        """A collection of records, by name or id."""
        return Collection(self, _arguments.collection(name))

    def send(
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
        return _arguments.answer(self._finish(call, None))

    def close(self) -> None:
        """Closes the client: all subscriptions end, and all requests under way fail with `ClosedError`.

        Returns within a second, when no thread, socket or descriptor of the client is left; only a callback
        that runs is not waited for. Harmless when done before.
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
        """Waits for what was asked; what ends the wait withdraws it."""
        try:
            if not self._wait(call, timeout):
                raise TimedOutError(f"no answer came within {timeout:g} s")
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
        options |= _arguments.given(timeout=_arguments.limit("timeout", timeout))
        native = self._client
        self._is_used = True
        told = topic if collection is None else f"{collection}/{topic}"
        if callback is None:
            # What befalls the connection is logged, callbacks or not.
            self._dispatcher.start()
            asked = native.stream(collection, topic, options, wait)
            if isinstance(asked, _tidings.Call):
                asked = self._finish(asked, None)
            return Subscription(self._dispatcher, told, asked, self)
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
        return Listener(dispatcher, told, id)

    def _log_in(self, call: _tidings.Call, timeout: float | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self._finish(call, timeout)
        self._auth_store._changed()
        return answer

    def _log_in_elsewhere(
        self, call: _tidings.Call, open: Callable[[str], object], timeout: float | None
    ) -> dict[str, Any]:
        try:
            _arguments.limit("timeout", timeout)
            # The address comes first, or what went wrong.
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


class Collection:
    """A collection of records: ``client.collection(name)``. All methods may be called from any thread and any
    callback."""

    def __init__(self, client: Client, name: str) -> None:
        self._of = client
        self._name = name

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
        """Subscribes to changes of records, and waits until the server has acknowledged that.

        From then on each change that the server sends comes, or a notice of what may have been missed: an
        event whose ``action`` is ``"gap"``, ``"lagged"`` or ``"refused"`` (the last one). Their
        ``event["record"]`` is an empty dict.

        Args:
            topic: ``"*"`` for all records, or the id of one.
            callback: Is called with each `Event` on the thread of the callbacks, in order, when `subscribe`
                has returned. Without one, the handle that is returned is iterated over.
            query: Parameters that rules and hooks see; the names ``filter``, ``expand`` and ``fields`` are
                known to the server, and may be given here or by themselves. A list is joined with commas.
            headers: Headers that rules and hooks see.
            filter: Which records to tell of. See `Client.filter` for values in it.
            expand: Which relations to put into the records.
            fields: Which fields of the records to send.
            queue: How many events may wait; as the client has it unless set.
            overflow: What a full queue does; as the client has it unless set. See `Client`.
            wait: False returns at once, whether there is a network or not, and connects in the background.
            timeout: How many seconds to wait for the server's word; the client's ``subscribe_timeout`` unless
                set.

        Returns:
            A handle that unsubscribes this listener when called, or at the end of a ``with`` block.

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
        return self._of._subscribe(self._name, topic, callback, options, wait, timeout)

    def unsubscribe(self, topic: str | None = None) -> int:
        """Ends all subscriptions to a topic of this collection, or to all of them, whatever their options.
        Does not wait.

        Returns:
            How many they were.

        Raises:
            ForkedError: In a forked child.
        """
        return self._of._unsubscribe_topic(self._name, topic)

    def auth_with_password(self, identity: str, password: str) -> dict[str, Any]:
        """Logs in with a name or an e-mail address.

        Returns:
            ``{"token": …, "record": …}``, which ``client.auth_store`` has from now on.

        Raises:
            ClientResponseError: The server refused (status 400 for a wrong password), or could not be asked.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        return self._of._log_in(self._of._client.auth_with_password(self._name, identity, password))

    def auth_refresh(self) -> dict[str, Any]:
        """Exchanges the token for a fresh one. Errors and result as of `auth_with_password`."""
        return self._of._log_in(self._of._client.auth_refresh(self._name))

    def auth_with_oauth2(
        self,
        provider: str,
        open: Callable[[str], object] = webbrowser.open,
        *,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Logs in through another site, such as ``"google"``.

        Args:
            provider: Its name in the settings of the collection.
            open: Is called with the address that the person is to visit, on this thread.
            timeout: How many seconds to wait for the person; for ever unless set.

        Raises:
            ClientResponseError: The server or the site refused, or could not be asked. What ``open`` raises
                comes out too.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        call = self._of._client.auth_with_oauth2(self._name, provider)
        return self._of._log_in_elsewhere(call, open, timeout)

    def __repr__(self) -> str:
        return f"<tidings.Collection {self._name}>"


class Realtime(BaseRealtime):
    """Raw topics and the connection: ``client.realtime``. All methods may be called from any thread and any
    callback."""

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
        """Subscribes to a topic as it stands on the wire, and waits until the server has acknowledged that.

        From then on each change that the server sends comes, or a notice of what may have been missed: an
        event whose ``action`` is ``"gap"``, ``"lagged"`` or ``"refused"`` (the last one). Their
        ``event["record"]`` is an empty dict.

        Args:
            topic: E.g. ``"jobs/finished"``, ``"posts/*"``, or ``"PB_CONNECT"``, which tells each
                (re)connection as ``event["clientId"]``.
            callback: Is called with each `Event` on the thread of the callbacks, in order, when `subscribe`
                has returned. Without one, the handle that is returned is iterated over.
            query: Parameters that rules and hooks see; the names ``filter``, ``expand`` and ``fields`` are
                known to the server, and may be given here or by themselves. A list is joined with commas.
            headers: Headers that rules and hooks see.
            queue: How many events may wait; as the client has it unless set.
            overflow: What a full queue does; as the client has it unless set. See `Client`.
            wait: False returns at once, whether there is a network or not, and connects in the background.
            timeout: How many seconds to wait for the server's word; the client's ``subscribe_timeout`` unless
                set.

        Returns:
            A handle that unsubscribes this listener when called, or at the end of a ``with`` block.

        Raises:
            ClientResponseError: The server refused, with its ``status``, or could not be asked.
            ArgumentError: The topic or an option cannot be used.
            ClosedError: The client is closed.
            ForkedError: In a forked child.
        """
        options = _arguments.subscribe_options(query=query, headers=headers, queue=queue, overflow=overflow)
        return self._of._subscribe(None, topic, callback, options, wait, timeout)

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
