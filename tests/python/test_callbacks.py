"""What callbacks of the sync client may do, and what they may not break."""

from __future__ import annotations

import functools
import gc
import logging
import threading
import time
from typing import Any

import pytest
import tidings
from conftest import PATIENCE, Box, soon
from tidings import Client
from tidings.testing import Hub


def test_all_run_on_one_daemon_thread_in_order(hub: Hub, client: Client) -> None:
    seen = Box()

    def keep(event: tidings.Event) -> None:
        seen((threading.current_thread(), event["record"]["title"]))

    client.collection("posts").subscribe("*", keep)
    client.collection("comments").subscribe("*", keep)
    for number in range(100):
        hub.create("posts", {"title": number})
    seen.wait(100)
    hub.create("comments", {"title": "last"})
    threads, found = zip(*seen.wait(101), strict=True)
    assert list(found) == [*range(100), "last"]
    (thread,) = set(threads)
    assert thread.daemon
    assert thread.name == f"tidings-callbacks {client.name}"


def test_no_event_is_lost_between_the_answer_and_the_table(hub: Hub, client: Client) -> None:
    """The id may be in the queue before `subscribe` has returned."""
    busy = threading.Event()

    def publish() -> None:
        while not busy.is_set():
            hub.publish("jobs", {})

    publisher = threading.Thread(target=publish)
    client.realtime.subscribe("jobs", lambda event: None)
    publisher.start()
    try:
        for _ in range(100):
            box = Box()
            client.realtime.subscribe("jobs", box)()
            box = Box()
            handle = client.realtime.subscribe("jobs", box)
            box.wait()
            handle()
    finally:
        busy.set()
        publisher.join()


def test_a_callback_is_not_called_before_subscribe_has_returned(hub: Hub, client: Client) -> None:
    early = []
    for _ in range(50):
        returned, called = [], threading.Event()

        def on_connect(event: tidings.Event, returned: list[Any] = returned, called: Any = called) -> None:
            if not returned:
                early.append(event)
            called.set()

        handle = client.realtime.subscribe("PB_CONNECT", on_connect)
        returned.append(handle)
        assert called.wait(PATIENCE)
        handle()
        soon(lambda: client.state.name == "idle")
    assert early == []


