"""What an event is: a dict of its payload that can be read, matched, stored, sent on and made."""

from __future__ import annotations

import collections.abc
import copy
import json
import pickle
import random
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import tidings
from conftest import PATIENCE, Box, PocketBase
from tidings import BosBase, Client, Event
from tidings import PocketBase as PocketBaseClient
from tidings._event import UnreadEvent
from tidings.exceptions import ArgumentError, ClientResponseError, ProtocolError
from tidings.testing import Hub

HALF = r'{"record":{"id":"a","title":"kept","cut":"half \ud83d"},"action":"update"}'


def received(hub: Hub, client: Client, payload: Any, topic: str = "jobs") -> Event:
    with client.realtime.subscribe(topic) as events:
        hub.publish(topic, payload)
        return events.next(PATIENCE)


def test_half_a_surrogate_pair_is_no_empty_record(hub: Hub, client: Client) -> None:
    event = received(hub, client, HALF, "posts/*")
    assert (event.action, event.record_id, event.raw.decode()) == ("update", "a", HALF)
    assert repr(event) == "<Event update posts/* that cannot be read>"
    assert event
    reads: list[Any] = [
        lambda: event.record,
        lambda: event["record"],
        lambda: event.get("record"),
        lambda: event.json(),
        lambda: dict(event),
        lambda: {**event},
        lambda: list(event.items()),
        lambda: len(event),
        lambda: "record" in event,
        lambda: event | {},
        lambda: event.copy(),
        lambda: json.dumps(event),
        lambda: list(event),
    ]
    for read in reads:
        with pytest.raises(ProtocolError, match=r"an update event cannot be read.*raw.*hex escape"):
            read()
    again = pickle.loads(pickle.dumps(event))
    assert again == event == copy.deepcopy(event)
    with pytest.raises(ProtocolError, match="an update event cannot be read"):
        again["record"]
    # Python's own parser takes it.
    assert json.loads(event.raw)["record"]["title"] == "kept"


