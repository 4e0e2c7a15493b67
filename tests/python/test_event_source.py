"""Event sources, sync and async, against plain streams of the hub."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from conftest import PATIENCE, Program, soon
from tidings import (
    AsyncEventSource,
    ClientResponseError,
    Closed,
    Comment,
    Disconnected,
    EventSource,
    Message,
    Open,
    TooLarge,
)
from tidings.exceptions import ArgumentError, InvalidUrlError
from tidings.testing import Hub

Test = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def url(hub: Hub) -> str:
    # From now on there is such a stream.
    hub.send("/events", "nobody hears")
    return f"{hub.url}/events"


def test_iterates_over_messages(hub: Hub, url: str) -> None:
    with EventSource(url) as source:
        assert isinstance(source.next_event(PATIENCE), Open)
        hub.send("/events", "one")
        hub.send("/events", {"n": 2}, event="number", id="7")
        first, second = next(source), next(source)
        assert first == Message("message", "one", "")
        assert (second.event, second.id, second.json()) == ("number", "7", {"n": 2})
        with pytest.raises(ValueError, match="Expecting value"):
            first.json()
        assert source.last_event_id == "7"
        assert source.state.name == "live"
    assert list(source) == []


def test_next_raises_when_nothing_comes_and_when_it_has_ended(hub: Hub, url: str) -> None:
    source = EventSource(url)
    assert isinstance(source.next_event(PATIENCE), Open)
    with pytest.raises(TimeoutError):
        source.next(timeout=0.05)
    hub.send("/events", "late")
    assert source.next(PATIENCE).data == "late"
    source.close()
    with pytest.raises(StopIteration):
        source.next(PATIENCE)


def test_events_tell_everything(hub: Hub, url: str) -> None:
    with EventSource(url, comments=True, message_limit=100) as source:
        events = source.events()
        assert next(events) == Open(url)
        hub.send_raw("/events", b": hush\n\n")
        assert next(events) == Comment("hush")
        hub.send("/events", "x" * 200)
        assert next(events) == TooLarge(100)
        hub.break_streams("cut_streams")
        gone = next(events)
        assert isinstance(gone, Disconnected)
        assert gone.reason
        assert gone.retry_in >= 0
        assert isinstance(next(events), Open)
        source.close()
        assert list(events) in ([], [Closed(None)])


def test_reconnects_with_the_last_id(hub: Hub, url: str) -> None:
    with EventSource(url, backoff=(0.01, 0.02)) as source:
        assert isinstance(source.next_event(PATIENCE), Open)
        hub.send("/events", "one", id="41")
        assert source.next(PATIENCE).id == "41"
        hub.break_streams("reset_streams")
        assert isinstance(source.next_event(PATIENCE), Disconnected)
        assert isinstance(source.next_event(PATIENCE), Open)
        hub.send("/events", "two")
        assert source.next(PATIENCE) == Message("message", "two", "41")


def test_a_refusal_is_raised_by_iterating_and_told_by_events(hub: Hub, url: str) -> None:
    with EventSource(f"{hub.url}/nothing/here") as source, pytest.raises(ClientResponseError) as caught:
        source.next(PATIENCE)
    assert caught.value.status == 404
    with EventSource(f"{hub.url}/nothing/here") as source:
        (closed,) = source.events()
        assert isinstance(closed, Closed)
        assert isinstance(closed.error, ClientResponseError)


def test_204_ends_the_iteration_without_an_error(hub: Hub, url: str) -> None:
    hub.refuse_next("sse", 204)
    with EventSource(url) as source:
        assert list(source) == []
    hub.refuse_next("sse", 204)
    with EventSource(url) as source:
        (closed,) = source.events()
        assert isinstance(closed, Closed)
        assert isinstance(closed.error, ClientResponseError)
        assert closed.error.status == 204


def test_once_ends_with_the_stream(hub: Hub, url: str) -> None:
    with EventSource(url, once=True) as source:
        assert isinstance(source.next_event(PATIENCE), Open)
        hub.send("/events", "one")
        assert source.next(PATIENCE).data == "one"
        hub.break_streams("end_streams")
        assert list(source) == []


def test_closing_ends_an_iteration_that_waits(url: str) -> None:
    source = EventSource(url)
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_restart_connects_anew(hub: Hub, url: str) -> None:
    with EventSource(url) as source:
        assert isinstance(source.next_event(PATIENCE), Open)
        source.restart()
        soon(lambda: isinstance(source.next_event(PATIENCE), Open))


def test_bad_arguments_are_value_errors() -> None:
    with pytest.raises(InvalidUrlError):
        EventSource("nowhere")
    with pytest.raises(ArgumentError):
        EventSource("http://127.0.0.1", headers={"bad name": "x"})
    with pytest.raises(ClientResponseError):
        EventSource("http://127.0.0.1:1", once=True).next(PATIENCE)


def test_async(hub: Hub, url: str, run: Test) -> None:
    async def test() -> None:
        async with AsyncEventSource(url) as source:
            assert isinstance(await source.next_event(PATIENCE), Open)
            with pytest.raises(TimeoutError):
                await source.next(timeout=0.02)
            for number in range(10):
                hub.send("/events", str(number))
            found: list[Any] = []
            async for message in source:
                found.append(message.data)
                if len(found) == 10:
                    break
            assert found == [str(number) for number in range(10)]

            async def read() -> list[str]:
                return [message.data async for message in source]

            # Cancelling loses nothing.
            reader = asyncio.create_task(read())
            await asyncio.sleep(0.01)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            hub.send("/events", "after")
            assert (await source.next(PATIENCE)).data == "after"

            reader = asyncio.create_task(read())
            await asyncio.sleep(0.01)
            await source.close()
            assert await asyncio.wait_for(reader, PATIENCE) == []

    run(test())


def test_async_events_and_refusal(hub: Hub, url: str, run: Test) -> None:
    async def test() -> None:
        async with AsyncEventSource(url, once=True) as source:
            events = []
            async for event in source.events():
                events.append(type(event))
                if isinstance(event, Open):
                    hub.send("/events", "x")
                if isinstance(event, Message):
                    hub.break_streams("end_streams")
            assert events[:2] == [Open, Message]
            assert events[-1] is Closed
        async with AsyncEventSource(f"{hub.url}/nothing/here") as source:
            with pytest.raises(ClientResponseError):
                await source.next(PATIENCE)

    run(test())


MANY = """
import asyncio, os, sys, threading
from tidings import AsyncEventSource, EventSource, Message
url, many = sys.argv[1], 50
def count(of):
    return len(os.listdir(f"/proc/self/{of}"))
