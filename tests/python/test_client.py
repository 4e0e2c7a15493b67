"""The sync client against the hub."""

from __future__ import annotations

import contextlib
import http.server
import inspect
import logging
import pickle
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, cast, get_args
from uuid import UUID

import pytest
import tidings
from conftest import PATIENCE, Box, soon
from tidings import Client, ClientResponseError, _tidings, exceptions
from tidings.exceptions import (
    ArgumentError,
    ClosedError,
    InvalidTopicError,
    InvalidUrlError,
    NetworkError,
    TimedOutError,
    TokenProviderError,
)
from tidings.testing import Hub


def titles(events: Any) -> list[str]:
    return [event["record"].get("title") for event in events]


def test_iterates_over_a_subscription(hub: Hub, client: Client) -> None:
    with client.collection("posts").subscribe("*") as posts:
        for number in range(3):
            hub.create("posts", {"title": str(number)})
        found = []
        for event in posts:
            found.append(event["record"]["title"])
            if len(found) == 3:
                break
        assert found == ["0", "1", "2"]
        assert (posts.topic, posts.state, posts.lost) == ("posts/*", "live", 0)
    assert posts.state == "ended"
    assert list(posts) == []


def test_next_raises_when_nothing_comes_and_when_it_has_ended(hub: Hub, client: Client) -> None:
    posts = client.collection("posts").subscribe("*")
    with pytest.raises(TimeoutError):
        posts.next(timeout=0.01)
    hub.create("posts", {"title": "late"})
    assert posts.next(timeout=PATIENCE)["record"]["title"] == "late"
    posts()
    posts()
    with pytest.raises(StopIteration):
        posts.next()


def test_unsubscribing_ends_an_iteration_that_waits(client: Client) -> None:
    posts = client.collection("posts").subscribe("*")
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.extend(posts))
    reader.start()
    posts.unsubscribe()
    reader.join(PATIENCE)
    assert not reader.is_alive()
    assert found == []


def test_closing_ends_an_iteration_that_waits(client: Client) -> None:
    posts = client.collection("posts").subscribe("*")
    reader = threading.Thread(target=lambda: list(posts))
    reader.start()
    client.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_forgetting_an_iterated_subscription_unsubscribes(hub: Hub, client: Client) -> None:
    client.collection("posts").subscribe("*")
    soon(lambda: not client.realtime.active_subscriptions)


def test_the_handle_of_a_callback_removes_that_listener_alone(hub: Hub, client: Client) -> None:
    first, second = Box(), Box()
    unsubscribe = client.collection("posts").subscribe("*", first)
    client.collection("posts").subscribe("*", second)
    hub.create("posts", {"title": "both"})
    first.wait()
    second.wait()
    unsubscribe()
    hub.create("posts", {"title": "one"})
    second.wait(2)
    assert titles(first.got) == ["both"]
    assert titles(second.got) == ["both", "one"]


def test_a_with_block_unsubscribes_a_callback(hub: Hub, client: Client, box: Box) -> None:
    with client.collection("posts").subscribe("*", box) as handle:
        assert handle.state == "live"
        assert client.realtime.active_subscriptions == ["posts/*"]
    assert client.realtime.active_subscriptions == []
    assert handle.state == "ended"


def test_unsubscribes_by_topic_collection_prefix_and_all(client: Client, box: Box) -> None:
    posts = client.collection("posts")

    def subscribe() -> None:
        posts.subscribe("*", box)
        posts.subscribe("abc", box, query={"expand": "author"})
        client.realtime.subscribe("jobs/finished", box)

    subscribe()
    assert posts.unsubscribe("abc") == 1
    assert sorted(client.realtime.active_subscriptions) == ["jobs/finished", "posts/*"]
    assert posts.unsubscribe() == 1
    assert client.realtime.active_subscriptions == ["jobs/finished"]
    subscribe()
    assert client.realtime.unsubscribe_by_prefix("posts/") == 2
    assert client.realtime.unsubscribe("jobs/finished") == 2
    subscribe()
    assert client.realtime.unsubscribe() == 3
    assert client.realtime.active_subscriptions == []


