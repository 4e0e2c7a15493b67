"""The async client against the hub."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import tidings
from conftest import PATIENCE
from tidings import AsyncClient, ClientResponseError
from tidings.exceptions import ArgumentError, ClosedError, NetworkError, TimedOutError, TokenProviderError
from tidings.testing import Hub

Test = Callable[[Coroutine[Any, Any, None]], None]


async def soon(condition: Callable[[], Any]) -> Any:
    async with patience():
        while not (found := condition()):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        return found


@contextlib.asynccontextmanager
async def patience() -> AsyncIterator[None]:
    task = asyncio.current_task()
    assert task is not None
    alarm = asyncio.get_running_loop().call_later(PATIENCE, task.cancel)
    try:
        yield
    finally:
        alarm.cancel()


class Box:
    """A callback that keeps what it is called with."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self._came = asyncio.Condition()

    async def __call__(self, told: Any) -> None:
        async with self._came:
            self.got.append(told)
            self._came.notify_all()

    async def wait(self, count: int = 1) -> list[Any]:
        async with patience(), self._came:
            await self._came.wait_for(lambda: len(self.got) >= count)
        return self.got[:count]


def titles(events: Any) -> list[str]:
    return [event["record"].get("title") for event in events]


def test_iterates_over_a_subscription(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            async with await client.collection("posts").subscribe("*") as posts:
                for number in range(300):
                    hub.create("posts", {"title": str(number)})
                found = []
                async for event in posts:
                    found.append(event["record"]["title"])
                    if len(found) == 300:
                        break
                assert found == [str(number) for number in range(300)]
                assert (posts.topic, posts.state, posts.lost) == ("posts/*", "live", 0)
            assert [event async for event in posts] == []

    run(test())


def test_next_raises_when_nothing_comes_and_when_it_has_ended(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            posts = await client.collection("posts").subscribe("*")
            with pytest.raises(TimeoutError):
                await posts.next(timeout=0.01)
            hub.create("posts", {"title": "late"})
            assert titles([await posts.next(PATIENCE)]) == ["late"]
            posts()
            with pytest.raises(StopAsyncIteration):
                await posts.next()

    run(test())


def test_callbacks_may_be_coroutines_or_plain(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            waited, plain = Box(), []
            unsubscribe = await client.collection("posts").subscribe("*", waited)
            await client.collection("posts").subscribe("*", plain.append)
            for number in range(3):
                hub.create("posts", {"title": str(number)})
            await waited.wait(3)
            await soon(lambda: len(plain) == 3)
            unsubscribe()
            hub.create("posts", {"title": "3"})
            await soon(lambda: len(plain) == 4)
            assert titles(waited.got) == ["0", "1", "2"]

    run(test())


def test_the_events_of_a_callback_come_one_after_another(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            told: list[str] = []

            async def slow(event: tidings.Event) -> None:
                told.append(f"in {event['record']['title']}")
                await asyncio.sleep(0.002)
                told.append(f"out {event['record']['title']}")

            await client.collection("posts").subscribe("*", slow)
            for number in range(3):
                hub.create("posts", {"title": str(number)})
            await soon(lambda: len(told) == 6)
            assert told == ["in 0", "out 0", "in 1", "out 1", "in 2", "out 2"]

    run(test())


def test_a_slow_coroutine_loses_no_more_than_it_is_told(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            may_go = asyncio.Event()
            got: list[tidings.Event] = []

            async def slow(event: tidings.Event) -> None:
                got.append(event)
                await may_go.wait()

            handle = await client.collection("posts").subscribe("*", slow, queue=4)
            for number in range(20):
                hub.create("posts", {"title": str(number)})
            await soon(lambda: handle.lost > 0 and client.stats()["messages"] >= 20)
            may_go.set()
            await soon(lambda: sum(event.lagged or 1 for event in got) == 20)
            assert handle.lost == sum(event.lagged for event in got)

    run(test())


def test_an_error_in_a_callback_is_told_and_the_others_go_on(
    hub: Hub, run: Test, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            errors: list[Any] = []
            client.on_error = lambda error, event: errors.append((error, event))
            other = Box()

            async def fail(event: tidings.Event) -> None:
                raise LookupError(event["record"]["title"])

            async def cancel(event: tidings.Event) -> None:
                stuck = asyncio.get_running_loop().create_future()
                stuck.cancel()
                await stuck

            await client.collection("posts").subscribe("*", fail)
            await client.collection("posts").subscribe("*", cancel)
            await client.collection("posts").subscribe("*", other)
            hub.create("posts", {"title": "0"})
            hub.create("posts", {"title": "1"})
            await other.wait(2)
            await soon(lambda: len(errors) == 4)
            assert sorted(str(error) for error, _ in errors if isinstance(error, LookupError)) == ["0", "1"]

    run(test())
    assert "LookupError: 1" in caplog.text
    assert "Traceback" in caplog.text


def test_any_call_inside_a_callback(hub: Hub, run: Test) -> None:
    async def test() -> None:
        client = AsyncClient(hub.url)
        done = asyncio.Event()

        async def everything(event: tidings.Event) -> None:
            again = await client.collection("posts").subscribe("*")
            await client.collection("comments").subscribe("*", print)
            await client.send("/api/health")
            client.collection("comments").unsubscribe()
            again()
            client.stats()
            await client.close()
            done.set()

        await client.collection("posts").subscribe("*", everything)
        hub.create("posts", {"title": "0"})
        async with patience():
            await done.wait()
        await soon(lambda: len(asyncio.all_tasks()) == 2)
        await soon(lambda: len(asyncio.all_tasks() - {asyncio.current_task()}) <= 1)
        assert client.state.name == "closed"

    run(test())


def test_cancelling_an_iteration_loses_nothing(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            posts = await client.collection("posts").subscribe("*")
            found: list[tidings.Event] = []

            async def read() -> None:
                async for event in posts:
                    found.append(event)

            for number in range(50):
                reader = asyncio.create_task(read())
                await asyncio.sleep(0)
                hub.create("posts", {"title": str(number)})
                await asyncio.sleep(0.001 * (number % 3))
                reader.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reader
            while len(found) < 50:
                found.append(await posts.next(PATIENCE))
            assert titles(found) == [str(number) for number in range(50)]
            assert client._pump._waiters == {}

    run(test())


def test_cancelling_a_subscription_leaves_nothing(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            hub.delay("submit", 60)
            for callback in (None, print):
                asking = asyncio.create_task(client.collection("posts").subscribe("*", callback))
                await soon(lambda: client.realtime.active_subscriptions)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await asking
                # Although the traceback still holds all that the call had.
                assert client.realtime.active_subscriptions == []
                del caught
            with pytest.raises(TimedOutError):
                await client.collection("posts").subscribe("*", timeout=0.02)
            assert client.realtime.active_subscriptions == []
            assert client._pump._waiters == {}
            hub.clear_faults()

    run(test())


def test_unsubscribing_and_closing_end_an_iteration_that_waits(hub: Hub, run: Test) -> None:
    async def test() -> None:
        client = AsyncClient(hub.url)
        first = await client.collection("posts").subscribe("*")
        second = await client.collection("posts").subscribe("*")

        async def read(posts: tidings.AsyncSubscription) -> None:
            assert [event async for event in posts] == []

        readers = [asyncio.create_task(read(posts)) for posts in (first, second)]
        await asyncio.sleep(0.01)
        first()
        async with patience():
            await readers[0]
        assert not readers[1].done()
        await client.close()
        async with patience():
            await readers[1]
        await client.close()
        with pytest.raises(ClosedError):
            await client.collection("posts").subscribe("*")

    run(test())


def test_unsubscribes_topics(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            box = Box()
            await client.collection("posts").subscribe("*", box)
            await client.realtime.subscribe("jobs/finished", box)
            assert client.collection("posts").unsubscribe("*") == 1
            assert client.realtime.unsubscribe_by_prefix("jobs/") == 1
            assert client.realtime.unsubscribe() == 0
            await soon(lambda: not client._pump._tasks)

    run(test())


def test_errors_have_a_status(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            hub.refuse_next("submit", 403, times=5)
            with pytest.raises(ClientResponseError) as caught:
                await client.collection("posts").subscribe("*")
            assert caught.value.status == 403
            hub.stop()
            with pytest.raises(NetworkError):
                await client.send("/api/health")

    run(test())


def test_logs_in_and_sends(hub: Hub, run: Test) -> None:
    async def test() -> None:
        ann = hub.add_user("users", "ann@example.com", "secret-1")
        async with AsyncClient(hub.url) as client:
            answer = await client.collection("users").auth_with_password("ann@example.com", "secret-1")
            assert answer["record"]["id"] == ann
            assert (await client.collection("users").auth_refresh())["record"]["id"] == ann
            assert client.auth_store.is_valid()
            made = await client.send("/api/collections/posts/records", method="POST", body={"title": "x"})
            assert made["title"] == "x"
            hub.oauth2("users", "mock", "ann@example.com")
            with pytest.raises(TimedOutError):
                await client.collection("users").auth_with_oauth2("mock", lambda url: None, timeout=0.1)

    run(test())


@pytest.mark.parametrize("plain", [True, False])
def test_asks_a_token_provider(hub: Hub, run: Test, plain: bool) -> None:
    ann = hub.add_user("users", "ann@example.com", "secret-1")

    async def wait() -> str:
        await asyncio.sleep(0.001)
        return hub.token("users", ann)

    async def fail() -> str:
        raise LookupError("the vault is shut")

    async def test() -> None:
        provider = (lambda: hub.token("users", ann)) if plain else wait
        async with AsyncClient(hub.url, token_provider=provider) as client:
            await client.collection("posts").subscribe("*", print)
            assert client.auth_store.is_valid()
        async with AsyncClient(hub.url, token_provider=fail) as client:
            with pytest.raises(TokenProviderError, match="the vault is shut"):
                await client.collection("posts").subscribe("*")

    run(test())


def test_states_and_disconnections_are_told(hub: Hub, run: Test, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidings")

    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            states: list[tidings.State] = []
            lost = Box()
            client.realtime.on_state = states.append
            client.realtime.on_disconnect = lost
            posts = await client.collection("posts").subscribe("*")
            hub.break_streams("reset_streams")
            assert await lost.wait() == [["posts/*"]]
            assert (await posts.next(PATIENCE)).action == "gap"
            await soon(lambda: states[-1].name == "live")

    run(test())
    assert "connected again" in caplog.text


def test_handlers_may_be_set_before_there_is_a_loop(hub: Hub, run: Test) -> None:
    client = AsyncClient(hub.url)
    states: list[tidings.State] = []
    client.realtime.on_state = states.append

    async def test() -> None:
        async with client:
            posts = await client.collection("posts").subscribe("*")
            await soon(lambda: states and states[-1].name == "live")
            posts()

    run(test())


def test_a_client_belongs_to_one_loop_and_asyncio_run_twice_works(hub: Hub) -> None:
    kept: list[AsyncClient] = []

    async def first() -> None:
        client = AsyncClient(hub.url)
        kept.append(client)
        posts = await client.collection("posts").subscribe("*")
        hub.create("posts", {"title": "x"})
        assert titles([await posts.next(PATIENCE)]) == ["x"]

    async def other_loop() -> None:
        with pytest.raises(RuntimeError, match="loop of its first use"):
            await kept[0].collection("posts").subscribe("*")
        await kept[0].close()

    asyncio.run(first())
    asyncio.run(first())
    asyncio.run(other_loop())
    asyncio.run(kept[1].close())


def test_there_is_no_thread_in_python(hub: Hub) -> None:
    async def test() -> None:
        before = threading.enumerate()
        async with AsyncClient(hub.url) as client:
            box = Box()
            await client.collection("posts").subscribe("*", box)
            hub.create("posts", {"title": "x"})
            await box.wait()
            assert threading.enumerate() == before

    asyncio.run(test())


def test_forgetting_a_client_closes_it_with_a_warning(hub: Hub) -> None:
    async def test() -> None:
        client = AsyncClient(hub.url)
        await client.collection("posts").subscribe("*")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
        assert [one.category for one in caught] == [ResourceWarning]
        await soon(lambda: hub.stats()["streams"] == 0)

    asyncio.run(test())


def test_a_forgotten_client_with_callbacks_goes_on(hub: Hub) -> None:
    async def test() -> None:
        box = Box()
        await AsyncClient(hub.url).collection("posts").subscribe("*", box)
        gc.collect()
        hub.create("posts", {"title": "x"})
        assert titles(await box.wait()) == ["x"]

    asyncio.run(test())


def test_other_tasks_get_their_turn_while_events_keep_coming(hub: Hub) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            posts = await client.collection("posts").subscribe("*")
            for number in range(1000):
                hub.create("posts", {"title": str(number)})
            await soon(lambda: client.stats()["messages"] > 1000)
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            for _ in range(100):
                await posts.__anext__()
                time.sleep(0.001)  # noqa: ASYNC251 - a slow callback
            task.cancel()
            assert turns >= 10

    asyncio.run(test())


def test_times_that_cannot_be_are_argument_errors(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            for timeout in (-1, float("nan")):
                with pytest.raises(ArgumentError, match="invalid timeout"):
                    await client.collection("posts").subscribe("*", timeout=timeout)
                with pytest.raises(ArgumentError, match="invalid timeout"):
                    await client.send("/api/health", timeout=timeout)
            assert client.realtime.active_subscriptions == []
            async with await client.collection("posts").subscribe("*") as posts:
                for timeout in (0, -1):
                    with pytest.raises(TimeoutError):
                        await posts.next(timeout)
                with pytest.raises(ArgumentError, match="invalid timeout"):
                    await posts.next(float("nan"))
                hub.create("posts", {"title": "0"})
                assert (await posts.next(float("inf")))["record"]["title"] == "0"
        async with tidings.AsyncEventSource(hub.url + "/events") as source:
            with pytest.raises(ArgumentError, match="invalid timeout"):
                await source.next(float("nan"))

    run(test())


def test_a_timeout_tells_what_the_server_has_said(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            hub.refuse_next("submit", 500, times=1000)
            with pytest.raises(ClientResponseError) as caught:
                await client.collection("posts").subscribe("*", timeout=0.5)
            assert caught.value.status == 500
            assert client.realtime.active_subscriptions == []

    run(test())


def test_a_slow_callback_keeps_others_waiting_for_one_call(hub: Hub, run: Test) -> None:
    async def test() -> None:
        async with AsyncClient(hub.url) as client:
            slow: list[object] = []
            quick: list[int] = []

            def sleepy(event: tidings.Event) -> None:
                if not slow:
                    # A backlog for this one, and one event for the other behind it.
                    for number in range(200):
                        hub.create("posts", {"title": number})
                    hub.create("comments", {"title": "in between"})
                    while client.stats()["delivered"] < 202:
                        time.sleep(0.001)
                time.sleep(0.01)
                slow.append(event)

            await client.collection("posts").subscribe("*", sleepy)
            await client.collection("comments").subscribe("*", lambda event: quick.append(len(slow)))
            hub.create("posts", {})
            await soon(lambda: quick)
            assert quick[0] <= 5

    run(test())


def test_a_handler_that_is_a_coroutine_function_is_awaited(hub: Hub, run: Test) -> None:
    async def test() -> None:
        heard: list[str] = []

        async with AsyncClient(hub.url) as client:

            async def on_error(error: BaseException, event: tidings.Event | None) -> None:
                heard.append("error")

            async def on_change(token: str, record: object) -> None:
                heard.append("change")

            async def on_state(state: tidings.State) -> None:
                heard.append("state")

            async def fail(event: tidings.Event) -> None:
                raise LookupError

            client.on_error = on_error
            client.realtime.on_state = on_state
            client.auth_store.on_change(on_change)
            client.auth_store.save("token")
            client.auth_store.clear()
            await client.collection("posts").subscribe("*", fail)
            hub.create("posts", {})
            await soon(lambda: set(heard) == {"error", "change", "state"})
            with pytest.raises(TypeError, match="not callable"):
                await client.collection("posts").subscribe("*", "on_post")  # type: ignore[call-overload]

    run(test())


def test_a_forgotten_client_with_callbacks_goes_on_until_the_last_is_gone(hub: Hub, run: Test) -> None:
    async def test() -> None:
        before = asyncio.all_tasks()
        heard: list[object] = []
        handle = await AsyncClient(hub.url).collection("posts").subscribe("*", heard.append)
        gc.collect()
        hub.create("posts", {})
        await soon(lambda: heard)
        handle()
        await soon(lambda: hub.stats()["streams"] == 0)
        await soon(lambda: asyncio.all_tasks() == before)

    run(test())
