"""Watches the open tasks of a PocketBase, and prints the list whenever it changes:
`python watch_asyncio.py http://127.0.0.1:8090`. Ctrl-C ends it."""

import asyncio
import contextlib
import sys

import tidings


async def main(url: str) -> None:
    async with tidings.AsyncClient(url) as client:
        tasks = client.collection("tasks")
        async with await tasks.watch(filter="done = false", sort="-priority", limit=20) as view:
            async for changes in view:
                doubt = "" if changes.status.is_proven else f" (in doubt: {changes.status.why})"
                print(f"{len(changes.rows)} open tasks{doubt}")
                for task in changes.rows:
                    print(f"  {task['priority']:>3g} {task['title']}")
        # The server has ended it, e.g. since the list rule has changed.
        if view.error:
            raise view.error


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8090"))
