"""The hub as users' tests have it."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import PATIENCE
from tidings import Changes, Client, Insert, Remove, Reset, Rows, Status, Update
from tidings.testing import Hub


def test_records_go_in_and_out_as_dicts() -> None:
    with Hub(seed=7) as hub:
        assert hub.collection("tasks", {"title": "", "done": False})
        made = hub.create("tasks", {"title": "a"})
        assert (made["title"], made["done"]) == ("a", False)
        assert hub.update("tasks", made["id"], {"done": True})["done"] is True
        assert [record["done"] for record in hub.records("tasks")] == [True]
        hub.delete("tasks", made["id"])
        assert hub.records("tasks") == []
        with pytest.raises(ValueError, match="the hub refused"):
            hub.delete("tasks", made["id"])
        with pytest.raises(ValueError, match="no account"):
            hub.token("users", "nobody")


def test_the_same_seed_draws_the_same() -> None:
    with Hub(seed=7) as one, Hub(seed=7) as other:
        assert one.create("posts", {})["id"] == other.create("posts", {})["id"]


def test_tells_what_is_open(hub: Hub, client: Client) -> None:
    with client.collection("posts").subscribe("*"):
        assert hub.topics() == ["posts/*"]
        assert hub.stats()["streams"] == 1
    assert hub.wait_until(lambda stats: stats["streams"] == 0, PATIENCE)
    assert not hub.wait_until(lambda stats: stats["streams"] == 1, 0.01)


@pytest.mark.parametrize("fault", ["end_streams", "cut_streams", "reset_streams"])
def test_a_broken_stream_is_told_as_a_gap(hub: Hub, client: Client, fault: str) -> None:
    with client.collection("posts").subscribe("*") as posts:
        assert hub.break_streams(fault) == 1  # type: ignore[arg-type]
        assert posts.next(PATIENCE).action == "gap"


def test_faults_come_and_go(hub: Hub, client: Client) -> None:
    hub.refuse_next("health", 503)
    with pytest.raises(Exception, match="503"):
        client.send("/api/health")
    client.send("/api/health")
    hub.delay("health", 0.2)
    before = time.monotonic()
    client.send("/api/health")
    assert time.monotonic() - before >= 0.2
    hub.freeze()
    with pytest.raises(TimeoutError):
        client.send("/api/health", timeout=0.1)
    hub.freeze(False)
    hub.clear_faults()
    hub.split_bytes()
    with client.collection("posts").subscribe("*") as posts:
        hub.create("posts", {"title": "piecemeal"})
        assert posts.next(PATIENCE)["record"]["title"] == "piecemeal"
    with pytest.raises(ValueError, match="endpoint"):
        hub.refuse_next("nothing", 500)  # type: ignore[arg-type]


def test_a_revoked_user_hears_no_more(hub: Hub, client: Client) -> None:
    ann = hub.add_user("users", "ann@example.com", "secret-1")
    client.collection("users").auth_with_password("ann@example.com", "secret-1")
    assert hub.revoke(ann)
    with pytest.raises(Exception, match="401"):
        client.collection("users").auth_refresh()


def test_restarts_on_the_same_port(hub: Hub, client: Client) -> None:
    hub.create("posts", {"title": "kept"})
    url = hub.url
    hub.stop()
    hub.restart()
    assert hub.url == url
    assert [record["title"] for record in hub.records("posts")] == ["kept"]


def test_pytest_has_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_of_a_user.py").write_text(
        textwrap.dedent(
            """
            import tidings

            def test_hears(tidings_hub):
                with tidings.Client(tidings_hub.url) as client, client.collection("a").subscribe("*") as events:
                    tidings_hub.create("a", {"title": "x"})
                    assert events.next(timeout=20)["record"]["title"] == "x"
            """
        )
    )
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTEST_ADDOPTS": ""}
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_changes_are_made_pickled_and_copied(hub: Hub, client: Client) -> None:
    row, other = {"id": "a", "tags": ["x"]}, {"id": "b", "tags": []}
    deltas = [Reset(Rows([row])), Insert(1, other), Update(1, 0, other, other), Remove(1, row, "deleted")]
    made = Changes(deltas, Rows([other]), Status(False, 7.0, "disconnected", LookupError("why")))
    assert repr(made.rows) == "<tidings.Rows 1>"
    hub.create("posts", {"title": "a"})
    with client.collection("posts").watch() as view:
        real = view.next(PATIENCE)
        for changes in (made, real):
            for same in (pickle.loads(pickle.dumps(changes)), copy.copy(changes), copy.deepcopy(changes)):
                assert same[:2] == changes[:2]
                assert same.status[:3] == changes.status[:3]
                assert [type(delta) for delta in same.deltas] == [type(delta) for delta in changes.deltas]
    # What a handler does to a row of it stays with that handler.
    made.rows[0]["tags"].append("y")
    other["tags"].append("z")
    assert made.rows[0] == {"id": "b", "tags": []}
    assert made.rows[-1] == made.rows[:1][0]
    with pytest.raises(IndexError):
        made.rows[1]
