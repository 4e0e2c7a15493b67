"""One call over MCP's streamable HTTP, answered with a stream or, as the server likes, with JSON."""

from typing import Any

from tidings import ClientResponseError, Closed, EventSource, Message, Open


def call(url: str, session: dict[str, str], request: dict[str, Any]) -> Any:
    """Returns the reply to a JSON-RPC request. ``initialize`` fills the session, which all later calls need."""
    headers = {"Accept": "application/json, text/event-stream", **session}
    with EventSource(url, headers=headers, json=request) as stream:
        for event in stream.events():
            answer = event.error if isinstance(event, Closed) else event
            if isinstance(answer, ClientResponseError) and answer.status != 200:
                raise answer
            if isinstance(answer, Open | ClientResponseError) and "mcp-session-id" in answer.headers:
                session["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
            if isinstance(answer, Message) and answer.json().get("id") == request["id"]:
                return answer.json()
            if isinstance(answer, ClientResponseError):
                return answer.response
    raise RuntimeError("there was no reply")