def test_an_error_is_logged_and_told_and_the_others_go_on(
    hub: Hub, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    told, other = Box(), Box()
    client.on_error = told
    assert client.on_error is told

    def fail(event: tidings.Event) -> None:
        raise LookupError(event["record"]["title"])

    client.collection("posts").subscribe("*", fail)
    client.collection("posts").subscribe("*", other)
    for number in range(3):
        hub.create("posts", {"title": f"number {number}"})
    other.wait(3)
    errors = told.wait(3)
    assert [str(error) for error, _ in errors] == ["number 0", "number 1", "number 2"]
    assert errors[0][1]["record"]["title"] == "number 0"
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.name == "tidings"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
    assert "posts/*" in record.message


def test_even_system_exit_and_a_failing_on_error_end_nothing(
    hub: Hub, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(*told: Any) -> None:
        raise SystemExit(3)

    client.on_error = leave
    client.realtime.on_state = leave
    client.realtime.on_disconnect = leave
    client.auth_store.on_change(leave)
    other = Box()
    client.collection("posts").subscribe("*", leave)
    client.collection("posts").subscribe("*", other)
    hub.create("posts", {"title": "1"})
    hub.create("posts", {"title": "2"})
    other.wait(2)
    client.auth_store.save("token")
    assert "on_error raised" in caplog.text


def test_any_call_from_inside(hub: Hub, client: Client) -> None:
    done = Box()
    hub.add_user("users", "ann@example.com", "secret-1")

    def everything(event: tidings.Event) -> None:
        posts = client.collection("posts")
        again = posts.subscribe("*")
        listener = posts.subscribe("*", lambda event: None)
        hub.create("comments", {"title": "inside"})
        assert again.state == listener.state == "live"
        again()
        listener()
        client.collection("users").auth_with_password("ann@example.com", "secret-1")
        client.collection("users").auth_refresh()
        client.auth_store.clear()
        client.send("/api/health")
        client.realtime.subscribe("jobs", print)
        client.realtime.unsubscribe_by_prefix("jobs")
        client.realtime.unsubscribe("jobs")
        client.filter("a = {:a}", {"a": 1})
        client.network_changed()
        client.realtime.on_state = None
        assert client.realtime.client_id is not None
        assert client.realtime.active_subscriptions
        assert client.stats()
        assert client.state
        own()
        done(event)

    client.on_error = lambda error, event: done(error)
    own = client.collection("comments").subscribe("*", everything)
    hub.create("comments", {"title": "outside"})
    (result,) = done.wait()
    assert isinstance(result, tidings.Event), result
    assert own.state == "ended"


def test_close_from_inside(hub: Hub, client: Client) -> None:
    done = Box()

    def close(event: tidings.Event) -> None:
        client.close()
        done(client.state.name)

    client.collection("posts").subscribe("*", close)
    hub.create("posts", {})
    hub.create("posts", {})
    assert done.wait() == ["closed"]
    soon(lambda: not [one for one in threading.enumerate() if one.name.startswith("tidings-callbacks")])
    # What was queued behind it comes to nobody.
    assert len(done.got) == 1


def test_close_does_not_wait_for_a_callback_that_runs(hub: Hub, client: Client) -> None:
    is_in, may_go = threading.Event(), threading.Event()

    def block(event: tidings.Event) -> None:
        is_in.set()
        may_go.wait(PATIENCE)

    client.collection("posts").subscribe("*", block)
    hub.create("posts", {})
    assert is_in.wait(PATIENCE)
    before = time.monotonic()
    client.close()
    assert time.monotonic() - before < 1
    may_go.set()


def test_a_slow_callback_loses_nothing_and_stalls_no_iteration(hub: Hub, client: Client) -> None:
    slow = Box()

    def sleepy(event: tidings.Event) -> None:
        time.sleep(0.05)
        slow(event["record"]["title"])

    client.collection("posts").subscribe("*", sleepy)
    posts = client.collection("posts").subscribe("*")
    for number in range(20):
        hub.create("posts", {"title": number})
    assert [posts.next(PATIENCE)["record"]["title"] for _ in range(20)] == list(range(20))
    assert len(slow.got) < 20
    assert slow.wait(20) == list(range(20))


def test_a_slow_callback_keeps_others_waiting_for_one_call_and_not_for_its_backlog(
    hub: Hub, client: Client
) -> None:
    slow, quick = Box(), Box()

    def sleepy(event: tidings.Event) -> None:
        if not slow.got:
            # A backlog for this one, and one event for the other behind it.
            for number in range(300):
                hub.create("posts", {"title": number})
            hub.create("comments", {"title": "in between"})
            soon(lambda: client.stats()["delivered"] >= 302)
        time.sleep(0.01)
        slow(event)

    client.collection("posts").subscribe("*", sleepy)
    client.collection("comments").subscribe("*", lambda event: quick(len(slow.got)))
    hub.create("posts", {})
    # The call that runs, one turn of what was taken, one of what is taken next.
    assert quick.wait()[0] <= 5
    client.close()


def test_a_callback_that_would_never_run_is_refused_at_the_call(hub: Hub, client: Client) -> None:
    async def later(*_: object) -> None:
        raise AssertionError

    async def generate(*_: object) -> Any:
        yield

    class Callable:
        async def __call__(self, *_: object) -> None:
            raise AssertionError

    def set_state(value: Any) -> None:
        client.realtime.on_state = value

    def set_disconnect(value: Any) -> None:
        client.realtime.on_disconnect = value

    def set_error(value: Any) -> None:
        client.on_error = value

    uses: list[Any] = [
        lambda value: client.collection("posts").subscribe("*", value),
        lambda value: client.realtime.subscribe("jobs", value, wait=False),
        set_state,
        set_disconnect,
        set_error,
        client.auth_store.on_change,
        lambda value: Client(hub.url, token_provider=value),
    ]
    for use in uses:
        for value, why in (
            (later, "coroutine function"),
            (functools.partial(later), "coroutine function"),
            (Callable(), "coroutine function"),
            (generate, "asynchronous generator"),
            ("on_post", "'on_post' is not callable"),
            (7, "7 is not callable"),
        ):
            with pytest.raises(TypeError, match=why):
                use(value)
    assert client.realtime.active_subscriptions == []


def test_a_coroutine_that_a_plain_function_returns_is_reported(
    hub: Hub, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    errors = Box()
    client.on_error = errors

    async def later(event: tidings.Event) -> None:
        raise AssertionError

    client.collection("posts").subscribe("*", lambda event: later(event))
    hub.create("posts", {})
    ((error, event),) = errors.wait()
    assert isinstance(error, TypeError)
    assert "use AsyncClient" in str(error)
    assert event.action == "create"


@pytest.mark.parametrize("name", [None, 7, b"posts"])
def test_a_collection_without_a_name_is_refused(client: Client, name: Any) -> None:
    with pytest.raises(TypeError, match="invalid collection: its name or id is a str"):
        client.collection(name)


def test_a_blocked_callback_stalls_no_call(hub: Hub, client: Client) -> None:
    is_in, may_go = threading.Event(), threading.Event()

    def block(event: tidings.Event) -> None:
        is_in.set()
        may_go.wait(PATIENCE)

    client.collection("posts").subscribe("*", block)
    hub.create("posts", {})
    assert is_in.wait(PATIENCE)
    client.send("/api/health")
    comments = client.collection("comments").subscribe("*")
    hub.create("comments", {})
    assert comments.next(PATIENCE).action == "create"
    client.realtime.unsubscribe()
    may_go.set()


def test_eight_threads_use_one_client(hub: Hub, client: Client) -> None:
    errors = Box()
    counts = []

    def work(number: int) -> None:
        try:
            topic = f"topic{number % 4}"
            for turn in range(25):
                box = Box()
                with client.realtime.subscribe(topic, box):
                    hub.publish(topic, {"turn": turn})
                    box.wait()
                with client.realtime.subscribe(topic) as events:
                    hub.publish(topic, {"turn": turn})
                    assert events.next(PATIENCE).action == "custom"
                client.send("/api/health")
                client.stats()
            counts.append(number)
        except BaseException as error:
            errors(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert errors.got == []
    assert sorted(counts) == list(range(8))
    assert client.realtime.active_subscriptions == []


def test_a_forgotten_client_with_callbacks_goes_on(hub: Hub, box: Box) -> None:
    def set_up() -> None:
        Client(hub.url).collection("posts").subscribe("*", box)

    set_up()
    hub.create("posts", {"title": "x"})
    assert box.wait()[0]["record"]["title"] == "x"


def test_a_forgotten_client_closes_with_its_last_callback(hub: Hub, box: Box) -> None:
    handle = Client(hub.url).collection("posts").subscribe("*", box)
    gc.collect()
    hub.create("posts", {"title": "x"})
    box.wait()
    handle()
    assert handle.state == "ended"
    soon(lambda: hub.stats()["streams"] == 0)
    name = f"tidings-callbacks {hub.url.removeprefix('http://')}"
    soon(lambda: name not in [thread.name for thread in threading.enumerate()])


def test_events_that_were_taken_for_the_old_user_reach_nobody(hub: Hub) -> None:
    ann = hub.add_user("users", "ann@example.com", "correct-horse-1")
    bob = hub.add_user("users", "bob@example.com", "correct-horse-1")
    with Client(hub.url) as client:
        client.auth_store.save(hub.token("users", ann), {"id": ann})
        all_there = threading.Event()
        came: list[str] = []

        def take(event: tidings.Event) -> None:
            came.append(event["action"] if event.is_notice else event["record"]["title"])
            if len(came) == 1:
                assert all_there.wait(PATIENCE)
                client.auth_store.save(hub.token("users", bob), {"id": bob})

        client.collection("posts").subscribe("*", take)
        for number in range(100):
            hub.create("posts", {"title": f"old {number}"})
        soon(lambda: client.stats()["delivered"] == 100)
        all_there.set()
        soon(lambda: "gap" in came)
        hub.create("posts", {"title": "new"})
        soon(lambda: "new" in came)
        assert came == ["old 0", "gap", "new"]