def test_nothing_is_delivered_after_unsubscribing_a_topic(hub: Hub, client: Client) -> None:
    """Not even what was taken out of the queue already."""
    seen = Box()
    may_go, is_in = threading.Event(), threading.Event()

    def first(event: tidings.Event) -> None:
        seen(event)
        is_in.set()
        may_go.wait(PATIENCE)

    client.collection("posts").subscribe("*", first)
    hub.create("posts", {"title": "0"})
    assert is_in.wait(PATIENCE)
    for number in range(1, 10):
        hub.create("posts", {"title": str(number)})
    soon(lambda: client.stats()["messages"] >= 10)
    client.collection("posts").unsubscribe("*")
    done = Box()
    client.realtime.subscribe("done", done)
    may_go.set()
    hub.publish("done", {})
    done.wait()
    assert titles(seen.got) == ["0"]


def test_options_reach_the_server(hub: Hub, client: Client) -> None:
    with client.collection("posts").subscribe(
        "*",
        filter=client.filter("title = {:title}", {"title": "it's"}),
        fields=["id", "title"],
        expand=["a", "b"],
    ) as posts:
        (topic,) = hub.topics()
        assert topic.startswith("posts/*?options=")
        hub.create("posts", {"title": "other"})
        hub.create("posts", {"title": "it's", "body": "…"})
        assert set(posts.next(PATIENCE)["record"]) == {"id", "title"}
    by_query = client.collection("posts").subscribe(
        "*",
        query={
            "filter": client.filter("title = {:title}", {"title": "it's"}),
            "fields": "id,title",
            "expand": "a,b",
        },
    )
    assert by_query.topic == "posts/*"
    assert hub.topics() == [topic]


def test_lists_in_a_query_are_joined(client: Client) -> None:
    posts = client.collection("posts")
    posts.subscribe("*", print, expand=["author", "tags"], wait=False)
    (topic,) = client.realtime.active_subscriptions
    for several in (["author", None, "tags"], ("author", "tags")):
        posts.subscribe("*", print, query={"expand": several, "fields": None}, wait=False)
        assert client.realtime.active_subscriptions == [topic]


def test_a_parameter_given_twice_is_refused(client: Client) -> None:
    posts = client.collection("posts")
    for name in ("filter", "expand", "fields"):
        with pytest.raises(ArgumentError, match=f"invalid query: {name} is given as an argument too"):
            posts.subscribe("*", query={name: "a"}, **{name: "b"})  # type: ignore[call-overload]
        value = "b = 1" if name == "filter" else "b"
        posts.subscribe("*", print, query={name: None}, wait=False, **{name: value})  # type: ignore[call-overload]


def test_events_are_mappings_parsed_on_touch(hub: Hub, client: Client) -> None:
    with client.collection("posts").subscribe("*") as posts:
        made = hub.create("posts", {"title": "Hello"})
        event = posts.next(PATIENCE)
    assert (event.action, event.record_id, event.topic) == ("create", made["id"], "posts/*")
    assert event["action"] == "create"
    assert event["record"] == made == event.record
    assert event.get("nothing") is None
    assert event.get("nothing", 7) == 7
    assert set(event) == {"action", "record"}
    assert dict(event) == event.json()
    assert b"Hello" in event.raw
    with pytest.raises(KeyError):
        event["nothing"]
    match event:
        case tidings.Event("create", {"title": title}):
            assert title == "Hello"
        case _:
            raise AssertionError


def test_notices_are_survived_by_callbacks_that_do_not_know_them(hub: Hub, client: Client, box: Box) -> None:
    client.collection("posts").subscribe("*", box)
    hub.break_streams("cut_streams")
    (gap,) = box.wait()
    assert (gap["action"], gap["record"], gap.action) == ("gap", {}, "gap")
    assert gap["record"].get("title") is None
    assert gap.is_notice
    assert gap.gap_seconds >= 0
    assert gap.gap_reason == "disconnected"


def test_a_full_queue_is_told(hub: Hub, client: Client) -> None:
    with client.collection("posts").subscribe("*", queue=2, overflow="drop_newest") as posts:
        for number in range(5):
            hub.create("posts", {"title": str(number)})
        soon(lambda: posts.lost == 3)
        found = [posts.next(PATIENCE) for _ in range(3)]
    assert sorted(event.action for event in found) == ["create", "create", "lagged"]
    assert sum(event.lagged for event in found) == 3


def test_a_refusal_has_a_status_and_a_body(hub: Hub, client: Client) -> None:
    hub.refuse_next("submit", 403, times=5)
    for subscribe in (
        lambda: client.collection("posts").subscribe("*"),
        lambda: client.collection("posts").subscribe("*", print),
    ):
        with pytest.raises(ClientResponseError) as caught:
            subscribe()
        assert caught.value.status == 403
        assert caught.value.response == caught.value.data
        assert caught.value.response.get("status") == 403 or caught.value.body
    assert client.realtime.active_subscriptions == []


