"""What an asyncio event loop does for an async client.

No thread: the loop watches the descriptor of the native client. Each waiter has a number, which the native queue
returns when it is worth polling again. To support trio, this file alone would need a sibling: `attach` with a system task around ``trio.lowlevel.wait_readable(fileno)``, `until` with a
``trio.Event`` for each number instead of a future, and `spawn` with a nursery, which the client would have to
be given since trio starts no task without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any

from . import _ending, _tidings
from ._arguments import valid
from ._event import Event
from ._handlers import AsyncCallback, AsyncProvider, Handlers
from ._journal import Journal
from .exceptions import ArgumentError

_BATCH = 256
# How long events are taken without a turn for the rest of the loop.
_TURN = 0.005
# How often something is polled after the queue is closed, when nobody names numbers any more.
_LAST_STEPS = 0.005


class Pump:
    """Moves what the native client has queued into one event loop, that of the first use."""

    def __init__(
        self,
        native: _tidings.Client,
        handlers: Handlers,
        journal: Journal,
        provider: AsyncProvider | None,
        changed: Callable[[], None],
    ) -> None:
        self.native = native
        # The subscriptions whose callbacks are still to be called.
        self.heard: set[int] = set()
        # The same of views.
        self.views: set[int] = set()
        # Whether nothing refers to the client any more. The callbacks of a program that keeps neither the
        # client nor a handle are still called, and the native client closes with the last of them.
        self._is_forgotten = False
        self._is_replaced = False
        # When the loop was given its last turn.
        self._resumed = 0.0
        self._handlers = handlers
        handlers.spawn = self._await
        self._journal = journal
        self._provider = provider
        # Is called when the client may have become somebody else.
        self._changed = changed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count(1)
        self._waiters: dict[int, asyncio.Future[None]] = {}
        # The loop itself forgets tasks that nobody holds.
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        self._descriptor: int | None = None

    def attach(self) -> asyncio.AbstractEventLoop:
        """The loop that runs, which is to be the one of the first use.

        Raises:
            RuntimeError: None runs, or another.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "an AsyncClient needs a running asyncio event loop, and there is none in this thread; "
                "under trio, use Client in threads (`trio.to_thread.run_sync`)"
            ) from None
        if self._loop is loop:
            return loop
        if self._loop is not None:
            raise RuntimeError("an AsyncClient belongs to the event loop of its first use; make one in each")
        self._loop = loop
        descriptor = self.native.fileno()
        try:
            if descriptor < 0:
                raise NotImplementedError
            loop.add_reader(descriptor, self._drain)
            self._descriptor = descriptor
        except NotImplementedError:
            # Windows' proactor has no readers.
            threading.Thread(
                target=self._read, args=(loop,), name=f"tidings-reader {self._journal.name}", daemon=True
            ).start()
        return loop

    @property
    def is_attached(self) -> bool:
        """Whether it has a loop."""
        return self._loop is not None

    async def until(self, poll: Callable[[int], bool], timeout: float | None = None) -> bool:
        """Waits until ``poll`` returns true; False on timeout. Cancelling it loses nothing."""
        if timeout is not None and math.isnan(timeout):
            raise ArgumentError("invalid timeout: it is not a number; give it seconds")
        number = next(self._numbers)
        if poll(number):
            return True
        loop = self.attach()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            if self._is_stopped:
                await asyncio.sleep(_LAST_STEPS)
            else:
                await self._named(loop, number, deadline)
            self._resumed = monotonic()
            if poll(number):
                return True
            if deadline is not None and loop.time() >= deadline:
                return False

    def at_once(self, native: _tidings.Subscription) -> Event[Any] | None:
        """The next event, if it is there and the turn is not over; else `next` waits for it."""
        return native.take_now() if monotonic() - self._resumed <= _TURN else None

    async def next(
        self, native: _tidings.Subscription, timeout: float | None = None
    ) -> tuple[bool, Event[Any] | None]:
        """Whether the next event came in time, and that event; None when the subscription has ended.

        Tasks take turns of a time, so that a backlog with a slow callback does not hold up the loop for long.
        """
        self.attach()
        if monotonic() - self._resumed > _TURN:
            await asyncio.sleep(0)
            self._resumed = monotonic()
        if not await self.until(native.poll, timeout):
            return False, None
        return True, native.take()

    async def deliver(self, native: _tidings.Subscription, callback: AsyncCallback) -> None:
        """Hands one event after another to a callback. The queue is the native one, with its limit and its
        counter."""
        id = native.id
        try:
            while id in self.heard:
                if (event := self.at_once(native)) is None:
                    _, event = await self.next(native)
                if event is None or id not in self.heard:
                    break
                if event.is_notice:
                    self._journal.notice(event)
                try:
                    result = callback(event)
                    if inspect.isawaitable(result):
                        await result
                except asyncio.CancelledError as error:
                    if is_cancelled():
                        raise
                    self._handlers.failed(error, event)
                except Exception as error:
                    self._handlers.failed(error, event)
        finally:
            self.unsubscribe(id)

    async def _named(self, loop: asyncio.AbstractEventLoop, number: int, deadline: float | None) -> None:
        waiter = self._waiters[number] = loop.create_future()
        alarm = None if deadline is None else loop.call_at(deadline, wake, waiter)
        try:
            await waiter
        finally:
            self._waiters.pop(number, None)
            if alarm is not None:
                alarm.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Starts a background task."""
        task = self.attach().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def unsubscribe(self, id: int) -> None:
        """Ends a subscription, and delivers nothing more to it."""
        self.heard.discard(id)
        self.native.unsubscribe(id)
        self._close_after_the_last()

    def forget_view(self, id: int) -> None:
        """Delivers nothing more to the callback of a view."""
        self.views.discard(id)
        self._close_after_the_last()

    def forget_ended(self) -> None:
        """Delivers nothing more to the subscriptions that have ended."""
        self.heard = {id for id in self.heard if self.native.subscription_state(id) != "ended"}
        self._close_after_the_last()

    def outlive(self) -> bool:
        """Nothing refers to the client any more: whether this goes on without it."""
        if not (self.heard or self.views) or self._is_replaced:
            return False
        self._is_forgotten = True
        _ending.close_at_the_end(self)
        return True

    def replace(self) -> None:
        """The cell of a notebook that made the client runs again."""
        self._is_replaced = True
        if self._is_forgotten:
            self._let_go()

    def _close_after_the_last(self) -> None:
        if self._is_forgotten and not self.heard and not self.views:
            self._let_go()

    def _let_go(self) -> None:
        self.heard.clear()
        self.views.clear()
        self.native.close(wait=False)

    def _close_natively(self) -> None:
        self.native.close()

    def _disown(self) -> None:
        """In a forked child: what the parent has is none of our business."""
        self._is_forgotten = False

    def stop(self) -> None:
        """After the client is closed: wakes whoever waits."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._descriptor is not None and self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            self.native.release()
        for waiter in self._waiters.values():
            wake(waiter)

    def _drain(self) -> None:
        batch = self.native.take(_BATCH)
        if batch is None:
            self.stop()
            return
        for kind, what, value in batch:
            if kind == _tidings.WOKEN:
                if waiter := self._waiters.get(what):
                    wake(waiter)
            elif kind == _tidings.STATE:
                self._journal.state(what)
                self._changed()
                self._notify(self._handlers.on_state, what)
            elif kind == _tidings.DISCONNECTED:
                self._journal.disconnected(what)
                self._notify(self._handlers.on_disconnect, what)
            elif kind == _tidings.DENIED:
                self._journal.denied(what, value)
            elif kind == _tidings.PARKED:
                self._journal.parked(what, value)
            elif kind == _tidings.TOKEN_WANTED:
                self.spawn(self._answer(what))

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drains through the loop, on a thread where the loop cannot watch: one call for a batch, and then
        the next."""
        drained = threading.Event()

        def drain() -> None:
            try:
                self._drain()
            finally:
                drained.set()

        while not self._is_stopped:
            self.native.wait(None)
            drained.clear()
            try:
                loop.call_soon_threadsafe(drain)
            except RuntimeError:
                return  # The loop is closed.
            drained.wait()

    def _notify(self, handler: Callable[[Any], object] | None, what: Any) -> None:
        if handler is None:
            return
        try:
            self._handlers.settle(handler(what))
        except Exception as error:
            self._handlers.failed(error)

    def _await(self, result: Awaitable[object]) -> None:
        self.spawn(self._finish(result))

    async def _finish(self, result: Awaitable[object]) -> None:
        try:
            await result
        except Exception as error:
            self._handlers.failed(error)

    async def _answer(self, request: _tidings.TokenRequest) -> None:
        try:
            assert self._provider is not None
            answer = self._provider()
            token = await answer if inspect.isawaitable(answer) else answer
            if token is not None and not isinstance(token, str):
                raise TypeError(f"a token provider returns a str or None, not {type(token).__name__}")
            if token is not None:
                valid("token", token)
        except Exception as error:
            self._journal.log(logging.ERROR, "the token provider raised", error=error)
            request.fail(f"{type(error).__name__}: {error}")
        else:
            request.answer(token)


def is_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not something that it waited for; always, before Python
    3.11."""
    task = asyncio.current_task()
    cancelling: Callable[[], int] | None = getattr(task, "cancelling", None)
    return cancelling is None or cancelling() > 0


def wake(waiter: asyncio.Future[None]) -> None:
    """Wakes a waiter."""
    if not waiter.done():
        waiter.set_result(None)


async def on_thread(function: Callable[[], None]) -> None:
    """Runs what takes a moment on a thread that ends with it, unlike those of an executor. It is no daemon:
    the interpreter must not end under native code."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def finish() -> None:
        if not done.done():
            done.set_result(None)

    def run() -> None:
        function()
        # A closed loop has nobody who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish)

    threading.Thread(target=run, name="tidings-close").start()
    await done
