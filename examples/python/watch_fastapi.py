"""Shows the open tasks of a PocketBase in browsers: `TASKS=http://127.0.0.1:8090 uvicorn watch_fastapi:app`.

Each browser has a view of its own, whose deltas it gets as server-sent events and applies to its rows by their index. The
first of a connection is a reset, so that a browser that connects again is right at once.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import tidings
from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with tidings.AsyncClient(os.environ.get("TASKS", "http://127.0.0.1:8090")) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


def message(changes: tidings.Changes) -> str:
    """A batch as one message: the page must not show half of one."""
    deltas = [{"kind": type(delta).__name__, **delta._asdict()} for delta in changes.deltas]
    value = {"deltas": deltas, "proven": changes.status.is_proven}
    return f"data: {json.dumps(value, default=list)}\n\n"


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(os.path.join(os.path.dirname(__file__), "watch_fastapi.html"))


@app.get("/tasks")
async def tasks() -> StreamingResponse:
    view = await app.state.client.collection("tasks").watch(filter="done = false", sort="-priority")

    async def messages() -> AsyncIterator[str]:
        async with view:
            async for changes in view:
                yield message(changes)

    return StreamingResponse(
        messages(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )
