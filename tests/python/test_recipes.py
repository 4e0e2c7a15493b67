"""The recipes of docs/event-source.md, against servers that behave as those they are for."""

from __future__ import annotations

import io
import json
import re
import runpy
import threading
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import tidings
from conftest import PATIENCE, Box, soon
from scripted import Answer, Scripted
from tidings import ClientResponseError
from tidings.exceptions import NetworkError
from tidings.testing import Hub

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json"}


def recipe(name: str, function: str) -> Any:
    return runpy.run_path(str(ROOT / "examples" / "recipes" / f"{name}.py"))[function]


def data(value: Any, event: str | None = None) -> str:
    return (f"event: {event}\n" if event else "") + f"data: {json.dumps(value)}\n\n"


def piece(text: str) -> str:
    return data({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def delta(text: str) -> str:
    value = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return data(value, "content_block_delta")


def test_openai() -> None:
    chat = recipe("openai", "chat")
    busy = Answer('{"error": {"message": "Rate limit reached"}}', 429, {"Retry-After": "1"})
    first = data({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
    usage = data({"choices": [], "usage": {"total_tokens": 9}})
    whole = Answer(": ping\n\n" + first + piece("Hel") + piece("lo") + usage + "data: [DONE]\n\n")
    with Scripted(busy, whole) as server:
        assert chat(server.url, "key", "Hi") == "Hello"
        assert server.count() == 2
        for request in server.requests:
            assert request.headers["authorization"] == "Bearer key"
            assert json.loads(request.body)["messages"] == [{"role": "user", "content": "Hi"}]
    with Scripted(Answer('{"error": {"message": "Incorrect API key"}}', 401, JSON)) as server:
        with pytest.raises(ClientResponseError, match="the server answered 401: Incorrect API key"):
            chat(server.url, "key", "Hi")
        assert server.count() == 1
    with Scripted(Answer(piece("Hel"), end="cut")) as server:
        with pytest.raises(NetworkError, match="after 1 message: "):
            chat(server.url, "key", "Hi")
        assert server.count() == 1
    with (
        Scripted(Answer(piece("Hel") + data({"error": {"message": "It broke"}}))) as server,
        pytest.raises(RuntimeError, match="It broke"),
    ):
        chat(server.url, "key", "Hi")
    with Scripted(Answer(piece("Hel"))) as server:
        with pytest.raises(RuntimeError, match="before"):
            chat(server.url, "key", "Hi")
        assert server.count() == 1


def test_anthropic() -> None:
    chat = recipe("anthropic", "chat")
    busy = Answer(
        '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', 529, JSON
    )
    start, ping, stop = (data({"type": kind}, kind) for kind in ("message_start", "ping", "message_stop"))
    with Scripted(busy, Answer(start + ping + delta("Hel") + delta("lo") + stop)) as server:
        assert chat(server.url, "key", "Hi") == "Hello"
        assert server.count() == 2
        assert server.requests[1].headers["x-api-key"] == "key"
    error = data({"type": "error", "error": {"message": "Overloaded"}}, "error")
    with Scripted(Answer(delta("Hel") + error)) as server:
        with pytest.raises(RuntimeError, match="Overloaded"):
            chat(server.url, "key", "Hi")
        assert server.count() == 1
    with Scripted(Answer(delta("Hel") + ping, end="cut")) as server:
        with pytest.raises(NetworkError, match="after 2 messages: "):
            chat(server.url, "key", "Hi")
        assert server.count() == 1


def test_flags(hub: Hub, box: Box) -> None:
    follow = recipe("flags", "follow")
    tokens: list[str] = []

    def token() -> str:
        tokens.append(f"t{len(tokens)}")
        return tokens[-1]

    def opened(streams: int) -> bool:
        return hub.stats()["streams"] == streams

    # From now on there is such a stream.
    hub.send("/flags", {"dark": 0}, event="put", id="0")
    reader = threading.Thread(target=follow, args=(f"{hub.url}/flags", "0", token, box))
    reader.start()
    soon(lambda: opened(1))
    hub.send("/flags", {"dark": True}, event="put", id="1")
    assert box.wait() == [("dark", True, "1")]
    hub.break_streams("cut_streams")
    # Missed while the stream was down.
    soon(lambda: opened(0))
    hub.send("/flags", {"dark": False}, event="patch", id="2")
    assert box.wait(2)[1] == ("dark", False, "2")
    assert tokens == ["t0", "t1"]
    hub.refuse_next("sse", 204)
    hub.break_streams("end_streams")
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_mcp() -> None:
    call = recipe("mcp", "call")
    initialized = Answer(
        '{"jsonrpc": "2.0", "id": 1, "result": {}}', headers={**JSON, "Mcp-Session-Id": "s1"}
    )
    progress = data({"jsonrpc": "2.0", "method": "notifications/progress"})
    reply = {"jsonrpc": "2.0", "id": 2, "result": {"tools": []}}
    gone = Answer('{"jsonrpc": "2.0", "error": {"message": "No session"}}', 404, JSON)
    with Scripted(initialized, Answer(progress + data(reply)), gone) as server:
        session: dict[str, str] = {}
        assert call(server.url, session, {"jsonrpc": "2.0", "id": 1, "method": "initialize"})["result"] == {}
        assert session == {"Mcp-Session-Id": "s1"}
        tools = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        assert call(server.url, session, tools) == reply
        with pytest.raises(ClientResponseError, match="404: No session"):
            call(server.url, session, tools)
        assert server.count() == 3
        first, second, _ = server.requests
        assert "mcp-session-id" not in first.headers
        assert second.headers["mcp-session-id"] == "s1"
        assert second.headers["accept"] == "application/json, text/event-stream"


def test_the_six_lines_of_the_page() -> None:
    page = (ROOT / "docs" / "event-source.md").read_text()
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert len(block[1].splitlines()) == 6
    with Scripted(Answer(piece("Hel") + piece("lo") + "data: [DONE]\n\n")) as server:
        with redirect_stdout(io.StringIO()) as printed:
            exec(block[1], {"EventSource": tidings.EventSource, "url": server.url, "key": "k"})
        assert printed.getvalue() == "Hello"
        assert server.count() == 1
