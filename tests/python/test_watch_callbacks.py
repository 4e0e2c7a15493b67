"""The callback form of a view: where it runs, what it may do, and when it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
import tidings
from conftest import PATIENCE, Box, PocketBase, soon
from test_views import FIELDS, fold, titles
from tidings import Changes, Client
from tidings.testing import Hub


def last(box: Box, wanted: list[str]) -> Changes:
    return soon(
        lambda: next((got for got in reversed(box.got) if titles(got.rows) == wanted), None), str(wanted)
    )


def test_it_is_called_with_each_batch_on_the_thread_of_the_callbacks(
    pocketbase: PocketBase, box: Box
) -> None:
    pocketbase.collection("tasks_called", *FIELDS)
    threads = []

    def keep(changes: Changes) -> None:
        threads.append(threading.current_thread().name)
        box(changes)

    with tidings.Client(pocketbase.url) as client:
        tasks = client.collection("tasks_called")
        tasks.create({"title": "a", "n": 1})
        with tasks.watch(keep, filter="n < 10", sort="title") as view:
            assert titles(view.rows) == ["a"]
            assert isinstance(box.wait()[0].deltas[0], tidings.Reset)
            made = tasks.create({"title": "b", "n": 2})
            last(box, ["a", "b"])
            tasks.update(made["id"], {"n": 10})
            last(box, ["a"])
            view.prove(PATIENCE)
        folded: list[Any] = []
        for changes in box.got:
            folded = fold(folded, changes)
            assert folded == changes.rows
        assert set(threads) == {f"tidings-callbacks {client.name}"}


def test_it_is_not_called_before_watch_has_returned(hub: Hub, client: Client) -> None:
    hub.create("tasks", {"title": "a"})
    early = []
    for _ in range(30):
        returned: list[Any] = []
        called = threading.Event()

        def on_changes(changes: Changes, returned: list[Any] = returned, called: Any = called) -> None:
            if not returned:
                early.append(changes)
            called.set()

        with client.collection("tasks").watch(on_changes) as view:
            returned.append(view)
            assert called.wait(PATIENCE)
    assert early == []


def test_it_may_call_anything_and_close_its_view(hub: Hub, client: Client, box: Box) -> None:
    tasks = client.collection("tasks")
    views: list[tidings.ViewListener] = []
    ready = threading.Event()

    def on_changes(changes: Changes) -> None:
        assert ready.wait(PATIENCE)
        if not changes.rows:
            tasks.create({"title": "made by the callback"})
            views[0].prove(PATIENCE)
        else:
            views[0].close()
        box(titles(changes.rows))

    views.append(tasks.watch(on_changes))
    ready.set()
    assert box.wait(2) == [[], ["made by the callback"]]
    hub.create("tasks", {"title": "later"})
    soon(lambda: client.stats()["listeners"] == 0, "the end of its subscriptions")
    assert len(box.got) == 2
    assert views[0].status.why == "ended"


def test_what_it_raises_is_reported_and_the_others_go_on(
    hub: Hub, client: Client, box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    told = Box()
    client.on_error = told

    def fail(changes: Changes) -> None:
        raise LookupError(len(changes.rows))

    client.collection("tasks").watch(fail)
    client.collection("tasks").watch(box)
    error, event = told.wait()[0]
    assert isinstance(error, LookupError)
    assert event is None
    hub.create("tasks", {"title": "a"})
    last(box, ["a"])
    told.wait(2)
    assert any(record.message.endswith("a callback raised for changes of tasks") for record in caplog.records)


def test_a_slow_one_keeps_the_others_waiting_for_one_call(hub: Hub, client: Client, box: Box) -> None:
    goes_on = threading.Event()
    other = Box()

    def slow(changes: Changes) -> None:
        box(changes)
        assert goes_on.wait(PATIENCE)

    client.collection("tasks").watch(slow)
    box.wait()
    client.collection("posts").subscribe("*", other)
    for number in range(50):
        hub.create("tasks", {"title": str(number)})
        hub.create("posts", {"title": str(number)})
    goes_on.set()
    other.wait(50)
    soon(lambda: len(box.got[-1].rows) == 50)
    folded: list[Any] = []
    for changes in box.got:
        folded = fold(folded, changes)
    assert folded == box.got[-1].rows
    # What waited has folded.
    assert len(box.got) < 51


def test_it_goes_on_without_a_handle_and_without_the_client(hub: Hub, box: Box) -> None:
    client = Client(hub.url)
    view = client.collection("tasks").watch(box)
    end = view._forget
    box.wait()
    del client, view
    gc.collect()
    hub.create("tasks", {"title": "a"})
    last(box, ["a"])
    assert hub.topics()
    end()
    assert hub.wait_until(lambda stats: stats["streams"] == 0, PATIENCE)


def test_a_view_that_the_server_ends_says_so_once(pocketbase: PocketBase, box: Box) -> None:
    id = pocketbase.collection("tasks_ended", *FIELDS)
    with tidings.Client(pocketbase.url) as client:
        view = client.collection("tasks_ended").watch(box)
        box.wait()
        pocketbase.root.send("PATCH", f"/api/collections/{id}", body={"listRule": None})
        # Which the view finds out by asking.
        with pytest.raises(tidings.ClientResponseError):
            view.prove(PATIENCE)
        ended = soon(lambda: [got for got in box.got if got.status.why == "ended"], "the end")
        assert [got.status.error.status for got in ended] == [403]
        assert ended[0].deltas == []
        assert view.status.why == "ended"
        assert isinstance(view.error, tidings.ClientResponseError)


def test_a_callback_that_would_never_run_is_refused(client: Client) -> None:
    async def never(changes: Changes) -> None: ...

    for callback in (never, 7):
        with pytest.raises(TypeError):
            client.collection("tasks").watch(callback)  # type: ignore[arg-type]


def test_with_asyncio_a_coroutine_is_awaited_before_the_next_batch(hub: Hub) -> None:
    async def main() -> None:
        calls: list[Changes] = []
        running = 0
        came = asyncio.Event()

        async def on_changes(changes: Changes) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await asyncio.sleep(0)
            calls.append(changes)
            running -= 1
            came.set()
            if len(changes.rows) == 1:
                raise LookupError("one row")

        told: list[Any] = []
        async with tidings.AsyncClient(hub.url) as client:
            client.on_error = lambda error, event: told.append((str(error), event))
            async with await client.collection("tasks").watch(on_changes) as view:
                for number in range(5):
                    hub.create("tasks", {"title": str(number)})
                    while not calls or len(calls[-1].rows) <= number:
                        came.clear()
                        await asyncio.wait_for(came.wait(), PATIENCE)
                await view.prove(PATIENCE)
            hub.create("tasks", {"title": "later"})
            await client.send("/api/health")
            # One may have been running when the view was closed.
            assert max(len(changes.rows) for changes in calls) == 5
            assert told == [("one row", None)]
            folded: list[Any] = []
            for changes in calls:
                folded = fold(folded, changes)
                assert folded == changes.rows
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*left), PATIENCE)

    asyncio.run(main())
