"""Live views against a real server: the list itself, sync and async."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
import tidings
from conftest import PATIENCE, soon
from tidings.exceptions import ArgumentError, TimedOutError, UnsupportedError

FIELDS = ({"name": "title", "type": "text"}, {"name": "n", "type": "number"})


def fold(rows: list, changes: tidings.Changes) -> list:
    """What a program with a list of its own does."""
    for delta in changes.deltas:
        match delta:
            case tidings.Reset(all):
                rows = list(all)
            case tidings.Insert(at, row):
                rows.insert(at, row)
            case tidings.Remove(at, row, _):
                assert rows.pop(at) == row
            case tidings.Update(old_at, at, row, old):
                assert rows.pop(old_at) == old
                rows.insert(at, row)
    return rows


def titles(rows) -> list[str]:
    return [row["title"] for row in rows]


def test_a_view_is_the_list_of_the_server(pocketbase):
    pocketbase.collection("tasks_sync", *FIELDS)
    with tidings.Client(pocketbase.url) as client:
        tasks = client.collection("tasks_sync")
        ids = {title: tasks.create({"title": title, "n": n})["id"] for n, title in enumerate("abc")}
        with tasks.watch(filter="n < 10", sort="-n") as view:
            assert view.status[::2] == (True, None)
            folded = fold([], view.next(PATIENCE))
            assert titles(view.rows) == titles(folded) == ["c", "b", "a"]
            assert titles([view.rows[-1], *view.rows[:2]]) == ["a", "c", "b"]
            tasks.update(ids["c"], {"n": 99})
            tasks.update(ids["a"], {"n": 7})
            tasks.delete(ids["b"])
            tasks.create({"title": "d", "n": 8})
            view.prove(PATIENCE)
            assert titles(view.rows) == ["d", "a"]
            whys = set()
            while titles(folded) != ["d", "a"]:
                changes = view.next(PATIENCE)
                whys |= {delta.why for delta in changes.deltas if isinstance(delta, tidings.Remove)}
                folded = fold(folded, changes)
                assert folded == changes.rows
            # What waited may have been folded into a reset.
            assert whys <= {"left_filter", "deleted", "gone"}
        for _ in view:
            pass
        assert isinstance(view.error, tidings.exceptions.ClosedError)
        assert titles(view.rows) == ["d", "a"]


def test_closing_ends_a_wait_in_another_thread(pocketbase):
    pocketbase.collection("tasks_closed", *FIELDS)
    for close in ("view", "client"):
        client = tidings.Client(pocketbase.url)
        view = client.collection("tasks_closed").watch()
        thread = threading.Thread(target=lambda view=view: list(view))
        thread.start()
        (view if close == "view" else client).close()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        client.close()


def test_a_view_that_nothing_refers_to_is_gone(pocketbase):
    pocketbase.collection("tasks_dropped", *FIELDS)
    with tidings.Client(pocketbase.url) as client:
        view = client.collection("tasks_dropped").watch()
        assert client.stats()["listeners"] > 0
        del view
        gc.collect()
        soon(lambda: client.stats()["listeners"] == 0, "the end of its subscriptions")


def test_with_asyncio(pocketbase):
    pocketbase.collection("tasks_async", *FIELDS)

    async def main():
        async with tidings.AsyncClient(pocketbase.url) as client:
            tasks = client.collection("tasks_async")
            await tasks.create({"title": "a", "n": 1})
            async with await tasks.watch(sort="title", limit=2) as view:
                folded = []
                async for changes in view:
                    folded = fold(folded, changes)
                    assert folded == changes.rows == list(changes.rows)
                    if titles(folded) == ["a"]:
                        await tasks.create({"title": "0", "n": 1})
                        await tasks.create({"title": "1", "n": 1})
                    if titles(folded) == ["0", "1"]:
                        break
                await tasks.create({"title": "-", "n": 1})
                await view.prove(PATIENCE)
                assert titles(view.rows) == ["-", "0"]
                view.close()
                async for changes in view:
                    folded = fold(folded, changes)
                assert titles(folded) == ["-", "0"]

    asyncio.run(main())


def test_what_is_refused(pocketbase):
    pocketbase.collection("tasks_refused", *FIELDS)
    with tidings.Client(pocketbase.url) as client:
        tasks = client.collection("tasks_refused")
        for options in ({"filter": "n ="}, {"sort": "@random"}, {"limit": 0}):
            with pytest.raises(ArgumentError):
                tasks.watch(**options)
        for collection, options, status in (
            ("nothing", {}, 404),
            ("tasks_refused", {"filter": "nope = 1"}, 400),
        ):
            with pytest.raises(tidings.ClientResponseError) as refused:
                client.collection(collection).watch(**options)
            assert refused.value.status == status
    with tidings.Client("http://127.0.0.1:1") as client:
        view = client.collection("tasks").watch(wait=False)
        assert list(view.rows) == []
        assert not view.status.is_proven
        assert view.status.why == "disconnected"
        with pytest.raises(TimedOutError):
            view.prove(0.05)
    with tidings.Client("http://127.0.0.1:1", rustbaas=("a", "b")) as client, pytest.raises(UnsupportedError):
        client.collection("tasks").watch()
