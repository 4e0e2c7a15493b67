"""What an asyncio loop does for an async client.

No thread: the loop watches the descriptor of the native client, and what waits for something is named by a
number that the queue gives when it is worth polling again. For trio or anyio this file alone would need a
sibling: `attach` with a system task around ``trio.lowlevel.wait_readable(fileno)``, `until` with a
``trio.Event`` for each number instead of a future, and `spawn` with a nursery, which the client would have to
be given since trio starts no task without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import _tidings
from ._handlers import AsyncProvider, Handlers, log_disconnected, log_state, logger
from .exceptions import ArgumentError

_BATCH = 256
# How often something is polled after the queue is closed, when nobody names numbers any more.
_LAST_STEPS = 0.005


class Pump:
    """Moves what the native client has queued into one loop, that of the first use."""

    def __init__(
        self,
        native: _tidings.Client,
        handlers: Handlers,
        provider: AsyncProvider | None,
        changed: Callable[[], None],
    ) -> None:
        self.native = native
        # The subscriptions whose callbacks are still to be called.
        self.heard: set[int] = set()
        self._handlers = handlers
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
        """The loop that runs, which is to be the one of the first use."""
        loop = asyncio.get_running_loop()
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
            threading.Thread(target=self._read, args=(loop,), name="tidings-reader", daemon=True).start()
        return loop

    @property
    def is_attached(self) -> bool:
        """Whether it has a loop."""
        return self._loop is not None

    async def until(self, poll: Callable[[int], bool], timeout: float | None = None) -> bool:
        """Waits until ``poll`` says so; False when the time is up. Cancelling it loses nothing."""
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
            if poll(number):
                return True
            if deadline is not None and loop.time() >= deadline:
                return False

    async def breathe(self) -> None:
        """Lets the rest of the loop have its turn."""
        await asyncio.sleep(0)

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
        """Starts a task that nobody waits for."""
        task = self.attach().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def unsubscribe(self, id: int) -> None:
        """Ends a subscription, and delivers nothing more to it."""
        self.heard.discard(id)
        self.native.unsubscribe(id)

    def forget_ended(self) -> None:
        """Delivers nothing more to the subscriptions that have ended."""
        self.heard = {id for id in self.heard if self.native.subscription_state(id) != "ended"}

    def stop(self) -> None:
        """After the client is closed: who waits is told."""
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
        for kind, what, _ in batch:
            if kind == _tidings.WOKEN:
                if waiter := self._waiters.get(what):
                    wake(waiter)
            elif kind == _tidings.STATE:
                log_state(what)
                self._changed()
                self._tell(self._handlers.on_state, what)
            elif kind == _tidings.DISCONNECTED:
                log_disconnected(what)
                self._tell(self._handlers.on_disconnect, what)
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

    def _tell(self, handler: Callable[[Any], object] | None, what: Any) -> None:
        if handler is None:
            return
        try:
            result = handler(what)
        except Exception as error:
            self._handlers.failed(error)
        else:
            if inspect.isawaitable(result):
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
                raise TypeError(f"a token provider gives a str or None, not {type(token).__name__}")
        except Exception as error:
            logger.error("the token provider raised", exc_info=error)
            request.fail(f"{type(error).__name__}: {error}")
        else:
            request.answer(token)


def wake(waiter: asyncio.Future[None]) -> None:
    """Lets who waits go on."""
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
