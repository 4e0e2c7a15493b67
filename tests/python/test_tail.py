"""``python -m tidings tail``, as it is run."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Program, soon
from tidings.testing import Hub

Start = Callable[..., Program]


@pytest.fixture
def tail(program: Start, hub: Hub) -> Start:
    def tail(*arguments: str, env: dict[str, str] | None = None) -> Program:
        started = program("", "-m", "tidings", "tail", *arguments, env=env)
        soon(lambda: hub.topics() or started.process.poll() is not None)
        return started

    return tail


def test_prints_lines_until_ctrl_c(hub: Hub, tail: Start) -> None:
    one = tail(hub.url, "posts/*", "jobs/finished")
    soon(lambda: len(hub.topics()) == 2)
    post = hub.create("posts", {"title": "Grüße"})
    hub.publish("jobs/finished", "plain text")
    one.expect(f"create posts/* {post['id']} ")
    one.expect("Grüße")
    one.expect("custom jobs/finished plain text")
    hub.break_streams("cut_streams")
    one.expect("gap posts/* ")
    one.process.send_signal(signal.SIGINT)
    assert one.wait() == 130
    assert "Traceback" not in one.error


def test_prints_json(hub: Hub, tail: Start) -> None:
    one = tail("--json", "--filter", "title = 'b'", "--expand", "author", hub.url, "posts/*")
    (topic,) = hub.topics()
    assert "expand" in topic
    hub.create("posts", {"title": "a"})
    hub.create("posts", {"title": "b"})
    one.expect('"title": "b"')
    (line,) = one.lines.got
    told = json.loads(line)
    assert (told["topic"], told["action"], told["record"]["title"]) == ("posts/*", "create", "b")
    hub.break_streams("cut_streams")
    one.expect('"action": "gap"')
    assert json.loads(one.lines.got[1])["reason"] == "disconnected"


def test_tells_json_of_raw_topics(hub: Hub, tail: Start) -> None:
    one = tail("--json", hub.url, "jobs")
    hub.publish("jobs", {"job": 7})
    one.expect('"data": {"job": 7}')
    hub.publish("jobs", "plain text")
    one.expect('"data": "plain text"')
    hub.publish("jobs", b'{"half": "\\ud83d"}')
    one.expect('"data": "{\\"half\\": \\"\\\\ud83d\\"}"')
    hub.publish("jobs", b"[" * 300 + b"]" * 300)
    one.expect('"data": [[[')
    hub.publish("jobs", b"[" * 9_000 + b"]" * 9_000)
    one.expect('"data": "[[[')


@pytest.mark.parametrize("way", ["environment", "file", "input"])
def test_a_token_says_who_to_be(hub: Hub, program: Start, tmp_path: Path, way: str) -> None:
    ann = hub.add_user("users", "ann@example.com", "secret-1")
    token = hub.token("users", ann)
    path = tmp_path / "token"
    path.write_text(f"{token}\n")
    options = {"environment": [], "file": ["--token-file", str(path)], "input": ["--token-file", "-"]}[way]
    env = {"TIDINGS_TOKEN": token if way == "environment" else "not this one"}
    one = program("", "-m", "tidings", "tail", *options, hub.url, "users/*", env=env)
    if way == "input":
        one.say(token)
    soon(hub.topics)
    # Accounts are seen by their owners only.
    hub.update("users", ann, {"name": "Ann"})
    one.expect(f"update users/* {ann}")


def test_a_token_is_prompted_for_without_an_echo(hub: Hub) -> None:
    ann = hub.add_user("users", "ann@example.com", "secret-1")
    token = hub.token("users", ann)
    command = [sys.executable, "-m", "tidings", "tail", "--ask-token", hub.url, "users/*"]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    shown = b""

    def reads(wanted: bytes) -> bool:
        nonlocal shown
        shown += os.read(terminal, 4096)
        return wanted in shown

    try:
        soon(lambda: reads(b"Token: "))
        os.write(terminal, f"{token}\n".encode())
        soon(hub.topics)
        hub.update("users", ann, {"name": "Ann"})
        soon(lambda: reads(f"update users/* {ann}".encode()))
        assert token.encode() not in shown
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    hub: Hub, program: Start, tmp_path: Path
) -> None:
    for given in (["--token", "s3cret"], ["--token=s3cret"]):
        one = program("", "-m", "tidings", "tail", *given, hub.url, "posts/*")
        assert one.wait() == 2
        assert "TIDINGS_TOKEN" in one.error
        assert "s3cret" not in one.error
    for path in (tmp_path / "missing", tmp_path):
        one = program("", "-m", "tidings", "tail", "--token-file", str(path), hub.url, "posts/*")
        assert one.wait() == 1
        assert one.error.startswith("tidings: cannot read the token from ")
    (tmp_path / "empty").touch()
    one = program("", "-m", "tidings", "tail", "--token-file", str(tmp_path / "empty"), hub.url, "posts/*")
    assert one.wait() == 1
    assert one.error == "tidings: invalid token: it is empty; leave the option out to be a guest"


def test_errors_are_readable(hub: Hub, tail: Start) -> None:
    hub.refuse_next("submit", 403, times=5)
    one = tail(hub.url, "posts/*")
    assert one.wait() == 1
    assert one.error.startswith("tidings: ")
    assert "status 403" in one.error
    one = tail("ftp://example.com", "posts/*")
    assert one.wait() == 1
    assert one.error.startswith("tidings: ")
    assert "Traceback" not in one.error
    one = tail("--timeout", "-1", hub.url, "posts/*")
    assert one.wait() == 1
    assert one.error == "tidings: invalid timeout: -1 is not a duration; give seconds, 0 or more"
    hub.stop()
    one = tail(hub.url, "posts/*")
    assert one.wait() == 1
    assert one.error.startswith("tidings: ")
    assert len(one.error.splitlines()) == 1


def test_a_reader_that_leaves_is_no_error(hub: Hub) -> None:
    line = '"$0" -m tidings tail "$1" "posts/*" | head -n 1; exit "${PIPESTATUS[0]}"'
    with subprocess.Popen(
        ["bash", "-c", line, sys.executable, hub.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shell:
        soon(hub.topics)

        def ended() -> bool:
            hub.create("posts", {"title": "x"})
            return shell.poll() is not None

        soon(ended)
        out, err = shell.communicate()
    assert (shell.returncode, err) == (0, "")
    assert out.startswith("create posts/*")


def test_wrong_use_is_told(program: Start) -> None:
    one = program("", "-m", "tidings")
    assert one.wait() == 2
    assert "usage: python -m tidings" in one.error
    one = program("", "-m", "tidings", "--version")
    assert one.wait() == 0
    assert one.output.startswith("tidings ")
