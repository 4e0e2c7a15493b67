"""What `subscribe` of the sync client returns."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, TypeVar

from . import _tidings
from ._event import Event
from ._wait import wait
from .exceptions import ForkedError

L = TypeVar("L", bound="BaseListener")


class Owner(Protocol):
    """What delivers the events of a client's subscriptions, and so knows how to end one."""

    @property
    def native(self) -> _tidings.Client:
        """The native client."""
        ...

    def unsubscribe(self, id: int) -> None:
        """Ends a subscription, and delivers nothing more to it."""


class BaseListener:
    """What all handles have in common."""

    def __init__(self, owner: Owner, topic: str, id: int) -> None:
        self._owner = owner
        self._topic = topic
        self._id = id

    @property
    def id(self) -> int:
        """The number of this subscription, never given twice by one client."""
        return self._id

    @property
    def topic(self) -> str:
        """The topic as subscribed to, without options, e.g. ``posts/*``."""
        return self._topic

    @property
    def state(self) -> str:
        """``"pending"``, ``"live"``, ``"interrupted"`` or ``"ended"``.

        Raises:
            ForkedError: In a forked child.
        """
        return self._owner.native.subscription_state(self._id)

    @property
    def lost(self) -> int:
        """How many events were dropped because the host did not keep up.

        Raises:
            ForkedError: In a forked child.
        """
        return self._owner.native.lost(self._id)

    def __call__(self) -> None:
        """Unsubscribes this listener alone, at once; harmless when done before. From any thread and any
        callback."""
        self._unsubscribe()

    def unsubscribe(self) -> None:
        """The same as calling the handle."""
        self._unsubscribe()

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._unsubscribe()

    def _unsubscribe(self) -> None:
        self._owner.unsubscribe(self._id)

    def __repr__(self) -> str:
        try:
            state = self.state
        except ForkedError:
            state = "forked"
        return f"<tidings.{type(self).__name__} {self._topic} {state}>"


class Listener(BaseListener):
    """A subscription whose events go to a callback. Calling it unsubscribes; so does leaving a ``with``
    block.

    Forgetting it does not: the callback goes on until it is unsubscribed or the client is closed. All methods
    may be called from any thread and any callback, and none waits.
    """


class Subscription(BaseListener):
    """A subscription that is iterated over. Calling it unsubscribes; so does leaving a ``with`` block, or
    forgetting it.

    ::

        with client.collection("posts").subscribe("*") as posts:
            for event in posts:
                print(event.action, event.record_id)

    The iteration ends when the subscription does: by unsubscribing, by ``client.close()``, or after an event
    whose action is ``"refused"``. What was queued before that still comes first. It may be read by one thread at a time; everything else may be called from
    any.
    """

    def __init__(self, owner: Owner, topic: str, native: _tidings.Subscription, client: object) -> None:
        super().__init__(owner, topic, native.id)
        self._native = native
        # A client that is forgotten closes; while its events are read it is not.
        self._client = client

    def next(self, timeout: float | None = None) -> Event:
        """The next event or notice. Ctrl-C is answered while it waits.

        Args:
            timeout: How many seconds to wait; for ever unless set.

        Raises:
            TimeoutError: Nothing came in time. Nothing is lost by that.
            StopIteration: The subscription has ended.
            ForkedError: In a forked child.
        """
        if not wait(self._native, timeout):
            raise TimeoutError(f"no event of {self._topic} came within {timeout:g} s")
        event = self._native.take()
        if event is None:
            raise StopIteration
        return event

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event:
        wait(self._native, None)
        event = self._native.take()
        if event is None:
            raise StopIteration
        return event
