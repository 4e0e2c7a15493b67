"""Any stream of server-sent events, read by an asyncio loop."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TypeAlias

from ._event_source import BaseEventSource, Message, Question, SourceEvent, SourceRequest
from ._pump import on_thread, wake
from .exceptions import ArgumentError

# How often it is asked where the loop cannot watch a descriptor.
_SLICE = 0.02


AsyncOnConnect: TypeAlias = "Callable[[], SourceRequest | Awaitable[SourceRequest | None] | None]"
AsyncTokenProvider: TypeAlias = "Callable[[], str | Awaitable[str | None] | None]"
AsyncOnStatus: TypeAlias = "Callable[[int], bool | Awaitable[bool | None] | None]"


class AsyncEventSource(BaseEventSource[AsyncOnConnect, AsyncTokenProvider, AsyncOnStatus]):
    """A stream of server-sent events, for asyncio. A prompt to a language model::

        prompt = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        async with AsyncEventSource("https://llm.example/v1/chat", json=prompt, token=key) as answer:
            async for message in answer:
                print(message.data)

    Otherwise like `EventSource`. One task at a time may read it; cancelling that loses nothing.
    """

    # How many wait for the descriptor.
    _watching = 0

    async def next(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: How many seconds to wait; indefinitely by default.

        Raises:
            TimeoutError: Nothing arrived in time.
            StopAsyncIteration: The stream has ended.
            TooLargeError: A message was larger than the limit. The next call goes on after it.
            TidingsError: What has closed it for good.
        """
        while True:
            if (message := self._message_of(await self.next_event(timeout))) is not None:
                return message

    async def next_event(self, timeout: float | None = None) -> SourceEvent:
        """The next event, as `events` yields it. Errors as of `next`, but `Closed` and `TooLarge` are no errors
        here."""
        while True:
            try:
                event = self._taken()
            except EOFError:
                raise StopAsyncIteration from None
            if isinstance(event, Question):
                await self._answer(event)
                continue
            if event is not None:
                return event
            if not await self._readable(timeout):
                raise TimeoutError(f"nothing arrived within {timeout:g} s")

    async def events(self) -> AsyncIterator[SourceEvent]:
        """Messages and all other events of the stream, until it ends: `Open`, `Message`, `Comment`, `TooLarge`,
        `Disconnected`, and last `Closed`."""
        while True:
            try:
                event = await self.next_event()
            except StopAsyncIteration:
                return
            yield event

    def __aiter__(self) -> AsyncEventSource:
        return self

    async def __anext__(self) -> Message:
        return await self.next()

    async def close(self) -> None:
        """Ends the stream within a second, and with it the iteration. Harmless if repeated."""
        self._is_closed = True
        await on_thread(self._source.close)
        if self._watching == 0:
            self._source.release()

    async def __aenter__(self) -> AsyncEventSource:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _answer(self, question: Question) -> None:
        try:
            answer = self._ask(question)
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception as error:
            self._fail(question, error)
        else:
            self._settle(question, answer)

    async def _readable(self, timeout: float | None) -> bool:
        """Waits for something to take; False when the time is up."""
        if timeout is not None and math.isnan(timeout):
            raise ArgumentError("invalid timeout: it is not a number; give it seconds")
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        descriptor = self._source.fileno()
        try:
            if descriptor < 0:
                raise NotImplementedError
            loop.add_reader(descriptor, wake, readable)
            self._watching += 1
        except NotImplementedError:
            # Windows' proactor has no readers.
            deadline = None if timeout is None else loop.time() + timeout
            while not self._source.wait(0):
                if deadline is not None and loop.time() >= deadline:
                    return False
                await asyncio.sleep(_SLICE)
            return True
        try:
            await asyncio.wait([readable], timeout=timeout)
            return readable.done()
        finally:
            loop.remove_reader(descriptor)
            readable.cancel()
            self._watching -= 1
            if self._is_closed and self._watching == 0:
                self._source.release()
