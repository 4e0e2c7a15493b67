"""Beginnings and ends: of interpreters, processes, clients."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable

import pytest
from conftest import PATIENCE, Program, soon
from tidings import AsyncClient, AsyncEventSource, Client, EventSource
from tidings.testing import Hub

Start = Callable[..., Program]

RUNS = int(os.environ.get("TIDINGS_EXIT_RUNS", "5"))

WITH_HUB = """
import sys, threading, time, os, signal, asyncio
import tidings
from tidings.testing import Hub
URL = sys.argv[1]
"""


@pytest.fixture
def start(program: Start, hub: Hub) -> Start:
    # From now on there is such a stream.
    hub.send("/events", "hello")

    def start(text: str, *flags: str) -> Program:
        return program("", "-X", "dev", *flags, "-c", WITH_HUB + textwrap.dedent(text), hub.url)

    return start


EXITS = {
    "live subscriptions": """
        client = tidings.Client(URL)
        client.collection("posts").subscribe("*", lambda event: None)
        posts = client.collection("posts").subscribe("*")
        client.realtime.on_state = lambda state: None
    """,
    "events that keep coming": """
        client = tidings.Client(URL)
        def touch(event): event["record"]
        client.collection("posts").subscribe("*", touch)
        path = "/api/collections/posts/records"
        def flood():
            while True:
                client.send(path, method="POST", body={"title": "x"})
        threading.Thread(target=flood, daemon=True).start()
        posts = client.collection("posts").subscribe("*")
        for _ in range(20): next(posts)
    """,
    "a callback running": """
        client = tidings.Client(URL)
        is_in = threading.Event()
        def block(event):
            is_in.set()
            while True:
                sum(range(1000))
        client.collection("posts").subscribe("*", block)
        client.send("/api/collections/posts/records", method="POST", body={"title": "x"})
        is_in.wait()
    """,
    "a callback that sleeps": """
        client = tidings.Client(URL)
        is_in = threading.Event()
        def block(event):
            is_in.set()
            time.sleep(1000)
        client.collection("posts").subscribe("*", block)
        client.send("/api/collections/posts/records", method="POST", body={"title": "x"})
        is_in.wait()
    """,
    "a callback that waits for a call": """
        client = tidings.Client(URL)
        is_in = threading.Event()
        def block(event):
            posts = client.collection("posts").subscribe("*")
            is_in.set()
            next(posts)
        client.collection("comments").subscribe("*", block)
        client.send("/api/collections/comments/records", method="POST", body={"title": "x"})
        is_in.wait()
    """,
    "a daemon thread that iterates": """
        client = tidings.Client(URL)
        posts = client.collection("posts").subscribe("*")
        threading.Thread(target=lambda: list(posts), daemon=True).start()
        source = tidings.EventSource(URL + "/events")
        threading.Thread(target=lambda: list(source), daemon=True).start()
        time.sleep(0.05)
    """,
    "a token provider that blocks": """
        client = tidings.Client(URL, token_provider=lambda: time.sleep(1000))
        client.collection("posts").subscribe("*", lambda event: None, wait=False)
    """,
    "an async client left open": """
        async def main():
            global client
            client = tidings.AsyncClient(URL)
            await client.collection("posts").subscribe("*", print)
        asyncio.run(main())
    """,
    "an exception": """
        client = tidings.Client(URL)
        client.collection("posts").subscribe("*", lambda event: None)
        raise SystemExit(0)
    """,
}


@pytest.mark.parametrize("text", EXITS.values(), ids=EXITS.keys())
def test_the_interpreter_ends_cleanly_with(start: Start, text: str) -> None:
    for _ in range(RUNS):
        one = start(text, "-W", "ignore::ResourceWarning")
        assert one.wait() == 0, one.error
        assert "Fatal" not in one.error
        assert "panick" not in one.error


CALLS = {
    "subscribe": 'client.collection("comments").subscribe("*")',
    "subscribe with a callback": 'client.collection("comments").subscribe("*", print)',
    "next": "posts.next()",
    "next with a timeout": "posts.next(1000)",
    "for": "list(posts)",
    "send": 'client.send("/api/collections/posts/records")',
    "log in": 'client.collection("users").auth_with_password("a", "b")',
    "refresh": 'client.collection("users").auth_refresh()',
    "OAuth2": 'client.collection("users").auth_with_oauth2("mock", print)',
    "event source": "source.next()",
    "event source with a timeout": "source.next_event(1000)",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_ctrl_c_ends(start: Start, hub: Hub, call: str) -> None:
    # Some other process may have had the processor meanwhile, but not each time.
    assert any(interrupted(start, hub, call) < 0.2 for _ in range(5))


def interrupted(start: Start, hub: Hub, call: str) -> float:
    """How many seconds after the signal the call has ended."""
    one = start(
        f"""
        import faulthandler
        client = tidings.Client(URL, subscribe_timeout=1000)
        with client.collection("posts").subscribe("*") as posts, tidings.EventSource(URL + "/events") as source:
            assert isinstance(source.next_event(), tidings.Open)
            print("READY")
            sys.stdin.readline()
            # Interrupted when the call surely waits.
            def interrupt():
                time.sleep(0.15)
                global sent
                sent = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            try:
                result = {call}
                if result == 130: raise KeyboardInterrupt
                print("RETURNED", result)
            except KeyboardInterrupt:
                print("INTERRUPTED", time.monotonic() - sent)
        client.close()
        """
    )
    one.expect("READY")
    if "next" not in call and "list" not in call:
        for endpoint in ("submit", "records", "auth", "other"):
            hub.delay(endpoint, 1000)
    one.say("go")
    one.expect("INTERRUPTED")
    hub.clear_faults()
    assert one.end() == 0, one.error
    return float(one.output.split()[-1])


def test_a_forked_child_may_not_use_the_client_and_may_make_one(start: Start) -> None:
    one = start(
        """
        client = tidings.Client(URL)
        heard = threading.Semaphore(0)
        client.collection("posts").subscribe("*", lambda event: heard.release())
        posts = client.collection("posts").subscribe("*")
        def create(client):
            client.send("/api/collections/posts/records", method="POST", body={"title": "x"})
        others = client.collection("others").subscribe("*")
        threading.Thread(target=lambda: list(others), daemon=True).start()
        while not tidings._tidings.inside():
            time.sleep(0.001)

        pid = os.fork()
        if not pid:
            status = 1
            try:
                # The thread that waits is not here; the end would wait for it.
                assert tidings._tidings.inside() == 0
                for call in (
                    lambda: client.collection("posts").subscribe("*"),
                    lambda: client.collection("posts").subscribe("*", print),
                    lambda: client.send("/api/health"),
                    lambda: client.state,
                    lambda: client.stats(),
                    lambda: client.auth_store.token,
                    lambda: next(posts),
                    lambda: posts.state,
                    posts,
                    lambda: client.realtime.unsubscribe(),
                ):
                    try:
                        call()
                    except tidings.exceptions.ForkedError:
                        continue
                    raise AssertionError(f"no error")
                repr(client), repr(posts)
                client.close()
                del posts
                own_heard = threading.Semaphore(0)
                with tidings.Client(URL) as own:
                    own.collection("posts").subscribe("*", lambda event: own_heard.release())
                    create(own)
                    assert own_heard.acquire(timeout=20)
                status = 0
            except BaseException:
                import traceback; traceback.print_exc()
            if status: os._exit(status)
            sys.exit(0)  # With `atexit`.
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        # The parent's goes on: it has heard the child.
        assert heard.acquire(timeout=20)
        create(client)
        assert heard.acquire(timeout=20)
        assert client.state.name == "live"
        client.close()
        print("FINE")
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert one.wait() == 0, one.error
    assert "FINE" in one.output
    assert not one.error


