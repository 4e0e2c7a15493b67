"""The handles that `subscribe` of the sync client returns."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, TypeVar

from . import _tidings
from ._event import Event
from ._wait import wait
from .exceptions import ForkedError

L = TypeVar("L", bound="BaseListener")


class Owner(Protocol):
    """What delivers the events of a client's subscriptions, and can end one."""

    @property
    def native(self) -> _tidings.Client:
        """The native client."""
        ...

    def unsubscribe(self, id: int) -> None:
        """Ends a subscription, and delivers nothing more to it."""


class BaseListener:
    """The common part of all handles."""

    def __init__(self, owner: Owner, topic: str, id: int) -> None:
        self._owner = owner
        self._topic = topic
        self._id = id

    @property
    def id(self) -> int:
        """The number of this subscription, unique within its client."""
        return self._id

    @property
    def topic(self) -> str:
        """The topic, without options, e.g. ``posts/*``."""
        return self._topic

    @property
    def state(self) -> str:
        """``"pending"`` until the server has acknowledged the topic, then ``"live"``, or ``"interrupted"`` while the
        client is reconnecting, and at last ``"ended"``. ``"denied"`` if it was not waited for, the server has
        acknowledged the topic, and no event can come: see `denial`, which also tells when the server refuses a topic
        for now.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return self._owner.native.subscription_state(self._id)

    @property
    def denial(self) -> BaseException | None:
        """Why no event can come. While the state is ``"denied"``: the server's answer to a list with the same
        options, such as 404 for a collection that does not exist. While it is ``"pending"`` or ``"interrupted"``:
        its last refusal of the topic (429 or 5xx), which the client submits again. None otherwise.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return self._owner.native.denial(self._id)

    @property
    def lost(self) -> int:
        """The number of events dropped because the queue was full.

        Raises:
            ForkedError: The client belongs to the parent process.
        """
        return self._owner.native.lost(self._id)

    def __call__(self) -> None:
        """Unsubscribes this listener alone, at once. May be called from any thread and from any callback; calling
        it twice is harmless."""
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
    """A subscription with a callback. Calling the handle unsubscribes; so does leaving its ``with`` block.

    Dropping the handle does not: the callback is called until it is unsubscribed or the client is closed. All
    methods may be called from any thread and from any callback, and none waits.
    """


class Subscription(BaseListener):
    """A subscription to iterate over. Calling it unsubscribes; so does leaving its ``with`` block, or dropping it.

    ::

        with client.collection("posts").subscribe("*") as posts:
            for event in posts:
                print(event.action, event.record_id)

    The iteration ends with the subscription: when it is unsubscribed, when the client is closed, or after an
    event whose action is ``"refused"``. Events that were queued before are still delivered. One thread at a time
    may read it; everything else may be called from any thread.
    """

    def __init__(self, owner: Owner, topic: str, native: _tidings.Subscription, client: object) -> None:
        super().__init__(owner, topic, native.id)
        self._native = native
        # Keeps the client alive: one that nothing refers to is closed.
        self._client = client

    def next(self, timeout: float | None = None) -> Event:
        """The next event. Ctrl-C interrupts the wait.

        Args:
            timeout: How many seconds to wait; None waits indefinitely.

        Raises:
            TimeoutError: No event came in time. Nothing is lost by that.
            StopIteration: The subscription has ended.
            ForkedError: The client belongs to the parent process.
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
