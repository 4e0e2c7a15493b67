"""Live views: lists of records that are kept up to date."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, overload

from . import _tidings
from ._handlers import Handlers
from ._pump import Pump, is_cancelled
from ._wait import wait
from .exceptions import ClosedError

Record = dict[str, Any]
V = TypeVar("V", bound="BaseView")


class _Made:
    """Rows that a test has made, as the native ones give theirs."""

    def __init__(self, rows: Iterable[Record]) -> None:
        self._rows = copy.deepcopy(list(rows))

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, at: int) -> Record:
        return copy.deepcopy(self._rows[at])


class Rows(Sequence[Record]):
    """Rows of a live view, in order: a list that does not change. Each row is a new dict whenever it is got, so a
    program may keep it and change it. They can be pickled and copied, and made for a test: ``Rows([{"id": "a"}])``."""

    def __init__(self, rows: _tidings.Rows | Iterable[Record]) -> None:
        self._native = rows if isinstance(rows, _tidings.Rows) else _Made(rows)

    def __reduce__(self) -> tuple[type[Rows], tuple[list[Record]]]:
        return Rows, (list(self),)

    def __len__(self) -> int:
        return len(self._native)

    @overload
    def __getitem__(self, at: int) -> Record: ...

    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...

    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        if isinstance(at, slice):
            return [self._native.get(place) for place in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError("there is no such row")
        return self._native.get(place)

    def __iter__(self) -> Iterator[Record]:
        return (self._native.get(place) for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<tidings.Rows {len(self)}>"


class Status(NamedTuple):
    """Whether the rows of a view are what the server has."""

    is_proven: bool
    """Whether they are the server's list, with all changes since then. Otherwise changes may be missing."""
    since: float
    """When they were last compared with the server's list, or since when they are in doubt: seconds since 1970."""
    why: str | None = None
    """Why they are in doubt: ``"disconnected"``, ``"comparing"``, ``"identity"`` or ``"list_failed"``; ``"ended"`` when the view
    has ended. None while they are proven."""
    error: BaseException | None = None
    """The error behind that, if there is one."""


class Insert(NamedTuple):
    """A row came, and is at this place now."""

    at: int
    row: Record


class Update(NamedTuple):
    """A row changed: it is taken from one place and put at another, counted without it; the same if it did not move."""

    old_at: int
    at: int
    row: Record
    old: Record


class Remove(NamedTuple):
    """A row is no longer in the list: ``why`` is ``"deleted"``, ``"left_filter"``, ``"displaced"`` (beyond the limit), or
    ``"gone"`` (the server no longer lists it, as was found when the list was compared)."""

    at: int
    row: Record
    why: str


class Reset(NamedTuple):
    """The list is another one: the first, or one that differs in so much that the changes would be longer."""

    rows: Rows


Delta: TypeAlias = Insert | Update | Remove | Reset


class Changes(NamedTuple):
    """What has happened to a view since the batch before, in one step.

    To test a handler, make one::

        row = {"id": "a", "title": "Hello"}
        on_changes(Changes([Insert(0, row)], Rows([row]), Status(True, since=0.0)))
    """

    deltas: list[Delta]
    """In order. Applied to the rows of the batch before, they give ``rows``. Empty if only the status has changed."""
    rows: Rows
    """The rows after these changes."""
    status: Status
    """The status after these changes."""


ChangesCallback: TypeAlias = Callable[[Changes], object]
"""Called with each batch of changes of a view. Its result is ignored; with `AsyncClient` a coroutine is awaited before the
next batch."""

_DELTAS: dict[str, Any] = {"insert": Insert, "update": Update, "remove": Remove}


def _delta(kind: str, *fields: Any) -> Delta:
    if kind == "reset":
        return Reset(Rows(*fields))
    delta: Delta = _DELTAS[kind](*fields)
    return delta