def test_a_forked_child_may_not_use_the_hub_and_leaves_it_alone(start: Start) -> None:
    one = start(
        """
        def child(test):
            pid = os.fork()
            if not pid:
                try:
                    test()
                except SystemExit:
                    raise
                except BaseException:
                    import traceback; traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        def every_call_is_refused():
            for call in (
                lambda: hub.url,
                lambda: hub.collection("posts"),
                lambda: hub.create("posts", {}),
                lambda: hub.update("posts", "a", {}),
                lambda: hub.delete("posts", "a"),
                lambda: hub.records("posts"),
                lambda: hub.publish("jobs", {}),
                lambda: hub.add_user("users", "a@example.com", "secret-1"),
                lambda: hub.token("users", "a"),
                lambda: hub.revoke("a"),
                lambda: hub.oauth2("users", "mock"),
                lambda: hub.send("/events", "a"),
                lambda: hub.send_raw("/events", b"a"),
                lambda: hub.topics(),
                lambda: hub.stats(),
                lambda: hub.refuse_next("health", 503),
                lambda: hub.delay("health", 1),
                lambda: hub.break_streams(),
                lambda: hub.freeze(),
                lambda: hub.split_bytes(),
                lambda: hub.clear_faults(),
                lambda: hub.restart(),
            ):
                try:
                    call()
                except tidings.exceptions.ForkedError:
                    continue
                raise AssertionError("no error")
            assert repr(hub) == "<tidings.testing.Hub forked>"

        def stop():
            hub.stop()

        def leave():
            with hub:
                pass

        def forget():
            global hub
            del hub

        with Hub() as hub:
            for test in (every_call_is_refused, stop, leave, forget):
                child(test)
            child(sys.exit)
            # The parent's goes on.
            with tidings.Client(hub.url) as client, client.collection("posts").subscribe("*") as posts:
                hub.create("posts", {"title": "x"})
                assert posts.next(20)["record"]["title"] == "x"
        print("FINE")
        """,
        "-W",
        "ignore::DeprecationWarning",
    )
    assert one.wait() == 0, one.error
    assert "FINE" in one.output
    assert not one.error


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(program: Start, hub: Hub, tmp_path: os.PathLike[str], method: str) -> None:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w") as file:
        file.write(
            textwrap.dedent(
                """
                import multiprocessing, sys
                import tidings

                def work(url, number):
                    with tidings.Client(url) as client, client.collection("posts").subscribe("*") as posts:
                        client.send("/api/collections/posts/records", method="POST", body={"title": str(number)})
                        return posts.next(timeout=20)["record"]["title"] is not None

                if __name__ == "__main__":
                    url, method = sys.argv[1:]
                    parent = tidings.Client(url)
                    parent.collection("posts").subscribe("*", lambda event: None)
                    with multiprocessing.get_context(method).Pool(3) as pool:
                        assert pool.starmap(work, [(url, n) for n in range(6)]) == [True] * 6
                    assert parent.state.name == "live"
                    parent.close()
                """
            )
        )
    one = program("", "-X", "dev", "-W", "ignore::DeprecationWarning", path, hub.url, method)
    assert one.wait() == 0, one.error


