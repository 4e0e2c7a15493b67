"""Receives EVENTS events of one stream with one contender, and prints what that took.

    receive.py CONTENDER WORK URL EVENTS

CONTENDER is a name of CONTENDERS, WORK is "untouched" (each event is counted and nothing in it is read), "record" (the
action and a field of the record are read) or "latency" (how long it was under way, by the record's field `sent`).
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120.0


class Meter:
    """Counts events, and what passes between the first and the last of them."""

    def __init__(self, events: int, work: str) -> None:
        self.events = events
        self.seen = 0
        self.touch: Callable[[Any], Any] = self._note_latency if work == "latency" else _TOUCH[work]
        self.latencies: list[int] = []
        self.done = threading.Event()

    def take(self, event: Any) -> None:
        self.touch(event)
        if self.seen == 0:
            self.began = time.perf_counter(), time.process_time()
        self.seen += 1
        if self.seen == self.events:
            self.ended = time.perf_counter(), time.process_time()
            self.done.set()

    def _note_latency(self, event: Any) -> None:
        self.latencies.append(time.monotonic_ns() - int(event["record"]["sent"]))

    def _percentile(self, part: float) -> float:
        ordered = sorted(self.latencies) or [0]
        return ordered[int((len(ordered) - 1) * part)] / 1e3

    def report(self) -> dict[str, float]:
        wall = self.ended[0] - self.began[0]
        cpu = self.ended[1] - self.began[1]
        return {
            "events_per_s": (self.events - 1) / wall,
            "cpu_us_per_event": cpu / (self.events - 1) * 1e6,
            "p50_us": self._percentile(0.5),
            "p99_us": self._percentile(0.99),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


_TOUCH: dict[str, Callable[[Any], Any]] = {
    "untouched": lambda event: None,
    "record": lambda event: (event["action"], event["record"]["title"]),
    # What the package pocketbase gives to a callback is an object.
    "record of pocketbase": lambda event: (event.action, event.record.title),
}


def tidings_callback(url: str, meter: Meter) -> None:
    import tidings

    client = tidings.Client(url, queue=meter.events)
    client.collection("posts").subscribe("*", meter.take)
    meter.done.wait(PATIENCE)
    client.close()


def tidings_for(url: str, meter: Meter) -> None:
    import tidings

    with tidings.Client(url, queue=meter.events) as client:
        for event in client.collection("posts").subscribe("*"):
            meter.take(event)
            if meter.done.is_set():
                break


def tidings_async_for(url: str, meter: Meter) -> None:
    import tidings

    async def receive() -> None:
        async with tidings.AsyncClient(url, queue=meter.events) as client:
            async for event in await client.collection("posts").subscribe("*"):
                meter.take(event)
                if meter.done.is_set():
                    break

    asyncio.run(receive())


def bosbase_callback(url: str, meter: Meter) -> None:
    from bosbase import BosBase

    client = BosBase(url)
    client.collection("posts").subscribe("*", meter.take)
    meter.done.wait(PATIENCE)


def pocketbase_callback(url: str, meter: Meter) -> None:
    from pocketbase import PocketBase

    if meter.touch is _TOUCH["record"]:
        meter.touch = _TOUCH["record of pocketbase"]
    client = PocketBase(url)
    # Its collections subscribe to topics of an older server.
    client.realtime.subscribe("posts/*", meter.take)
    meter.done.wait(PATIENCE)


CONTENDERS = {
    "tidings, callback": tidings_callback,
    "tidings, for": tidings_for,
    "tidings, async for": tidings_async_for,
    "bosbase, callback": bosbase_callback,
    "pocketbase, callback": pocketbase_callback,
}


def main() -> int:
    contender, work, url, events = sys.argv[1:]
    meter = Meter(int(events), work)
    CONTENDERS[contender](url, meter)
    if not meter.done.is_set():
        print(f"{contender}: {meter.seen} of {events} events came", file=sys.stderr)
        return 1
    print(json.dumps(meter.report()), flush=True)
    return 0


if __name__ == "__main__":
    status = main()
    # Some contenders have no way to stop their threads.
    sys.stderr.flush()
    os._exit(status)