def test_what_is_no_answer_has_status_0_and_is_a_builtin_too(hub: Hub, client: Client) -> None:
    hub.stop()
    with pytest.raises(NetworkError) as caught:
        client.collection("posts").subscribe("*")
    assert isinstance(caught.value, ClientResponseError)
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.status == 0
    assert caught.value.response == {}


def test_a_subscription_that_takes_too_long_is_withdrawn(hub: Hub, client: Client, box: Box) -> None:
    hub.delay("submit", 60)
    for callback in (None, box):
        with pytest.raises(TimedOutError) as caught:
            client.collection("posts").subscribe("*", callback, timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert client.realtime.active_subscriptions == []
    hub.clear_faults()


def test_a_timeout_tells_what_the_server_has_said(hub: Hub, client: Client, box: Box) -> None:
    for endpoint in ("connect", "submit"):
        hub.refuse_next(endpoint, 500, times=1000)  # type: ignore[arg-type]
        for callback in (None, box):
            with pytest.raises(ClientResponseError) as caught:
                client.collection("posts").subscribe("*", callback, timeout=0.5)
            assert caught.value.status == 500
            assert client.realtime.active_subscriptions == []
        hub.clear_faults()


def test_without_waiting_it_subscribes_when_there_is_a_network(hub: Hub, client: Client, box: Box) -> None:
    hub.stop()
    iterated = client.collection("posts").subscribe("*", wait=False)
    called = client.collection("posts").subscribe("*", box, wait=False)
    assert {iterated.state, called.state} <= {"pending", "interrupted"}
    hub.restart()
    client.network_changed()
    soon(lambda: iterated.state == called.state == "live")
    hub.create("posts", {"title": "at last"})
    assert titles(event for event in (iterated.next(PATIENCE),) if not event.is_notice) == ["at last"]
    box.wait()


def test_bad_arguments_are_value_errors(client: Client) -> None:
    with pytest.raises(InvalidUrlError):
        Client("ftp://example.com")
    with pytest.raises(InvalidTopicError):
        client.realtime.subscribe("")
    with pytest.raises(ArgumentError):
        client.filter("a = {:b}", {"c": 1})
    with pytest.raises(ValueError, match="overflow"):
        client.collection("posts").subscribe("*", overflow="explode")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        Client("http://127.0.0.1", colour="red")  # type: ignore[call-arg]
    assert issubclass(ArgumentError, ValueError)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"overflow": "explode"}, '"explode" is none of "drop_oldest"'),
        ({"queue": -1}, "invalid queue: -1 is not a size"),
        ({"queue": 2**70}, "invalid queue"),
        ({"queue": 0}, "invalid queue"),
        ({"connect_timeout": -1}, "invalid connect_timeout: -1 is not a duration"),
        ({"rustbaas": ("a", "b"), "heartbeat": float("nan")}, "invalid heartbeat: NaN is not a duration"),
        ({"backoff": (-1, 2)}, "invalid backoff: -1 is not a duration"),
        ({"message_limit": -1}, "invalid message_limit: -1 is not a size"),
    ],
)
def test_settings_that_cannot_be_used_are_argument_errors(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        Client("http://127.0.0.1:9", **options)


def test_every_overflow_policy_of_the_core_has_its_name_here() -> None:
    assert get_args(tidings.Overflow) == _tidings.OVERFLOWS
    for policy in _tidings.OVERFLOWS:
        Client("http://127.0.0.1:9", overflow=cast("tidings.Overflow", policy)).close()


def test_arguments_that_cannot_be_used_are_argument_errors(client: Client, box: Box) -> None:
    posts = client.collection("posts")
    for options in ({"queue": -1}, {"overflow": "explode"}, {"timeout": -1}, {"timeout": float("nan")}):
        for callback in (None, box):
            with pytest.raises(ArgumentError, match=f"invalid {next(iter(options))}: .*(give|none of)"):
                posts.subscribe("*", callback, **options)  # type: ignore[call-overload]
    assert client.realtime.active_subscriptions == []
    with pytest.raises(ArgumentError, match="invalid timeout: -1"):
        client.send("/api/health", timeout=-1)
    opened: list[str] = []
    with pytest.raises(ArgumentError, match="invalid timeout: -1"):
        client.collection("users").auth_with_oauth2("mock", opened.append, timeout=-1)
    assert opened == []
    for value in (float("nan"), float("-inf"), "\ud800"):
        with pytest.raises(ArgumentError, match="not JSON"):
            client.filter("a = {:a}", {"a": value})


def test_a_wait_without_time_takes_what_is_there(hub: Hub, client: Client) -> None:
    with client.collection("posts").subscribe("*") as posts:
        for timeout in (0, -1, float("-inf")):
            with pytest.raises(TimeoutError):
                posts.next(timeout)
        with pytest.raises(ArgumentError, match="invalid timeout: it is not a number"):
            posts.next(float("nan"))
        hub.create("posts", {"title": "0"})
        assert posts.next(float("inf"))["record"]["title"] == "0"


def test_filters_quote(client: Client) -> None:
    assert client.filter("a = 1") == "a = 1"
    when = datetime(2024, 2, 29, 12, 30, 15, 500_000, timezone.utc)
    values = {"s": "it's", "n": 7, "t": True, "z": None, "d": when, "day": date(2024, 2, 29)}
    assert client.filter("{:s} {:n} {:t} {:z} {:d} {:day}", values) == (
        r"'it\'s' 7 true null '2024-02-29 12:30:15.500Z' '2024-02-29 00:00:00.000Z'"
    )
    assert tidings.filter("{:s}", {"s": "x"}) == tidings.filter("{:s}", params={"s": "x"}) == "'x'"


def test_a_place_without_a_value_is_refused(client: Client) -> None:
    for fill in (client.filter, tidings.filter):
        assert fill("a = 1") == fill("a = 1", {}) == fill("a = 1", params=None) == "a = 1"
        for params in ({}, None, {"b": 1}):
            with pytest.raises(ArgumentError, match="has no value"):
                fill("a = {:x}", params)
        with pytest.raises(ArgumentError, match="has no value"):
            fill("a = {:x}")


def test_sends_requests(hub: Hub, client: Client) -> None:
    path = "/api/collections/posts/records"
    made = client.send(path, method="post", body={"title": "Hello"})
    assert made["title"] == "Hello"
    assert client.send(path.lstrip("/"), query={"filter": "title = 'Hello'", "page": 1})["items"] == [made]
    assert client.send(f"{path}/{made['id']}", method="DELETE") is None
    assert hub.records("posts") == []
    with pytest.raises(ClientResponseError) as caught:
        client.send(f"{path}/{made['id']}")
    assert caught.value.status == 404
    assert caught.value.response["status"] == 404
    hub.delay("records", 60)
    with pytest.raises(TimedOutError):
        client.send(path, timeout=0.05)
    with pytest.raises(ArgumentError):
        client.send(path, method="POST", body={1j: 2})


def test_what_is_not_json_is_not_sent(hub: Hub, client: Client) -> None:
    path = "/api/collections/posts/records"
    for value in (object(), {1, 2}, b"x", float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ArgumentError, match="not JSON"):
            client.send(path, method="POST", body={"title": [value]})
        with pytest.raises(ArgumentError, match="not JSON"):
            client.auth_store.save("token", {"id": value})
        with pytest.raises(ArgumentError, match="not JSON"):
            tidings.EventSource(hub.url, body={"a": value})
    assert hub.records("posts") == []
    assert client.auth_store.token == ""
    when = datetime(2024, 2, 29, 12, 30, tzinfo=timezone.utc)
    body = {"a": when, "b": date(2024, 2, 29), "c": UUID(int=5), "d": Decimal("1.10")}
    made = client.send(path, method="POST", body=body)
    assert [made[name] for name in "abcd"] == [
        "2024-02-29 12:30:00.000Z",
        "2024-02-29 00:00:00.000Z",
        "00000000-0000-0000-0000-000000000005",
        "1.10",
    ]


def test_logs_in_and_out(hub: Hub, client: Client) -> None:
    changes = Box()
    remove = client.auth_store.on_change(changes)
    ann = hub.add_user("users", "ann@example.com", "secret-1")
    store = client.auth_store
    assert (store.token, store.record, store.is_valid()) == ("", None, False)
    with pytest.raises(ClientResponseError) as caught:
        client.collection("users").auth_with_password("ann@example.com", "wrong")
    assert caught.value.status == 400
    answer = client.collection("users").auth_with_password("ann@example.com", "secret-1")
    assert answer["record"]["id"] == ann
    assert store.record is not None
    assert store.record["id"] == ann
    assert store.token == answer["token"]
    assert store.is_valid()
    assert store.token not in repr(store) + repr(client)
    assert client.collection("users").auth_refresh()["record"]["id"] == ann
    store.clear()
    assert (store.token, store.record, store.is_valid()) == ("", None, False)
    store.save(hub.token("users", ann), {"id": ann})
    assert store.record == {"id": ann}
    remove()
    store.clear()
    first_record = changes.got[0][1]
    assert first_record["id"] == ann
    assert changes.got[-1][0] != ""


def browse(url: str) -> None:
    """The person's browser, sent back to the server and then to a page that the hub does not have."""
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(url).close()


def test_logs_in_through_another_site(hub: Hub, client: Client) -> None:
    hub.oauth2("users", "mock", "ann@example.com")
    visited: list[str] = []

    def visit(url: str) -> None:
        visited.append(url)
        threading.Thread(target=browse, args=(url,), daemon=True).start()

    answer = client.collection("users").auth_with_oauth2("mock", visit, timeout=PATIENCE)
    assert visited
    assert answer["record"]["email"] == "ann@example.com"
    assert client.auth_store.token == answer["token"]


def test_a_browser_that_does_not_open_ends_a_log_in(hub: Hub, client: Client) -> None:
    hub.oauth2("users", "mock", "ann@example.com")

    def fail(url: str) -> None:
        raise OSError("no browser")

    with pytest.raises(OSError, match="no browser"):
        client.collection("users").auth_with_oauth2("mock", fail)
    with pytest.raises(TimedOutError):
        client.collection("users").auth_with_oauth2("mock", lambda url: None, timeout=0.1)


def test_asks_a_token_provider(hub: Hub) -> None:
    ann = hub.add_user("users", "ann@example.com", "secret-1")
    asked = Box()

    def provide() -> str:
        asked(threading.current_thread())
        return hub.token("users", ann)

    with Client(hub.url, token_provider=provide) as client:
        client.collection("posts").subscribe("*", print)
        (thread,) = asked.wait()
        assert thread is not threading.main_thread()
        assert client.auth_store.is_valid()


def test_a_token_provider_that_raises_is_told(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    def provide() -> str:
        raise LookupError("the vault is shut")

    with (
        Client(hub.url, token_provider=provide) as client,
        pytest.raises(TokenProviderError, match="the vault is shut"),
    ):
        client.collection("posts").subscribe("*")
    assert "the vault is shut" in caplog.text


def test_states_and_disconnections_are_told_and_logged(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tidings")
    states, lost = Box(), Box()
    with Client(hub.url) as client:
        client.realtime.on_state = states
        client.realtime.on_disconnect = lost
        assert client.realtime.on_disconnect is lost
        client.collection("posts").subscribe("*", print, query={"filter": "title = 'hush'"})
        first = client.realtime.client_id
        assert len(first) == 40
        hub.break_streams("reset_streams")
        (topics,) = lost.wait()
        assert len(topics) == 1
        soon(lambda: states.got[-1].name == "live" and client.realtime.client_id not in ("", first))
        assert {"connecting", "live", "waiting"} <= {state.name for state in states.got}
        soon(lambda: "may have been missed" in caplog.text)
        assert client.state.name == "live"
    assert "connected again" in caplog.text
    assert "hush" not in caplog.text
    assert client.state.name == "closed"


def test_a_closed_client_says_so(hub: Hub) -> None:
    client = Client(hub.url)
    client.close()
    client.close()
    with pytest.raises(ClosedError):
        client.collection("posts").subscribe("*")
    with pytest.raises(ClosedError):
        client.send("/api/health")
    assert "closed" in repr(client)


def test_what_was_queued_comes_before_the_end(hub: Hub, client: Client) -> None:
    ends: list[Callable[[tidings.Subscription], object]] = [
        lambda posts: posts(),
        lambda posts: client.collection("posts").unsubscribe(),
        lambda posts: client.close(),
    ]
    for end in ends:
        posts = client.collection("posts").subscribe("*")
        with client.realtime.subscribe("done") as done:
            for number in range(3):
                hub.create("posts", {"title": str(number)})
            hub.publish("done", {})
            done.next(PATIENCE)
        end(posts)
        assert titles(posts) == ["0", "1", "2"]


def test_what_people_see_is_documented() -> None:
    assert tidings.filter.__doc__
    for seen in (tidings.Event, tidings.State, tidings.BosBase, tidings.PocketBase):
        assert seen.__doc__
        for name, what in vars(seen).items():
            assert name.startswith("_") or what.__doc__, f"{seen.__name__}.{name}"


def all_errors(base: type[BaseException]) -> Iterator[type[BaseException]]:
    yield base
    for derived in base.__subclasses__():
        yield from all_errors(derived)


def test_all_errors_can_be_pickled_and_stand_at_the_top_of_their_module() -> None:
    errors = set(all_errors(exceptions.TidingsError))
    assert {error.__name__ for error in errors} == set(exceptions.__all__)
    for error in errors:
        assert error.__name__ in (exceptions.__doc__ or "")
        made = (
            error("what", status=403, body=b"{}", retry_after=2.0)
            if issubclass(error, ClientResponseError)
            else error("what")
        )
        again = pickle.loads(pickle.dumps(made))
        assert (type(again), str(again), again.__dict__) == (error, "what", made.__dict__)


def test_native_errors_have_their_kinds(hub: Hub) -> None:
    for url, error in [("mailto:a", exceptions.InvalidUrlError), ("", exceptions.InvalidUrlError)]:
        with pytest.raises(error, match="URL"):
            Client(url)
    with pytest.raises(exceptions.ArgumentError, match="user agent"):
        Client(hub.url, user_agent="\n")
    with Client(hub.url) as client:
        with pytest.raises(exceptions.InvalidTopicError, match="collection"):
            client.collection("a/b").subscribe("*", print)
        with pytest.raises(ClientResponseError, match="404") as refused:
            client.send("/api/collections/posts/records/nothing")
        assert (refused.value.status, refused.value.response["status"]) == (404, 404)
        assert refused.value.args == (refused.value.message,)
    with pytest.raises(exceptions.ClosedError):
        client.send("/api/health")
    with Client("http://127.0.0.1:9") as client, pytest.raises(ConnectionError) as nobody:
        client.send("/api/health")
    assert isinstance(nobody.value, exceptions.NetworkError)
    assert (nobody.value.status, nobody.value.body, nobody.value.retry_after) == (0, b"", None)
    assert "127.0.0.1:9" in str(nobody.value)


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], str]]:
    """Serves one answer to every request, at the URL that it gives."""
    servers = []

    def start(status: int, body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 20_000])
