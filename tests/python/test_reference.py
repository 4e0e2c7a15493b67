"""The programs of the BosBase SDK's realtime page against the real PocketBase, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PocketBase, Program, dumped
from tidings import Client
from tidings.testing import Hub

HERE = Path(__file__).parent / "reference"
# Programs end with their last line; what is to be seen comes later. Each says when it is there, and waits.
RUN = "import sys; exec(compile(sys.argv[1], sys.argv[2], 'exec')); print('READY'); sys.stdin.read()"

Run = Callable[..., Program]


@pytest.fixture(scope="session")
def server(pocketbase: PocketBase) -> PocketBase:
    """The real server, with the data that the page speaks of."""

    def text(name: str) -> dict[str, Any]:
        return {"name": name, "type": "text"}

    def user(name: str) -> dict[str, Any]:
        return {"name": name, "type": "relation", "collectionId": "_pb_users_auth_", "maxSelect": 1}

    updated = {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True}
    pocketbase.collection(
        "posts", text("title"), text("status"), user("author"), {"name": "public", "type": "bool"}
    )
    pocketbase.collection("comments", text("postId"), user("user"))
    pocketbase.collection("messages", text("roomId"), text("content"))
    pocketbase.collection("documents", text("body"), user("lastEditor"), updated)
    return pocketbase


@pytest.fixture(scope="session")
def ann(server: PocketBase) -> str:
    account = {
        "email": "user@example.com",
        "password": "password",
        "passwordConfirm": "password",
        "name": "Ann",
    }
    return server.create("users", account)["id"]


@pytest.fixture
def run(program: Callable[..., Program]) -> Run:
    def run(name: str, url: str, **replacements: str) -> Program:
        text = (HERE / name).read_text().replace("http://127.0.0.1:8090", url)
        for old, new in replacements.items():
            assert old in text
            text = text.replace(old, new)
        started = program("", "-X", "dev", "-c", RUN, text, name)
        started.expect("READY")
        return started

    return run


def test_basic_usage(server: PocketBase, run: Run) -> None:
    program = run("basic_usage.py", server.url)
    post = server.create("posts", {"title": "First"})
    server.update("posts", post["id"], {"title": "Second"})
    server.delete("posts", post["id"])
    program.expect("create First")
    program.expect("update Second")
    program.expect("delete Second")
    assert program.end() == 0, program.error


def test_a_record_id_watches_a_single_record(server: PocketBase, run: Run) -> None:
    watched, other = server.create("posts", {"title": "Watched"}), server.create("posts", {"title": "Other"})
    program = run("record_id.py", server.url, RECORD_ID=watched["id"])
    server.update("posts", other["id"], {"title": "Other 2"})
    server.update("posts", watched["id"], {"title": "Watched 2"})
    program.expect("update Watched 2")
    assert "Other" not in program.output


def test_subscription_options(server: PocketBase, ann: str, run: Run) -> None:
    # The rules of users hide Ann from guests, and so does `expand`.
    server.root.send("/api/collections/users", method="PATCH", body={"viewRule": ""})
    program = run("subscription_options.py", server.url)
    server.create("posts", {"title": "Draft", "status": "draft", "author": ann})
    server.create("posts", {"title": "News", "status": "published", "author": ann})
    program.expect("create News Ann")
    assert "Draft" not in program.output


def test_on_disconnect(server: PocketBase, hub: Hub, run: Run) -> None:
    text = (HERE / "disconnect.py").read_text()
    assert "pb.realtime.on_disconnect = handle_disconnect" in text
    program = run("disconnect.py", server.url)
    assert program.end() == 0, program.error
    # And what it says, where connections can be broken at will.
    namespace: dict[str, Any] = {}
    exec(text.replace("http://127.0.0.1:8090", hub.url), namespace)
    client: Client = namespace["pb"]
    assert client.realtime.on_disconnect is namespace["handle_disconnect"]
    client.close()


def test_custom_topics(server: PocketBase, hub: Hub, run: Run) -> None:
    program = run("custom_topics.py", server.url)
    assert program.end() == 0, program.error
    # What hooks of a server send, the hub sends here.
    program = run("custom_topics.py", hub.url)
    assert hub.publish("jobs/finished", {"job": 7}) == 1
    program.expect("'job': 7")


def test_unsubscribing(server: PocketBase, run: Run) -> None:
    program = run("unsubscribing.py", server.url, RECORD_ID="abcdefghijklmno")
    assert [sorted(re.findall(r"'([^']*)'", line)) for line in program.output.splitlines()[:3]] == [
        ["comments/*", "jobs/finished"],
        ["jobs/finished"],
        [],
    ]


def test_example_1_chat(server: PocketBase, run: Run) -> None:
    program = run("example_1_chat.py", server.url, ROOM_ID="kitchen")
    server.create("messages", {"roomId": "cellar", "content": "nobody hears"})
    message = server.create("messages", {"roomId": "kitchen", "content": "hello"})
    program.expect("New message: hello")
    server.delete("messages", message["id"])
    program.expect(f"Message deleted: {message['id']}")
    assert "nobody" not in program.output
    assert program.end() == 0, program.error


def test_example_2_dashboard(server: PocketBase, ann: str, run: Run) -> None:
    program = run("example_2_dashboard.py", server.url)
    post = server.create("posts", {"title": "Fresh", "status": "published", "author": ann})
    program.expect("New post: Fresh")
    server.update("posts", post["id"], {"title": "Edited"})
    program.expect("Post updated: Edited")
    server.create("comments", {"postId": post["id"], "user": ann})
    program.expect(f"Comments updated for post: {post['id']}")
    assert program.end() == 0, program.error


def test_example_3_activity(server: PocketBase, ann: str, run: Run) -> None:
    program = run("example_3_activity.py", server.url)
    server.create("posts", {"title": "Of nobody"})
    post = server.create("posts", {"title": "Mine", "author": ann})
    program.expect("Your post create: Mine")
    server.update("posts", post["id"], {"title": "Still mine"})
    program.expect("Your post update: Still mine")
    program.expect("Notification: Post updated")
    assert "nobody" not in program.output
    assert program.end() == 0, program.error


def test_example_4_collaboration(server: PocketBase, ann: str, run: Run) -> None:
    document = server.create("documents", {"body": "…"})
    program = run("example_4_collaboration.py", server.url, DOCUMENT_ID=document["id"])
    server.update("documents", document["id"], {"lastEditor": ann})
    program.expect(f"Document edited by {ann} at 20")
    assert program.end() == 0, program.error


def test_example_5_monitoring(server: PocketBase, run: Run) -> None:
    program = run("example_5_monitoring.py", server.url)
    program.expect("Connected to realtime: ")
    program.expect("Connection status: Connected")
    assert re.search(r"Connected to realtime: \w{40}", program.output)
    assert program.end() == 0, program.error


def test_example_5_monitoring_when_the_connection_breaks(hub: Hub, run: Run) -> None:
    program = run("example_5_monitoring.py", hub.url)
    program.expect("Connection status: Connected")
    hub.break_streams("reset_streams")
    program.expect("Connection lost, attempting to reconnect...")
    program.expect("Connection status: Reconnecting...")
    assert hub.wait_until(lambda stats: stats["streams"] == 1)


def test_example_6_conditional_as_a_guest(server: PocketBase, run: Run) -> None:
    program = run("example_6_conditional.py", server.url)
    server.create("posts", {"title": "Private", "public": False})
    server.create("posts", {"title": "Public", "public": True})
    program.expect("Post create: Public")
    assert "Private" not in program.output
    assert program.end() == 0, program.error


def test_example_6_conditional_as_a_user(server: PocketBase, run: Run) -> None:
    # The branch for users needs one: logged in before, as a program would. PocketBase lets only superusers filter by
    # `@request.`: others hear nothing, and are not told why.
    token, record = server.root.auth_store.token, server.root.auth_store.record
    setup = "setup_conditional_subscriptions()"
    save = f"pb.auth_store.save({dumped(token)}, {record!r})\n"
    program = run("example_6_conditional.py", server.url, **{f"# Usage\n{setup}": f"{save}{setup}"})
    server.create("posts", {"title": "Private", "public": False})
    program.expect("Post create: Private")


def test_example_7_cleanup(server: PocketBase, run: Run) -> None:
    program = run("example_7_cleanup.py", server.url)
    server.create("posts", {"title": "Seen"})
    program.expect("Post changed: ")
    assert program.end() == 0
    assert "Error unsubscribing" not in program.output
    assert not program.error


def test_error_handling(server: PocketBase, hub: Hub, run: Run) -> None:
    program = run("error_handling.py", server.url)
    server.create("posts", {"title": "Fine"})
    program.expect("Event: create")
    for status, said in (
        (403, "Permission denied"),
        (404, "Collection not found"),
        (418, "Subscription error"),
    ):
        hub.refuse_next("submit", status, times=10)
        program = run("error_handling.py", hub.url)
        assert said in program.output
        hub.clear_faults()
    hub.stop()
    program = run("error_handling.py", hub.url)
    assert "Subscription error: " in program.output
