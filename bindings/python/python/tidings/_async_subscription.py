"""The handles that `subscribe` of the async client returns."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from . import _tidings
from ._event import Event
from ._pump import Pump
from ._subscription import BaseListener

L = TypeVar("L", bound="AsyncListener")


class AsyncListener(BaseListener):
    """A subscription with a callback. Calling the handle unsubscribes, without ``await``; so does leaving its
    ``with`` or ``async with`` block.

    Dropping the handle does not: the callback is called until it is unsubscribed or the client is closed.
    """

    async def __aenter__(self: L) -> L:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._unsubscribe()


class AsyncSubscription(AsyncListener):
    """A subscription to iterate over. Calling it unsubscribes, without ``await``; so does leaving its ``with`` or
    ``async with`` block, or dropping it.

    ::

        async with await client.collection("posts").subscribe("*") as posts:
            async for event in posts:
                print(event.action, event.record_id)

    The iteration ends with the subscription: when it is unsubscribed, when the client is closed, or after an
    event whose action is ``"refused"``. Events that were queued before are still delivered. Cancelling it while
    it waits loses nothing. One task at a time may read it.
    """

    def __init__(self, pump: Pump, topic: str, native: _tidings.Subscription, client: object) -> None:
        super().__init__(pump, topic, native.id)
        self._pump = pump
        self._native = native
        # Keeps the client alive: one that nothing refers to is closed.
        self._client = client

    async def next(self, timeout: float | None = None) -> Event:
        """The next event.

        Args:
            timeout: How many seconds to wait; None waits indefinitely.

        Raises:
            TimeoutError: No event came in time. Nothing is lost by that.
            StopAsyncIteration: The subscription has ended.
        """
        if timeout is None and (event := self._pump.at_once(self._native)) is not None:
            return event
        in_time, event = await self._pump.next(self._native, timeout)
        if not in_time:
            raise TimeoutError(f"no event of {self._topic} came within {timeout:g} s")
        if event is None:
            raise StopAsyncIteration
        return event

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Event:
        # One of those that came with the loop's last turn, mostly.
        if (event := self._pump.at_once(self._native)) is not None:
            return event
        _, event = await self._pump.next(self._native)
        if event is None:
            raise StopAsyncIteration
        return event