def test_an_answer_nested_too_deeply_is_an_error_with_the_text(
    answering: Callable[[int, bytes], str], body: bytes
) -> None:
    with (
        Client(answering(200, body)) as client,
        pytest.raises(exceptions.ProtocolError, match="nested over 10000 levels") as caught,
    ):
        client.send("/x")
    assert caught.value.body == body


def test_a_refusal_nested_too_deeply_is_an_error_with_the_text(
    answering: Callable[[int, bytes], str],
) -> None:
    body = b"[" * 30_000 + b"]" * 30_000
    with Client(answering(400, body)) as client, pytest.raises(ClientResponseError) as refused:
        client.send("/x")
    for read in (lambda: refused.value.response, lambda: refused.value.data):
        with pytest.raises(exceptions.ProtocolError, match="nested over 10000 levels") as caught:
            read()
        assert caught.value.body == refused.value.body == body


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"cut": "\\ud83d"}', {"cut": "\ud83d"}),
        (b"[1, 2.5, null]", [1, 2.5, None]),
        (b"[" * 5_000, b"[" * 5_000),
        (b"plain", b"plain"),
        (b"", None),
    ],
)
def test_an_answer_is_json_where_python_says_so(
    answering: Callable[[int, bytes], str], body: bytes, answer: object
) -> None:
    with Client(answering(200, body)) as client:
        assert client.send("/x") == answer


