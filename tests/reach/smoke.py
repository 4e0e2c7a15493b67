"""What must work of an installed wheel, with nothing but the standard library: run it with the interpreter to try."""

import asyncio
import os
import platform
import subprocess
import sys

import tidings
from tidings import AsyncClient, Client, EventSource, Open
from tidings.testing import Hub

PATIENCE = 60.0


def sync(url: str) -> None:
    with Client(url) as client, client.collection("posts").subscribe("*") as posts:
        made = client.send("/api/collections/posts/records", method="POST", body={"title": "Hello"})
        event = posts.next(PATIENCE)
        assert (event.action, event.record["id"]) == ("create", made["id"]), event


async def asynchronous(url: str) -> None:
    async with AsyncClient(url) as client, await client.collection("posts").subscribe("*") as posts:
        await client.send("/api/collections/posts/records", method="POST", body={"title": "Hello"})
        event = await asyncio.wait_for(anext(aiter(posts)), PATIENCE)
        assert event.action == "create", event


def main() -> None:
    with Hub() as hub:
        hub.collection("posts", {"title": ""})
        sync(hub.url)
        asyncio.run(asynchronous(hub.url))
        hub.send("/events", "nobody hears")
        with EventSource(f"{hub.url}/events") as source:
            assert isinstance(source.next_event(PATIENCE), Open)
            hub.send("/events", "one")
            assert source.next(PATIENCE).data == "one"
        # The certificates of the system are read, and TLS starts: the hub does not speak it.
        try:
            Client(hub.url.replace("http:", "https:")).send("/api/health")
        except tidings.TidingsError as error:
            assert "TLS" in str(error) or "tls" in str(error) or "record" in str(error), error
        else:
            raise AssertionError("TLS with a server that has none")
    # RUNNER: what starts a program of this interpreter's machine, where the system does not.
    command = [*os.environ.get("RUNNER", "").split(), sys.executable, "-m", "tidings", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    libc = " ".join(platform.libc_ver()) or "no glibc"
    print(f"  smoke: {said.strip()} on {platform.machine()}, Python {platform.python_version()}, {libc}: ok")


if __name__ == "__main__":
    main()