def _changes(taken: tuple[Any, Any, Any] | None) -> Changes | None:
    if taken is None:
        return None
    deltas, rows, status = taken
    return Changes([_delta(*delta) for delta in deltas], Rows(rows), Status(*status))


def _status(native: _tidings.View) -> Status:
    status = Status(*native.status())
    error = native.error()
    return status if error is None else Status(False, status.since, "ended", error)


def _news(native: _tidings.View) -> Iterator[Changes]:
    """What a callback is to be called with now: the changes that wait, and what has ended the view."""
    if (changes := _changes(native.take_now())) is not None:
        yield changes
    error = native.error()
    # A view that was closed here has nothing more to say.
    if error is None or isinstance(error, ClosedError):
        return
    if (changes := _changes(native.take_now())) is not None:
        yield changes
    yield Changes([], Rows(native.rows()), _status(native))


def telling(
    native: _tidings.View, collection: str, callback: ChangesCallback, handlers: Handlers
) -> Callable[[], bool]:
    """What gives the changes of a view to its callback, when there are any. False: it has ended."""

    def tell() -> bool:
        try:
            for changes in _news(native):
                try:
                    result = callback(changes)
                    if result is not None:
                        handlers.settle(result)
                except BaseException as error:
                    handlers.failed(error, view=collection)
        except Exception as error:
            handlers.failed(error, view=collection)
        return native.error() is None

    return tell


async def deliver(
    pump: Pump, id: int, native: _tidings.View, collection: str, callback: ChangesCallback, handlers: Handlers
) -> None:
    """The same on an event loop, until the view has ended."""
    try:
        while id in pump.views and native.error() is None:
            await pump.until(native.poll)
            for changes in _news(native):
                if id not in pump.views:
                    return
                try:
                    result = callback(changes)
                    if inspect.isawaitable(result):
                        await result
                except asyncio.CancelledError as error:
                    if is_cancelled():
                        raise
                    handlers.failed(error, view=collection)
                except Exception as error:
                    handlers.failed(error, view=collection)
    finally:
        pump.forget_view(id)
        native.close()


class Asker(Protocol):
    """A client, sync or async."""

    def _finish(self, call: _tidings.Call, timeout: float | None) -> Any: ...


