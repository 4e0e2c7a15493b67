"""What stands in the log: outages and their end, who it was, once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import tidings
from conftest import Box, PocketBase, soon
from tidings import AsyncClient, Client
from tidings.testing import Hub


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[str]]:
    caplog.set_level(logging.DEBUG, "tidings")

    def lines(level: int) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= level]

    return lines


def outage(hub: Hub, client: Client) -> None:
    first = client.stats()["connected"]
    hub.break_streams("cut_streams")
    soon(lambda: client.stats()["connected"] > first and client.state.name == "live")


def test_a_client_without_callbacks_logs_an_outage(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    with Client(hub.url) as client, client.collection("posts").subscribe("*"):
        outage(hub, client)
        soon(lambda: len(lines(logging.INFO)) == 3)
    connected, lost, again = lines(logging.INFO)
    assert connected == f"{client.name}: connected"
    assert lost.startswith(f"{client.name}: the connection was lost: ")
    assert again.startswith(f"{client.name}: connected again after ")
    assert lines(logging.WARNING) == [lost]


def test_an_outage_is_one_line_whatever_the_number_of_topics(
    hub: Hub, lines: Callable[[int], list[str]]
) -> None:
    gaps = Box()
    with Client(hub.url) as client:
        for number in range(300):
            client.realtime.subscribe(f"topic{number}", lambda event: gaps(event.action), wait=False)
        soon(lambda: client.state.name == "live" and len(hub.topics()) == 300)
        for number in range(300):
            soon(lambda number=number: hub.topics() and f"topic{number}" in hub.topics())
        hub.stop()
        soon(lambda: client.stats()["disconnects"]["lost"] >= 2)
        hub.restart()
        client.network_changed()
        gaps.wait(300)
        soon(lambda: any("connected again" in line for line in lines(logging.INFO)))
    assert set(gaps.got) == {"gap"}
    warnings = lines(logging.WARNING)
    assert len(warnings) == 1, warnings
    # The others are there for who looks for them.
    assert sum("may have been missed in" in line for line in lines(logging.DEBUG)) == 300


def test_a_second_outage_has_lines_of_its_own(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    with Client(hub.url) as client:
        client.collection("posts").subscribe("*", lambda event: None)
        for _ in range(2):
            outage(hub, client)
        soon(lambda: sum("connected again" in line for line in lines(logging.INFO)) == 2)
    assert len(lines(logging.WARNING)) == 2


def test_a_gap_without_an_outage_is_logged_once(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    ann = hub.add_user("users", "ann@example.com", "secret-1")
    bob = hub.add_user("users", "bob@example.com", "secret-1")
    gaps = Box()
    with Client(hub.url, token=hub.token("users", ann)) as client:
        for topic in ("a", "b", "c"):
            client.realtime.subscribe(topic, lambda event: gaps(event.gap_reason))
        client.auth_store.save(hub.token("users", bob))
        assert gaps.wait(3) == ["identity_changed"] * 3
    assert sum("may have been missed in" in line for line in lines(logging.INFO)) == 1
    assert lines(logging.WARNING) == []


def test_a_message_that_was_dropped_for_its_size_is_logged(
    hub: Hub, lines: Callable[[int], list[str]]
) -> None:
    with Client(hub.url, message_limit=2048) as client:
        gaps = Box()
        client.realtime.subscribe("jobs", lambda event: gaps(event.gap_reason))
        hub.publish("jobs", "x" * 4096)
        assert gaps.wait() == ["too_large"]
    (line,) = lines(logging.WARNING)
    assert "changes of jobs may have been missed" in line
    assert line.endswith("too_large")


def test_unsubscribing_is_no_disconnection(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    with Client(hub.url) as client:
        client.collection("posts").subscribe("*", print)()
        soon(lambda: client.state.name == "idle")
        soon(lambda: any("idle" in line for line in lines(logging.DEBUG)))
    assert lines(logging.INFO) == [f"{client.name}: connected"]
    assert not any("disconnect" in line or "gone" in line for line in lines(logging.DEBUG))


def test_a_server_that_is_not_there_is_one_line(lines: Callable[[int], list[str]]) -> None:
    with Client("http://127.0.0.1:9", name="nobody") as client:
        assert (client.state.retry_in, client.state.offline_seconds) == (None, None)
        client.collection("posts").subscribe("*", print, wait=False)
        soon(lambda: client.stats()["disconnects"]["lost"] >= 3)
        (line,) = lines(logging.WARNING)
    assert line.startswith("nobody: cannot connect: cannot reach 127.0.0.1:9: ")


def test_two_clients_are_told_apart(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    with Client(hub.url, name="first") as first, Client(hub.url) as second:
        assert first.name in repr(first)
        assert second.name == hub.url.removeprefix("http://")
        assert repr(second) == f"<tidings.Client {second.name} idle>"
        for client in (first, second):
            client.collection("posts").subscribe("*", print)
        soon(lambda: len(lines(logging.INFO)) == 2)
    assert sorted(lines(logging.INFO)) == sorted([f"{second.name}: connected", "first: connected"])


def test_a_name_holds_no_secret() -> None:
    for url, name in (
        ("http://user:s3cret@host/?token=s3cret", "host"),
        ("https://[::1]:8090", "[::1]:8090"),
        ("http://host:81/path", "host:81"),
    ):
        assert Client(url).name == name


def test_the_async_client_logs_the_same(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    async def program() -> str:
        async with AsyncClient(hub.url) as client:
            posts = await client.collection("posts").subscribe("*")
            hub.break_streams("cut_streams")
            assert (await posts.next(10)).action == "gap"
            while client.state.name != "live":  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)
            await client.send("/api/health")
            return client.name

    name = asyncio.run(program())
    connected, lost, again = lines(logging.INFO)
    assert connected == f"{name}: connected"
    assert lost.startswith(f"{name}: the connection was lost: ")
    assert again.startswith(f"{name}: connected again after ")


def test_what_callbacks_raise_says_whose_it_is(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    errors = Box()
    with Client(hub.url, name="mine") as client:
        client.on_error = errors

        def fail(event: tidings.Event) -> None:
            raise LookupError

        client.collection("posts").subscribe("*", fail)
        hub.create("posts", {})
        errors.wait()
        assert client.stats()["panics"] == 1
    assert lines(logging.ERROR) == ["mine: a callback raised for an event of posts/*"]


def test_a_topic_that_is_refused_for_now_says_why(hub: Hub, lines: Callable[[int], list[str]]) -> None:
    hub.refuse_next("submit", 503, times=1000)
    with Client(hub.url) as client, client.collection("posts").subscribe("*", wait=False) as posts:
        assert soon(lambda: posts.denial).status == 503
        assert posts.state == "pending"
        text = f"{client.name}: the server refuses posts/* for now; it is asked again: "
        soon(lambda: any(line.startswith(text) for line in lines(logging.WARNING)))
        hub.clear_faults()
        soon(lambda: posts.state == "live")
        assert posts.denial is None
    assert sum(line.startswith(text) for line in lines(logging.WARNING)) == 1


def test_a_topic_that_can_bring_nothing_says_why(
    pocketbase: PocketBase, lines: Callable[[int], list[str]]
) -> None:
    with Client(pocketbase.url) as client, client.collection("missing").subscribe("*", wait=False) as missing:
        assert soon(lambda: missing.denial).status == 404
        soon(lambda: missing.state == "denied")
        text = f"{client.name}: no event of missing/* can come: "
        soon(lambda: any(line.startswith(text) for line in lines(logging.WARNING)))
