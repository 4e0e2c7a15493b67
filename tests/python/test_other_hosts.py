"""Hosts with threads, loops and sessions of their own: gevent, trio, IPython."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Program, soon
from tidings.testing import Hub

Start = Callable[..., Program]

GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent, sys, tidings
url = sys.argv[1]
ticks = 0
def clock():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0)
def while_it_waits(call):
    '''Whether other greenlets run while this one waits.'''
    before = ticks
    waiting = gevent.spawn(call)
    gevent.sleep(0.2)
    assert not waiting.ready(), waiting
    assert ticks - before > 5, ticks - before
    return waiting
gevent.spawn(clock)
client = tidings.Client(url)
"""


@pytest.mark.parametrize(
    ("call", "release"),
    [
        ("client.collection('posts').subscribe('*').next()", "posts"),
        ("client.collection('posts').subscribe('*').next(1000)", "posts"),
        ("next(client.collection('posts').subscribe('*'))", "posts"),
        ("client.collection('held').subscribe('*')", "submit"),
        ("client.collection('held').subscribe('*', print)", "submit"),
        ("client.send('/api/collections/posts/records')", "records"),
        ("client.collection('users').auth_with_password('a@example.com', 'secret-1')", "auth"),
    ],
)
def test_under_gevent_a_call_that_waits_lets_other_greenlets_run(
    program: Start, hub: Hub, call: str, release: str
) -> None:
    hub.add_user("users", "a@example.com", "secret-1")
    if release != "posts":
        hub.delay(release, 1.5)  # type: ignore[arg-type]
    text = f"""
waiting = while_it_waits(lambda: {call})
print("READY")
sys.stdin.readline()
assert waiting.get(timeout=20) is not None
client.close()
print("FINE")
"""
    one = program("", "-c", GEVENT + text, hub.url)
    one.expect("READY")
    if release == "posts":
        soon(lambda: hub.topics() == ["posts/*"])
        hub.create("posts", {"title": "x"})
    one.say("go")
    one.expect("FINE")
    assert one.end() == 0, one.error


def test_under_gevent_a_wait_ends_in_time_and_with_the_client(program: Start, hub: Hub) -> None:
    text = """
posts = client.collection("posts").subscribe("*")
try:
    posts.next(0.05)
except TimeoutError:
    pass
try:
    posts.next(float("nan"))
except tidings.exceptions.ArgumentError:
    pass
waiting = while_it_waits(lambda: list(posts))
heard = []
client.collection("posts").subscribe("*", heard.append)
client.close()
assert waiting.get(timeout=20) == []
print("FINE")
"""
    one = program("", "-c", GEVENT + text, hub.url)
    one.expect("FINE")
    assert one.end() == 0, one.error


def test_under_gevent_an_event_source_that_waits_lets_other_greenlets_run(program: Start, hub: Hub) -> None:
    hub.send("/events", "nobody hears")
    text = """
source = tidings.EventSource(url + "/events")
waiting = while_it_waits(source.next)
try:
    tidings.EventSource(url + "/events").next(0.05)
except TimeoutError:
    pass
print("READY")
assert waiting.get(timeout=20).data == "news"
waiting = while_it_waits(lambda: list(source))
source.close()
assert waiting.get(timeout=20) == []
client.close()
print("FINE")
"""
    one = program("", "-c", GEVENT + text, hub.url)
    one.expect("READY")
    hub.send("/events", "news")
    one.expect("FINE")
    assert one.end() == 0, one.error


def test_under_trio_the_error_says_what_works(program: Start, hub: Hub) -> None:
    one = program("", "-c", TRIO, hub.url)
    one.expect("READY")
    hub.create("posts", {"title": "by trio"})
    one.expect("by trio")
    assert one.end() == 0, one.error


TRIO = """
import sys, tidings, trio
async def main():
    client = tidings.AsyncClient(sys.argv[1])
    try:
        await client.collection("posts").subscribe("*")
    except RuntimeError as error:
        assert "needs a running asyncio event loop" in str(error), error
        assert "trio.to_thread.run_sync" in str(error), error
    # And it does work.
    with tidings.Client(sys.argv[1]) as plain:
        posts = await trio.to_thread.run_sync(plain.collection("posts").subscribe, "*")
        print("READY")
        event = await trio.to_thread.run_sync(posts.next, 20)
        print(event["record"]["title"])
trio.run(main)
"""

IPYTHON = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def run(cell):
    result = shell.run_cell(cell, store_history=True)
    result.raise_error()
    return result.result
run(f"import tidings; URL = {sys.argv[1]!r}; heard = []")
"""


@pytest.mark.parametrize(
    ("cells", "copies"),
    [
        # A cell that is run twice, whatever it keeps.
        (["client = tidings.Client(URL)\nclient.collection('posts').subscribe('*', heard.append)"] * 2, 1),
        (["handle = tidings.Client(URL).collection('posts').subscribe('*', heard.append)"] * 2, 1),
        (["tidings.Client(URL).collection('posts').subscribe('*', heard.append)"] * 3, 1),
        # With another callback the second time.
        (
            [
                "client = tidings.Client(URL)\nclient.collection('posts').subscribe('*', print)",
                "client = tidings.Client(URL)\nclient.collection('posts').subscribe('*', heard.append)",
            ],
            1,
        ),
        # Two cells, and clients that are held, are nobody's second run.
        (
            [
                "one = tidings.Client(URL); one.collection('posts').subscribe('*', heard.append);",
                "two = tidings.Client(URL); two.collection('posts').subscribe('*', heard.append);",
            ],
            2,
        ),
        (
            [
                "all = []",
                *[
                    "all.append(tidings.Client(URL)); all[-1].collection('posts').subscribe('*', heard.append);"
                ]
                * 2,
            ],
            2,
        ),
        (
            ["for _ in range(3): tidings.Client(URL).collection('posts').subscribe('*', heard.append)"],
            3,
        ),
    ],
)
def test_a_cell_that_is_run_again_replaces_its_client(
    program: Start, hub: Hub, cells: list[str], copies: int
) -> None:
    text = f"""
for cell in {cells!r}:
    run(cell)
print("READY")
sys.stdin.readline()
deadline = time.monotonic() + 20
while len(run("heard")) < {copies} and time.monotonic() < deadline:
    time.sleep(0.005)
print("HEARD", len(run("heard")))
"""
    one = program("", "-c", IPYTHON + text, hub.url)
    one.expect("READY")
    # What was replaced is gone from the server, and the rest is there.
    soon(lambda: hub.stats()["streams"] == copies)
    hub.create("posts", {"title": "x"})
    one.say("go")
    one.expect(f"HEARD {copies}")
    assert one.end() == 0, one.error