class BaseView:
    """The common part of both views."""

    def __init__(self, native: _tidings.View, collection: str, client: Asker) -> None:
        self._native = native
        self._collection = collection
        # Keeps the client alive: one that nothing refers to is closed.
        self._client = client

    @property
    def rows(self) -> Rows:
        """The rows as they are now, from any thread: empty before the first list, and after the end what was shown last.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return Rows(self._native.rows())

    @property
    def status(self) -> Status:
        """Whether the rows are what the server has.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return _status(self._native)

    @property
    def error(self) -> BaseException | None:
        """Why the view has ended; None while it goes on.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return self._native.error()

    def close(self) -> None:
        """Ends the view, also for who waits for changes. Does not wait; closing twice is harmless."""
        self._native.close()

    def __repr__(self) -> str:
        return f"<tidings.{type(self).__name__} {self._collection}>"


class SyncView(BaseView):
    """The common part of both views of the sync client."""

    def prove(self, timeout: float | None = None) -> None:
        """Compares the view with the server's list. Afterwards the rows show every write that was committed before this
        call. While the link is down it waits.

        Args:
            timeout: How many seconds to wait; None waits indefinitely.

        Raises:
            TimedOutError: It was not possible in time.
            ClientResponseError: The view has ended, for that reason.
            ForkedError: The client belongs to the parent process.
        """
        self._client._finish(self._native.prove(), timeout)

    def __enter__(self: V) -> V:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class BaseViewListener(BaseView):
    """The common part of views with a callback."""

    def __init__(
        self, native: _tidings.View, collection: str, client: Asker, forget: Callable[[], None]
    ) -> None:
        super().__init__(native, collection, client)
        self._forget = forget

    def close(self) -> None:
        """Ends the view, and delivers nothing more. Does not wait; closing twice is harmless."""
        super().close()
        self._forget()


class ViewListener(BaseViewListener, SyncView):
    """A live view with a callback: ``client.collection("tasks").watch(print)``. Leaving its ``with`` block, or `close`,
    ends it, and nothing more is delivered.

    Dropping the handle does not: the callback is called until the view or the client is closed, or the view has ended.
    All methods may be called from any thread and from any callback; only `prove` waits.
    """


class View(SyncView):
    """A live view: ``client.collection("tasks").watch()``. Leaving its ``with`` block, or dropping it, ends it.

    ::

        with client.collection("tasks").watch(filter="done = false", sort="-priority") as tasks:
            print(len(tasks.rows))
            for changes in tasks:
                print([task["title"] for task in changes.rows])

    Iterating gives `Changes`: the first is a `Reset`. A slow reader loses nothing: what waits folds into fewer
    changes. The iteration ends with the view; `error` says why. One thread at a time may read it; everything else may
    be called from any thread.
    """

    def next(self, timeout: float | None = None) -> Changes:
        """The next changes. Ctrl-C interrupts the wait.

        Args:
            timeout: How many seconds to wait; None waits indefinitely.

        Raises:
            TimeoutError: Nothing changed in time. Nothing is lost by that.
            StopIteration: The view has ended.
            ForkedError: The client belongs to the parent process.
        """
        if not wait(self._native, timeout):
            raise TimeoutError(f"no change of {self._collection} came within {timeout:g} s")
        changes = _changes(self._native.take())
        if changes is None:
            raise StopIteration
        return changes

    def __iter__(self) -> View:
        return self

    def __next__(self) -> Changes:
        return self.next()


class BaseAsyncView(BaseView):
    """The common part of both views of the async client."""

    async def prove(self, timeout: float | None = None) -> None:
        """Compares the view with the server's list. Afterwards the rows show every write that was committed before this
        call. While the link is down it waits.

        Args:
            timeout: How many seconds to wait; None waits indefinitely.

        Raises:
            TimedOutError: It was not possible in time.
            ClientResponseError: The view has ended, for that reason.
        """
        await self._client._finish(self._native.prove(), timeout)

    async def __aenter__(self: V) -> V:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncViewListener(BaseViewListener, BaseAsyncView):
    """A live view with a callback: ``await client.collection("tasks").watch(print)``. Leaving its ``async with`` block, or
    `close`, ends it, and nothing more is delivered.

    Dropping the handle does not: the callback is called until the view or the client is closed, or the view has ended.
    """


class AsyncView(BaseAsyncView):
    """A live view: ``await client.collection("tasks").watch()``. Leaving its ``async with`` block, or dropping it, ends it.

    ::

        async with await client.collection("tasks").watch(filter="done = false", sort="-priority") as tasks:
            print(len(tasks.rows))
            async for changes in tasks:
                print([task["title"] for task in changes.rows])

    Iterating gives `Changes`: the first is a `Reset`. A slow reader loses nothing: what waits folds into fewer
    changes. The iteration ends with the view; `error` says why. One task at a time may read it; cancelling it while it
    waits loses nothing.
    """

    def __init__(self, native: _tidings.View, collection: str, client: Asker, pump: Pump) -> None:
        super().__init__(native, collection, client)
        self._pump = pump

    async def next(self, timeout: float | None = None) -> Changes:
        """The next changes.

        Args:
            timeout: How many seconds to wait; None waits indefinitely.

        Raises:
            TimeoutError: Nothing changed in time. Nothing is lost by that.
            StopAsyncIteration: The view has ended.
        """
        if not await self._pump.until(self._native.poll, timeout):
            raise TimeoutError(f"no change of {self._collection} came within {timeout:g} s")
        changes = _changes(self._native.take())
        if changes is None:
            raise StopAsyncIteration
        return changes

    def __aiter__(self) -> AsyncView:
        return self

    async def __anext__(self) -> Changes:
        return await self.next()
