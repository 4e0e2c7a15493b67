"""A program as a user with a type checker writes it. It uses the whole API, and is checked, not run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypedDict

import tidings
from tidings import (
    AsyncClient,
    AsyncEventSource,
    AsyncListener,
    AsyncSubscription,
    BosBase,
    Client,
    EventSource,
    Listener,
    Message,
    Subscription,
    exceptions,
)
from tidings.testing import Hub

if TYPE_CHECKING:
    from typing_extensions import assert_never


def on_post(event: tidings.Event) -> None:
    match event:
        case tidings.Event("create", record):
            print(record["title"], event.record_id, event["record"].get("title"))
        case tidings.Event("lagged"):
            logging.warning("%d lost", event.lagged)
        case _:
            print(event.action, event.raw, event.json(), event.gap_seconds, event.gap_reason, event.error)


class Post(TypedDict):
    id: str
    title: str


def on_typed_post(event: tidings.Event[Post]) -> None:
    title: str = event.record["title"]
    match event.action:
        case "create" | "update" | "delete" | "connect" | "custom":
            print(title)
        case "gap" | "lagged" | "refused":
            print(event.gap_since)
        case action:
            # A type checker knows that there are no others.
            assert_never(action)


def made_for_a_test() -> None:
    on_typed_post(tidings.Event("create", Post(id="abc", title="Hello"), topic="posts/*"))
    gap: tidings.Event = tidings.Event("gap", gap_seconds=2.5, gap_reason="disconnected")
    on_post(gap)


def on_dict(event: dict[str, Any]) -> None:
    print(event.pop("action"))


def on_error(error: BaseException, event: tidings.Event | None) -> None:
    print(error, event.topic if event else None)


def token() -> str | None:
    return None


def sync_program() -> None:
    with Client(
        "http://127.0.0.1:8090",
        token="…",
        headers={"X-App": "typed"},
        token_provider=token,
        queue=100,
        overflow="conflate",
        ca_pem=b"",
        client_certificate=(b"", b""),
        proxy=False,
        user_agent="typed",
        connect_timeout=1,
        subscribe_timeout=2.5,
        identity_check=60,
        silence_timeout=45,
        name="typed",
        heartbeat=15,
        backoff=(0.1, 2),
        message_limit=1 << 20,
        rustbaas=("acme", "web"),
        token_in_query=True,
    ) as client:
        client.on_error = on_error
        posts = client.collection("posts")
        listener: Listener = posts.subscribe("*", on_post, query={"expand": "author"}, headers={"X": "y"})
        listener()
        posts.subscribe("*", on_typed_post)
        subscription: Subscription = posts.subscribe(
            "*",
            filter=client.filter("a = {:a}", {"a": 1}),
            expand=["author"],
            fields="id",
            queue=5,
            timeout=3,
        )
        with subscription:
            for event in subscription:
                on_post(event)
            event = subscription.next(timeout=1)
            identity: tuple[int, str, str, int] = (
                subscription.id,
                subscription.topic,
                subscription.state,
                subscription.lost,
            )
            print(identity)
        removed: int = posts.unsubscribe("*")
        print(removed + client.realtime.unsubscribe() + client.realtime.unsubscribe_by_prefix("posts/"))
        answer: dict[str, Any] = posts.auth_with_password("ann", "secret")
        posts.auth_refresh()
        with posts.watch(
            lambda changes: print(changes.rows[0]["title"], changes.status.why), limit=9
        ) as told:
            told.prove(timeout=1.0)
            tidings.ViewListener.close(told)
        with posts.watch(filter="title != ''", sort=["-title"], limit=9, audit=None) as view:
            for changes in view:
                titles: list[str] = [row["title"] for row in changes.rows[1:]]
                whys = [delta.why for delta in changes.deltas if isinstance(delta, tidings.Remove)]
                view.prove()
                print(titles, whys, changes.status.is_proven, view.status.why, view.rows[0])
        made: dict[str, Any] = posts.create({"title": "a"})
        ids: list[str] = [post["id"] for post in posts.list(filter="title != ''", sort=["-title"])]
        print(ids, posts.get_full_list(fields="id")[0], posts.get_list(2, 30)["items"], posts.get_one(ids[0]))
        print(posts.update(made["id"], {"title": "b"}), posts.delete(made["id"]))
        posts.auth_with_oauth2("google", print)
        client.realtime.on_disconnect = lambda topics: print(len(topics))
        client.realtime.on_state = lambda state: print(state.name, state.reason, state.retry_in, state.error)
        raw: Listener = client.realtime.subscribe("jobs", on_post, wait=False)
        raw.unsubscribe()
        print(client.realtime.client_id, client.realtime.active_subscriptions, answer)
        store = client.auth_store
        remove = store.on_change(lambda token, record: print(len(token), record and record["id"]))
        store.save(store.token, store.record)
        store.clear()
        remove()
        print(store.is_valid(), client.state.name, client.stats())
        client.network_changed()
        try:
            client.send("/api/x", method="POST", query={"a": [1, 2]}, body={"b": 1}, timeout=5)
        except exceptions.TimedOutError:
            pass
        except exceptions.ClientResponseError as error:
            print(error.status, error.body, error.data, error.response, error.retry_after)
        client.close()
    bosbase: Client = BosBase("http://127.0.0.1:8090")
    bosbase.collection("posts").subscribe("*", on_dict)
    bosbase.close()


async def async_program() -> None:
    async def provide() -> str:
        return "…"

    async def on_post_later(event: tidings.Event) -> None:
        print(event["action"])

    async with AsyncClient("http://127.0.0.1:8090", token_provider=provide) as client:
        listener: AsyncListener = await client.collection("posts").subscribe("*", on_post_later)
        await client.collection("posts").subscribe("*", on_post)
        listener()
        async with await client.collection("posts").watch(expand="author") as view:
            async for changes in view:
                await view.prove(timeout=1)
                print(len(changes.rows), await view.next(timeout=1))
        async for record in client.collection("posts").list(sort="-created"):
            print(record["id"], await client.collection("posts").get_one(record["id"]))
        posts: AsyncSubscription = await client.realtime.subscribe("posts/*")
        async with posts:
            async for event in posts:
                on_post(event)
            print(await posts.next(timeout=1))
        await client.send("/api/health")
        await client.collection("users").auth_with_password("ann", "secret")


def event_source() -> None:
    with EventSource("http://127.0.0.1/events", body={"a": 1}, once=True, comments=True) as source:
        for message in source:
            print(message.event, message.data, message.id, message.json())
        for event in source.events():
            match event:
                case Message(data=data):
                    print(data)
                case tidings.Disconnected(reason, retry_in, error):
                    print(reason, retry_in, error)
                case tidings.Closed(error, unfinished):
                    print(error, unfinished)
                case tidings.Open(url, status, headers):
                    print(url, status, headers.get("x-request-id"))
                case tidings.Comment(text):
                    print(text)
                case tidings.TooLarge(limit):
                    print(limit)


def prompt() -> None:
    def again(status: int) -> bool | None:
        return True if status == 502 else None

    options = {"model": "m", "stream": True}
    with EventSource("http://127.0.0.1/chat", json=options, on_status=again, max_tries=2) as source:
        for message in source:
            print(message.data)
        print(source.ended)
    with EventSource("http://127.0.0.1/flags", on_connect=lambda: tidings.SourceRequest(token="t")) as source:
        print(source.next(timeout=1))


async def async_event_source() -> None:
    async def token() -> str | None:
        return "t"

    async with AsyncEventSource("http://127.0.0.1/flags", token_provider=token, retry_for=60) as source:
        print(await source.next(timeout=1))
    async with AsyncEventSource("http://127.0.0.1/events") as source:
        async for message in source:
            print(message.data)
        async for event in source.events():
            print(event)


def hub() -> None:
    with Hub(seed=1) as hub:
        record: dict[str, Any] = hub.create("posts", {"title": "x"})
        hub.update("posts", record["id"], {"title": "y"})
        hub.refuse_next("submit", 503, times=2)
        hub.break_streams("half_open")
