"""Bad input to a view: an error at the call, with what to do, and nothing lost of other views. Sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import tidings
from conftest import PATIENCE, PocketBase
from test_views import FIELDS, titles
from tidings.exceptions import ArgumentError

# What is asked for, the error, its status, and what it says.
BAD = {
    "an unknown field": ({"filter": "nope = 1"}, tidings.ClientResponseError, 400, "answered 400"),
    "a filter over 3,500 characters": (
        {"filter": f"title = '{'x' * 3500}'"},
        ArgumentError,
        None,
        "servers take 3500",
    ),
    "a random order": ({"sort": "@random"}, ArgumentError, None, "@random"),
    "a limit of 0": ({"limit": 0}, ArgumentError, None, "limit"),
    "no list rule": ({}, tidings.ClientResponseError, 403, "superusers"),
}


@pytest.fixture(scope="module")
def collections(pocketbase: PocketBase) -> str:
    pocketbase.collection("bad_input", *FIELDS)
    id = pocketbase.collection("no_list_rule", *FIELDS)
    pocketbase.root.send("PATCH", f"/api/collections/{id}", body={"listRule": None})
    return pocketbase.url


def name(what: str) -> str:
    return "no_list_rule" if what == "no list rule" else "bad_input"


def judge(what: str, error: Any) -> None:
    _, kind, status, says = BAD[what]
    assert type(error) is kind
    assert getattr(error, "status", None) == status
    assert says in str(error)


@pytest.mark.parametrize("what", BAD)
def test_sync(collections: str, what: str) -> None:
    with tidings.Client(collections) as client, client.collection("bad_input").watch(sort="title") as other:
        before = len(other.rows)
        with pytest.raises(BAD[what][1]) as refused:
            client.collection(name(what)).watch(**BAD[what][0])
        judge(what, refused.value)
        made = client.collection("bad_input").create({"title": what})
        other.prove(PATIENCE)
        assert other.error is None
        assert other.status.is_proven
        assert what in titles(other.rows)
        assert len(other.rows) == before + 1
        client.collection("bad_input").delete(made["id"])


@pytest.mark.parametrize("what", BAD)
def test_async(collections: str, what: str) -> None:
    async def main() -> None:
        async with tidings.AsyncClient(collections) as client:
            tasks = client.collection("bad_input")
            async with await tasks.watch(sort="title") as other:
                before = len(other.rows)
                with pytest.raises(BAD[what][1]) as refused:
                    await client.collection(name(what)).watch(**BAD[what][0])
                judge(what, refused.value)
                made = await tasks.create({"title": what})
                await other.prove(PATIENCE)
                assert other.error is None
                assert other.status.is_proven
                assert what in titles(other.rows)
                assert len(other.rows) == before + 1
                await tasks.delete(made["id"])

    asyncio.run(main())


def test_a_record_that_leaves_the_filter_is_told(pocketbase: PocketBase) -> None:
    """It sends nothing, and would stay on the screen of who follows events."""
    pocketbase.collection("leaves", {"name": "title", "type": "text"}, {"name": "count", "type": "number"})
    with tidings.Client(pocketbase.url) as client:
        posts = client.collection("leaves")
        with posts.watch(filter="count > 5") as view:
            assert view.next(PATIENCE).rows == []
            one = posts.create({"title": "x", "count": 10})
            (entered,) = view.next(PATIENCE).deltas
            assert isinstance(entered, tidings.Insert)
            posts.update(one["id"], {"count": 1})
            changes = view.next(PATIENCE)
            assert [(type(delta), delta.why) for delta in changes.deltas] == [(tidings.Remove, "left_filter")]
            assert changes.rows == []
