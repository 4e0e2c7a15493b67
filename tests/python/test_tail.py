"""The command, as the package brings it. What it does is tested where it is written, in bindings/cli/tests."""

from __future__ import annotations

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
    one = tail("--raw", hub.url, "posts/*", "jobs/finished")
    soon(lambda: len(hub.topics()) == 2)
    post = hub.create("posts", {"title": "Grüße"})
    one.expect(f"create posts/* {post['id']} ")
    one.expect("Grüße")
    hub.publish("jobs/finished", "plain text")
    one.expect("custom jobs/finished plain text")
    one.process.send_signal(signal.SIGINT)
    assert one.wait() == 130
    assert "live: posts/*, jobs/finished" in one.error
    assert "Traceback" not in one.error


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
        # What came with something else is not read again.
        if wanted not in shown:
            shown += os.read(terminal, 4096)
        return wanted in shown

    try:
        soon(lambda: reads(b"Token: "))
        os.write(terminal, f"{token}\n".encode())
        soon(hub.topics)
        hub.update("users", ann, {"name": "Ann"})
        # In colour, since it is a terminal.
        soon(lambda: reads(f"users/* {ann}".encode()))
        assert b"\x1b[33mupdate\x1b[0m" in shown
        assert token.encode() not in shown
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_ctrl_c_at_a_prompt_gives_the_echo_back() -> None:
    # A shell that says afterwards what it finds.
    line = '"$0" -m tidings tail --ask-token http://127.0.0.1:1 posts; echo "ended $?"; stty -a'
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("bash", ["bash", "-c", f"trap : INT; {line}", sys.executable])
    shown = b""

    def reads(wanted: bytes) -> bool:
        nonlocal shown
        # What came with something else is not read again.
        if wanted not in shown:
            shown += os.read(terminal, 4096)
        return wanted in shown

    try:
        soon(lambda: reads(b"Token: "))
        os.write(terminal, b"\x03")
        soon(lambda: reads(b"ended 130"))
        soon(lambda: reads(b" echoe"))
        assert b" echo " in shown
        assert b"-echo " not in shown
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_a_refusal_has_its_status_and_no_traceback(hub: Hub, tail: Start) -> None:
    hub.refuse_next("submit", 403, times=5)
    one = tail(hub.url, "posts/*")
    assert one.wait() == 3
    assert one.error.startswith("tidings: ")
    assert "403" in one.error
    assert len(one.error.splitlines()) == 1


def test_a_reader_that_leaves_is_no_error(hub: Hub) -> None:
    line = '"$0" -m tidings tail -q "$1" "posts/*" | head -n 1; exit "${PIPESTATUS[0]}"'
    with subprocess.Popen(
        ["bash", "-c", line, sys.executable, hub.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shell:
        soon(hub.topics)
        hub.create("posts", {"title": "x"})
        out, err = shell.communicate()
    assert (shell.returncode, err) == (0, "")
    assert out.startswith("create posts/*")


def test_the_package_brings_the_command(program: Start) -> None:
    script = Path(sys.executable).parent / "tidings"
    told = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    one = program("", "-m", "tidings", "--version")
    assert one.wait() == 0
    assert told.stdout.strip() == one.output == "tidings 0.1.0"
    one = program("", "-m", "tidings")
    assert one.wait() == 2
    assert "Usage: tidings" in one.error