def test_half_a_surrogate_pair_is_an_argument_error_wherever_text_is_sent(hub: Hub, client: Client) -> None:
    half = "x\ud83d"
    posts = client.collection("posts")
    uses: list[Callable[[], object]] = [
        lambda: Client(hub.url + half),
        lambda: Client(hub.url, token=half),
        lambda: Client(hub.url, headers={"X": half}),
        lambda: Client(hub.url, user_agent=half),
        lambda: client.collection(half),
        lambda: client.send("/" + half),
        lambda: client.send(half, "/x"),
        lambda: client.send("/x", query={"a": half}),
        lambda: client.send("/x", query={half: "a"}),
        lambda: client.send("/x", headers={"X": half}),
        lambda: client.send("POST", "/x", body={"a": half}),
        lambda: posts.subscribe(half),
        lambda: posts.subscribe("*", filter=half),
        lambda: posts.subscribe("*", fields=["a", half]),
        lambda: posts.subscribe("*", query={"a": half}),
        lambda: posts.subscribe("*", headers={"X": half}),
        lambda: client.realtime.subscribe(half, print),
        lambda: posts.unsubscribe(half),
        lambda: client.realtime.unsubscribe(half),
        lambda: client.realtime.unsubscribe_by_prefix(half),
        lambda: posts.auth_with_password(half, "x"),
        lambda: posts.auth_with_password("x", half),
        lambda: posts.auth_with_oauth2(half),
        lambda: client.auth_store.save(half),
        lambda: client.filter(half),
        lambda: client.filter("a = {:a}", {"a": half}),
    ]
    for number, use in enumerate(uses):
        with pytest.raises(ArgumentError, match=r"surrogate"):
            print(number, use())


