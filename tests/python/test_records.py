"""Records, read and written, against a real server: sync and async have the same names."""

from __future__ import annotations

import asyncio

import pytest
import tidings
from tidings.exceptions import ArgumentError, UnsupportedError

TITLE = {"name": "title", "type": "text"}


@pytest.fixture
def posts(pocketbase, request):
    name = request.node.name[:60]
    pocketbase.collection(name, TITLE)
    with tidings.Client(pocketbase.url) as client:
        yield client.collection(name)


def test_records_are_written_and_read(posts):
    made = posts.create({"title": "a"})
    assert posts.update(made["id"], {"title": "b"})["title"] == "b"
    assert posts.get_one(made["id"], fields=["title"]) == {"title": "b"}
    posts.delete(made["id"])
    with pytest.raises(tidings.ClientResponseError) as gone:
        posts.get_one(made["id"])
    assert gone.value.status == 404


def test_a_walk_repeats_and_misses_nothing_while_records_go(posts):
    titles = {posts.create({"title": f"{n:02}"})["title"] for n in range(25)}
    seen, gone = [], []
    for post in posts.list(sort="-title", page_size=5):
        seen.append(post)
        if len(seen) % 5 == 2:
            posts.delete(seen[len(gone)]["id"])
            gone.append(seen[len(gone)]["title"])
    assert [post["title"] for post in seen] == sorted(titles, reverse=True)
    assert len(gone) == 5
    rest = posts.get_full_list(filter="title < '03'", page_size=2)
    assert {post["title"] for post in rest} == {"00", "01", "02"}
    page = posts.get_list(2, 3, sort="title")
    assert [page["page"], page["perPage"], page["totalItems"], page["totalPages"]] == [2, 3, 20, 7]
    assert [post["title"] for post in page["items"]] == ["03", "04", "05"]


def test_with_asyncio_a_page_that_was_cancelled_is_read_again(pocketbase):
    pocketbase.collection("async_posts", TITLE)

    async def main():
        async with tidings.AsyncClient(pocketbase.url) as client:
            posts = client.collection("async_posts")
            made = [await posts.create({"title": str(n)}) for n in range(7)]
            assert [post async for post in posts.list(sort="title", page_size=3)] == made
            assert await posts.get_full_list(sort="title") == made
            assert (await posts.get_list(1, 2))["totalItems"] == 7
            pages = posts._native.list({"page_size": 3})
            pages.next().withdraw()
            assert len(await client._finish(pages.next(), None)) == 3
            await posts.update(made[0]["id"], {"title": "new"})
            assert (await posts.get_one(made[0]["id"]))["title"] == "new"
            await posts.delete(made[0]["id"])
            with pytest.raises(tidings.ClientResponseError):
                await posts.delete(made[0]["id"])

    asyncio.run(main())


def test_what_cannot_be_right_is_refused_before_the_network():
    with tidings.Client("http://127.0.0.1:1") as client:
        posts = client.collection("posts")
        for options in (
            {"filter": "a ="},
            {"sort": "@random"},
            {"page_size": 0},
            {"query": {"sort": "a"}, "sort": "b"},
        ):
            with pytest.raises(ArgumentError):
                posts.list(**options)
        for id in ("", "a/b", ".."):
            with pytest.raises(ArgumentError):
                posts.get_one(id)
        with pytest.raises(ArgumentError):
            posts.create([1])
    with (
        tidings.Client("http://127.0.0.1:1", rustbaas=("acme", "web")) as client,
        pytest.raises(UnsupportedError),
    ):
        client.collection("posts").list()