def test_garbage_collection_without_close_warns_and_leaves_nothing(hub: Hub) -> None:
    threads = threading.active_count()
    for make in (Client, AsyncClient):
        client = make(hub.url)
        if isinstance(client, Client):
            client.realtime.on_state = lambda state: None
            posts = client.collection("posts").subscribe("*")
            del posts
        else:
            client._is_used = True
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
        assert [one.category for one in caught] == [ResourceWarning], make
    soon(lambda: threading.active_count() == threads)
    soon(lambda: hub.stats()["streams"] == 0)


def test_no_warning_for_a_client_that_was_closed_or_never_used(hub: Hub) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unused = Client(hub.url)
        del unused
        with Client(hub.url) as client:
            client.collection("posts").subscribe("*", print)
        del client
        gc.collect()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def native_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_200_clients_leave_nothing(hub: Hub) -> None:
    def cycle() -> None:
        with Client(hub.url) as client:
            client.collection("posts").subscribe("*", lambda event: None)
            with client.collection("posts").subscribe("*") as posts:
                hub.create("posts", {"title": "x"})
                posts.next(PATIENCE)

    for _ in range(50):
        cycle()
    gc.collect()
    soon(lambda: hub.stats()["sockets"] == 0)
    threads, files, memory = native_threads(), descriptors(), resident()
    for _ in range(200):
        cycle()
    gc.collect()
    soon(lambda: hub.stats()["sockets"] == 0)
    assert native_threads() <= threads
    assert descriptors() <= files
    assert resident() - memory < 8 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="counts in /proc")
def test_close_leaves_no_descriptor_though_the_client_is_held(hub: Hub) -> None:
    async def asynchronous() -> list[object]:
        client = AsyncClient(hub.url)
        await client.collection("posts").subscribe("*", lambda event: None)
        source = AsyncEventSource(f"{hub.url}/api/realtime")
        await source.next(PATIENCE)
        await client.close()
        await source.close()
        return [client, source]

    def cycle() -> list[object]:
        client = Client(hub.url)
        client.collection("posts").subscribe("*", lambda event: None)
        client.collection("posts").subscribe("*")
        source = EventSource(f"{hub.url}/api/realtime")
        source.next(PATIENCE)
        client.close()
        source.close()
        return [client, source, *asyncio.run(asynchronous())]

    # Held, as what they leave would be.
    held = cycle()
    soon(lambda: hub.stats()["sockets"] == 0)
    files = descriptors()
    held += cycle()
    soon(lambda: hub.stats()["sockets"] == 0)
    assert descriptors() <= files


def test_a_signal_handler_may_use_the_client(hub: Hub) -> None:
    """It runs on the main thread between any two steps, locks held or not."""
    with Client(hub.url) as client:
        handled = 0

        def handle(number: int, frame: object) -> None:
            nonlocal handled
            client.realtime.subscribe("jobs", lambda event: None, wait=False)()
            handled += 1

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            until = time.monotonic() + 1
            while time.monotonic() < until:
                client.realtime.subscribe("jobs", lambda event: None)()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert handled > 50