def test_the_method_comes_first_or_by_name(hub: Hub, client: Client) -> None:
    path = "/api/collections/posts/records"
    made = client.send("POST", path, body={"title": "x"})
    assert client.send("get", f"{path}/{made['id']}") == client.send(f"{path}/{made['id']}") == made
    assert client.send(f"{path}/{made['id']}", method="DELETE") is None
    with pytest.raises(ArgumentError, match="it comes first"):
        client.send(path, "POST")  # the other way round
    with pytest.raises(ArgumentError, match="given twice"):
        client.send("POST", path, method="POST")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"heartbeat": 1}, "a heartbeat is not supported here: .* set the silence timeout"),
        ({"token_in_query": True}, "a token in the query is not supported here"),
        ({"rustbaas": ("a", "b"), "identity_check": 60}, "an identity check is not supported here"),
    ],
)
def test_a_setting_that_the_server_cannot_honour_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(exceptions.UnsupportedError, match=told):
        Client("http://127.0.0.1:9", **options)


def test_the_settings_of_rustbaas_are_taken() -> None:
    Client("http://127.0.0.1:9", rustbaas=("a", "b"), heartbeat=1, token_in_query=True)
    with pytest.raises(exceptions.ArgumentError, match="the server cannot be both"):
        Client("http://127.0.0.1:9", rustbaas=("a", "b"), rustbaas_workspace=("a", "b"))