def test_a_callback_that_reads_what_cannot_be_read_is_reported(
    hub: Hub, client: Client, box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    errors = Box()
    client.on_error = errors
    client.realtime.subscribe("jobs", lambda event: box(event["record"]["title"]))
    hub.publish("jobs", HALF)
    hub.publish("jobs", {"record": {"title": "next"}})
    assert box.wait() == ["next"]
    ((error, event),) = errors.wait()
    assert isinstance(error, ProtocolError)
    assert event.raw.decode() == HALF
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("payload", [b"not json", b"[1, 2]", b"7", b'"text"', b"", b"null"])
def test_a_payload_that_is_no_object_is_an_empty_dict(hub: Hub, client: Client, payload: bytes) -> None:
    event = received(hub, client, payload)
    assert (event.action, event.record, event.record_id, event.raw) == ("custom", {}, None, payload)
    assert (dict(event), len(event), event.get("name", 7)) == ({}, 0, 7)
    with pytest.raises(KeyError):
        event["name"]
    try:
        parsed = json.loads(payload)
    except ValueError:
        with pytest.raises(ProtocolError, match="cannot be read"):
            event.json()
    else:
        assert event.json() == parsed


def depth(value: Any) -> int:
    levels = 0
    while isinstance(value, (list, dict)):
        levels += 1
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
    return levels


def test_a_record_is_as_deep_as_the_real_server_takes_it(pocketbase: PocketBase) -> None:
    pocketbase.collection("deep", {"name": "extra", "type": "json", "maxSize": 1 << 20})
    with Client(pocketbase.url) as client, client.collection("deep").subscribe("*") as events:
        for levels in (127, 300, 9_998):
            body = b'{"extra":' + b"[" * levels + b"]" * levels + b"}"
            made = client._finish(
                client._client.send(
                    "POST", "/api/collections/deep/records", body, "application/json", [], [], None
                ),
                None,
            )
            assert made[0] == 200
            event = events.next(PATIENCE)
            assert depth(event.record["extra"]) == levels
            assert depth(client.send(f"/api/collections/deep/records/{event.record_id}")["extra"]) == levels


def test_what_is_deeper_than_any_server_sends_is_an_error(hub: Hub, client: Client) -> None:
    for levels, is_read in ((9_999, True), (10_000, False), (100_000, False)):
        event = received(hub, client, b'{"a":' + b"[" * levels + b"]" * levels + b"}")
        if is_read:
            assert depth(event["a"]) == levels
        else:
            with pytest.raises(ProtocolError, match="nested over 10000 levels"):
                event["a"]


def test_deep_json_reads_as_flat_json_does() -> None:
    """The parser for deep texts has no recursion; what it gives is what the other gives."""
    rng = random.Random(7)

    def value(levels: int) -> Any:
        match rng.randrange(7 if levels else 4):
            case 0:
                return rng.choice([True, False, None])
            case 1:
                return rng.choice([0, -7, 10**30, 1.5, -2e-9])
            case 2 | 3:
                return rng.choice(["", "ä\n", 'quo"te', "\\", "😀", "[{"])
            case 4:
                return [value(levels - 1) for _ in range(rng.randrange(4))]
            case _:
                return {
                    rng.choice(["a", "b", "é", '"', ""]): value(levels - 1) for _ in range(rng.randrange(4))
                }

    for _ in range(300):
        inner = value(5)
        text = json.dumps(inner, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
        found = tidings._tidings.parse(("[" * 250 + text + "]" * 250).encode())
        for _ in range(250):
            (found,) = found
        assert found == inner == tidings._tidings.parse(text.encode())
    for bad in ("[" * 300, "[" * 300 + "]" * 299, "[" * 300 + "]" * 301, "[" * 300 + "1 2" + "]" * 300):
        with pytest.raises(ValueError, match="line 1"):
            tidings._tidings.parse(bad.encode())


def test_events_match_as_mappings_and_by_class(hub: Hub, client: Client) -> None:
    event = received(hub, client, {"action": "create", "record": {"id": "a", "title": "x"}}, "posts/*")
    assert isinstance(event, collections.abc.Mapping)
    match event:
        case {"action": "create", "record": {"title": title}}:
            assert title == "x"
        case _:
            pytest.fail("no match")
    match event:
        case Event("create", {"title": title}):
            assert title == "x"
        case _:
            pytest.fail("no match")


def test_events_travel(hub: Hub, client: Client) -> None:
    event = received(hub, client, {"action": "create", "record": {"id": "a", "title": "x"}}, "posts/*")
    for other in (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event)):
        assert other == event == {"action": "create", "record": {"id": "a", "title": "x"}}
        assert (other.topic, other.action, other.record_id) == ("posts/*", "create", "a")
        assert (other.raw, other.json(), other.is_notice) == (event.raw, event.json(), False)
    assert json.loads(json.dumps(event)) == json.loads(event.raw)
    assert (event | {"seen": True})["seen"]
    assert copy.copy(event).record is event.record
    assert copy.deepcopy(event).record is not event.record
    elsewhere = received(hub, client, {"action": "create", "record": {"id": "a", "title": "x"}}, "pages/*")
    assert elsewhere != event
    assert dict(elsewhere) == dict(event)


def test_notices_travel(hub: Hub, client: Client) -> None:
    before = datetime.now(timezone.utc)
    with client.collection("posts").subscribe("*", queue=1) as posts:
        hub.break_streams("cut_streams")
        gap = posts.next(PATIENCE)
    again = pickle.loads(pickle.dumps(gap))
    for notice in (gap, again):
        assert (notice.action, notice.is_notice, notice.raw) == ("gap", True, b"")
        assert notice["record"]["anything"] is None
        assert notice.gap_reason == "disconnected"
        assert notice.gap_since is not None
        assert timedelta() <= datetime.now(timezone.utc) - notice.gap_since
        assert before - timedelta(seconds=1) <= notice.gap_since
        assert notice.gap_since.tzinfo is not None
    assert again.gap_seconds == gap.gap_seconds


def test_the_start_of_a_gap_filters(hub: Hub, client: Client) -> None:
    since = Event("gap", gap_since=datetime(2024, 2, 29, 12, tzinfo=timezone.utc)).gap_since
    assert client.filter("updated >= {:since}", {"since": since}) == "updated >= '2024-02-29 12:00:00.000Z'"


def test_events_are_made_for_the_test_of_a_callback() -> None:
    event: Event = Event("create", {"id": "abc", "title": "Hello"}, topic="posts/*")
    assert (event.action, event.record_id, event.topic, event["record"]["title"]) == (
        "create",
        "abc",
        "posts/*",
        "Hello",
    )
    assert json.loads(event.raw) == event.json() == event == {"action": "create", "record": event.record}
    assert pickle.loads(pickle.dumps(event)) == event
    job: Event = Event("custom", payload={"job": 7}, topic="jobs")
    assert (job["job"], job.action, job.record) == (7, "custom", {})
    assert Event("custom", payload=[1]).json() == [1]
    gap: Event = Event("gap", gap_seconds=2.5, gap_reason="disconnected")
    assert (gap.gap_seconds, gap.gap_reason, gap.is_notice, gap["record"]["title"]) == (
        2.5,
        "disconnected",
        True,
        None,
    )
    assert Event("lagged", lagged=3).lagged == 3
    refused = Event("refused", error=ClientResponseError("no", status=403))
    assert str(pickle.loads(pickle.dumps(refused)).error) == "no"
    with pytest.raises(ArgumentError, match="invalid record: a 'gap' event has none"):
        Event("gap", {})
    with pytest.raises(ArgumentError, match="invalid payload"):
        Event("create", {}, payload={})


@pytest.mark.parametrize("sdk", [BosBase, PocketBaseClient])
def test_under_the_name_of_another_sdk_a_callback_gets_a_plain_dict(
    hub: Hub, sdk: type[Client], box: Box
) -> None:
    with sdk(hub.url) as client:
        assert isinstance(client, Client)
        client.collection("posts").subscribe("*", box)
        client.realtime.subscribe("jobs", box)
        hub.create("posts", {"title": "x"})
        hub.publish("jobs", HALF)
        hub.publish("jobs", "plain text")
        hub.publish("jobs", [1, 2])
        change, half, text, numbers = box.wait(4)
        assert type(change) is dict
        assert change["record"]["title"] == "x"
        assert json.loads(json.dumps(change)) == change
        assert change.pop("action") == "create"
        # As their parser reads it.
        assert half["record"]["title"] == "kept"
        assert (text, numbers) == ({"raw": "plain text"}, [1, 2])
        hub.break_streams("cut_streams")
        gap = next(event for event in box.wait(5)[4:])
        assert type(gap) is dict
        assert (gap["action"], gap["record"]["title"]) == ("gap", None)
        assert sdk.__name__ in repr(client)


def test_a_payload_is_parsed_when_it_is_first_read(hub: Hub, client: Client) -> None:
    payload = {"action": "create", "record": {"id": "a", "title": "x"}, "unread": 7}
    for use in (
        lambda event: event["record"],
        lambda event: event.get("record"),
        lambda event: event.record,
        lambda event: list(event),
        lambda event: json.dumps(event),
        lambda event: json.dumps(event, indent=1),
        lambda event: {**event},
        lambda event: event | {},
        lambda event: {} | event,
        lambda event: event == {},
        lambda event: {} == event,  # noqa: SIM300 - from the other side
        lambda event: bool(event),
        lambda event: event.update(x=1),
        lambda event: pickle.dumps(event),
        lambda event: repr(event),
    ):
        event = received(hub, client, payload, "posts/*")
        assert (event.action, event.record_id, event.is_notice) == ("create", "a", False)
        assert type(event) is UnreadEvent
        assert use(event) is not NotImplemented
        assert type(event) is Event
        event.pop("x", None)
        assert event == payload
        assert {} | event == payload


def test_what_reads_the_memory_of_an_unread_event_cannot_write_it(hub: Hub, client: Client) -> None:
    """Some writers of JSON do not ask a dict for its items. They must not write an empty object."""
    event = received(hub, client, {"a": 1})
    memory = dict.copy(dict(dict.items(event)))
    with pytest.raises(TypeError, match="Placeholder is not JSON serializable"):
        json.dumps(memory)
    assert event == {"a": 1}
    assert dict(dict.items(event)) == {"a": 1}


def test_threads_read_one_event_at_once(hub: Hub, client: Client) -> None:
    payload = {f"key{number}": number for number in range(50)}
    for _ in range(200):
        event = received(hub, client, payload)
        gate, found = threading.Barrier(4), []

        def read(event: Event = event, gate: threading.Barrier = gate, found: list[Any] = found) -> None:
            gate.wait()
            found.append(event["key49"] == 49 and len(event) == 50)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == [True] * 4