def used(before):
    return count("task") - before[0], count("fd") - before[1]
async def main():
    loop = asyncio.get_running_loop()
    before = count("task"), count("fd")
    sources = [AsyncEventSource(url) for _ in range(many)]
    for source in sources:
        assert await source.next_event(20)
    waiting = [asyncio.ensure_future(source.next(20)) for source in sources]
    await asyncio.sleep(0)
    threads, descriptors = used(before)
    assert threads <= 2, threads
    # Beside two for each, what the one thread waits with.
    assert descriptors <= 2 * many + 8, descriptors
    print("READY")
    await loop.run_in_executor(None, sys.stdin.readline)
    assert {message.data for message in await asyncio.gather(*waiting)} == {"all"}
    before = count("task"), count("fd") - used(before)[1]
    await asyncio.gather(*(source.close() for source in sources))
    print("DESCRIPTORS", used(before)[1])
asyncio.run(main())
before = count("task"), count("fd")
sources = [EventSource(url) for _ in range(many)]
for source in sources:
    assert source.next_event(20)
threads, descriptors = used(before)
assert threads == 1, threads
assert descriptors <= many + 8, descriptors
for source in sources[1:]:
    source.close()
assert used(before)[0] == 1
sources[0].restart()
while sources[0].next_event(20).__class__.__name__ != "Open":
    pass
sources[0].close()
print("LEFT", *used(before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_fifty_sources_share_a_thread_and_take_two_descriptors_each(
    program: Callable[..., Program], hub: Hub, url: str
) -> None:
    one = program("", "-c", MANY, url)
    one.expect("READY")
    hub.send("/events", "all")
    one.say("go")
    one.expect("DESCRIPTORS 0")
    one.expect("LEFT 0 0")
    assert one.end() == 0, one.error


FORKED = """
import os, sys
from tidings import EventSource
url = sys.argv[1]
source = EventSource(url)
assert type(source.next_event(20)).__name__ == "Open"
pid = os.fork()
if pid == 0:
    with EventSource(url) as own:
        assert type(own.next_event(20)).__name__ == "Open"
        print("CHILD", flush=True)
        assert own.next(20).data == "both"
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert source.next(20).data == "both"
source.close()
print("FINE")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_reads_a_source_of_its_own(
    program: Callable[..., Program], hub: Hub, url: str
) -> None:
    one = program("", "-c", FORKED, url)
    one.expect("CHILD")
    hub.send("/events", "both")
    one.expect("FINE")
    assert one.end() == 0, one.error