def test_a_rustbaas_workspace_filters_on_the_server(hub: Hub) -> None:
    hub.collection("posts", {"n": 0})
    with Client(hub.url, rustbaas_workspace=("acme", "web")) as client:
        posts = client.collection("posts").subscribe("*", query={"filter": "n = 2"})
        for n in range(3):
            hub.create("posts", {"n": n})
        event = posts.next(PATIENCE)
        assert (event.action, event["record"]["n"]) == ("create", 2)


def test_a_silent_connection_is_given_up_after_the_timeout(hub: Hub) -> None:
    with Client(hub.url, silence_timeout=0.3) as client, client.collection("posts").subscribe("*") as posts:
        hub.break_streams("half_open")
        gap = posts.next(PATIENCE)
        assert gap.gap_reason == "disconnected"
        assert client.stats()["disconnects"]["silence"] >= 1
    with pytest.raises(ArgumentError, match="silence timeout"):
        Client(hub.url, silence_timeout=0)


def test_a_policy_alone_keeps_the_size_of_the_clients_queue(hub: Hub) -> None:
    with Client(hub.url, queue=2) as client:
        posts = client.collection("posts").subscribe("*", overflow="drop_newest")
        for number in range(5):
            hub.create("posts", {"title": number})
        soon(lambda: posts.lost == 3)


def test_a_signature_shows_the_defaults() -> None:
    parameters = inspect.signature(Client).parameters
    defaults = {
        name: parameters[name].default
        for name in ("queue", "overflow", "connect_timeout", "subscribe_timeout", "identity_check", "backoff")
    }
    assert defaults == {
        "queue": 8192,
        "overflow": "drop_oldest",
        "connect_timeout": 10,
        "subscribe_timeout": 30,
        "identity_check": 300,
        "backoff": (0.2, 20),
    }
    assert parameters["message_limit"].default == 16 << 20
    assert parameters["user_agent"].default == f"tidings/{tidings.__version__}"
