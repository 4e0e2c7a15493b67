"""The real PocketBase at its own pace: processor time for each event, and how long a write is under way to the callback.

    compare.py POCKETBASE DELIVERY RECEIVE_C OUT.json ROUNDS

POCKETBASE is the server's program, DELIVERY the program of bench/delivery, which holds the receivers in Rust, and RECEIVE_C
what receive.c makes. The server sends each event by itself, so a client is woken for each unless it lets them gather. Receivers take turns, round after round,
each in a process of its own; figures are medians of the rounds.

- "burst": a hook sends 30,000 custom messages of 200 bytes as fast as it can.
- "N/s": records are written at that pace; the latency is from the moment before the write is sent to the callback.

Switches are those of all threads that waited for something, over the life of the process, for each event.
"""

from __future__ import annotations

import http.client
import json
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NODE = HERE.parent / "storm" / "js"
RECEIVE = HERE.parent / "python" / "receive.py"

BURST = 30_000
# Records written and how many in a second.
WRITES = ((1_000, 200), (6_000, 2_000))
WRITERS = 4
YARDSTICK = "bosbase, callback"

HOOK = """
routerAdd("GET", "/listeners", (e) => {
  const clients = Object.values($app.subscriptionsBroker().clients());
  return e.json(200, clients.filter((client) => client.hasSubscription("posts/*")).length);
});
routerAdd("GET", "/burst/{events}", (e) => {
  const data = JSON.stringify({ record: { id: "r00000000000000", title: "x".repeat(140) }, action: "update" });
  const message = new SubscriptionMessage({ name: "posts/*", data });
  const clients = Object.values($app.subscriptionsBroker().clients());
  const listening = clients.filter((client) => client.hasSubscription("posts/*"));
  for (let i = 0; i < Number(e.request.pathValue("events")); i++) {
    for (const client of listening) client.send(message);
  }
  return e.json(200, listening.length);
});
"""


class Server:
    """A fresh PocketBase with the collection and the hook."""

    def __init__(self, binary: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        (root / "hooks").mkdir()
        (root / "hooks" / "burst.pb.js").write_text(HOOK)
        data = ["--dir", str(root / "data")]
        account = ["root@example.com", "correct-horse-1"]
        subprocess.run([binary, "superuser", "upsert", *account, *data], check=True, capture_output=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        hooks = ["--hooksDir", str(root / "hooks"), "--hooksWatch=false"]
        self.process = subprocess.Popen(
            [binary, "serve", "--http", f"127.0.0.1:{self.port}", *data, *hooks],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        next(line for line in self.process.stdout if "Server started at" in line)
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        login = {"identity": account[0], "password": account[1]}
        token = self.ask("POST", "/api/collections/_superusers/auth-with-password", login)["token"]
        fields = [{"name": name, "type": "text"} for name in ("title", "sent")]
        rules = {f"{rule}Rule": "" for rule in ("list", "view", "create", "update", "delete")}
        self.ask(
            "POST", "/api/collections", {"name": "posts", "type": "base", "fields": fields, **rules}, token
        )

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": token}
        connection.request(method, path, json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text!r}")
        return json.loads(text or "null")

    def write(self, records: int, pace: int) -> None:
        """Writes records, a quarter of them on each of four connections."""

        def writer(first: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            headers = {"Content-Type": "application/json"}
            for number in range(first, records, WRITERS):
                time.sleep(max(0.0, began + number / pace - time.monotonic()))
                body = json.dumps({"title": "x" * 140, "sent": str(time.monotonic_ns())})
                connection.request("POST", "/api/collections/posts/records", body, headers)
                connection.getresponse().read()

        began = time.monotonic()
        writers = [threading.Thread(target=writer, args=(first,)) for first in range(WRITERS)]
        for thread in writers:
            thread.start()
        for thread in writers:
            thread.join()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()


def contenders(delivery: str, receive_c: str) -> dict[str, tuple[list[str], bool]]:
    """The command of each receiver, without URL, events and work; and whether it is native, which names work otherwise."""
    python = [sys.executable, str(RECEIVE)]
    return {
        "tidings Rust, callback": ([delivery, "receive", "tidings callback, background thread"], True),
        "tidings Rust, Stream": ([delivery, "receive", "tidings Stream, background thread"], True),
        "tidings C, callback": ([receive_c], True),
        "tidings Python, callback": ([*python, "tidings, callback"], False),
        "tidings Python, async for": ([*python, "tidings, async for"], False),
        YARDSTICK: ([*python, "bosbase, callback"], False),
        "PocketBase JS SDK": (["node", str(NODE / "paced.js")], False),
    }


def run(
    server: Server, name: str, command: list[str], is_native: bool, events: int, pace: int
) -> dict[str, float]:
    work = "latency" if pace else "count" if is_native else "untouched"
    if is_native or name == "PocketBase JS SDK":
        command = [*command, server.url, str(events), work]
    else:
        command = [*command, work, server.url, str(events)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_nvcsw
    receiver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while server.ask("GET", "/listeners") != 1:
            if receiver.poll() is not None:
                raise SystemExit(f"{name} ended before it listened")
            time.sleep(0.05)
        if pace:
            server.write(events, pace)
        else:
            server.ask("GET", f"/burst/{events}")
        output, _ = receiver.communicate(timeout=120)
        report: dict[str, float] = json.loads(output)
        switches = resource.getrusage(resource.RUSAGE_CHILDREN).ru_nvcsw - before
        return report | {"switches_per_event": switches / events}
    finally:
        receiver.kill()
        receiver.wait()
        while server.ask("GET", "/listeners"):
            time.sleep(0.05)


def main() -> None:
    binary, delivery, receive_c, out, rounds = sys.argv[1:]
    server = Server(binary)
    rows = []
    try:
        for events, pace in ((BURST, 0), *WRITES):
            took: dict[str, list[dict[str, float]]] = {}
            for _ in range(int(rounds)):
                for name, (command, is_native) in contenders(delivery, receive_c).items():
                    took.setdefault(name, []).append(run(server, name, command, is_native, events, pace))
            what = f"{pace}/s" if pace else "burst"
            print(f"\n{what} ({events} events, median of {rounds} rounds)")
            print(
                f"{'':28}{'events/s':>10}{'cpu µs':>9}{'of bosbase':>12}{'switches':>10}{'p50 µs':>9}{'p99 µs':>9}"
            )
            for name, runs in took.items():
                figures = {key: statistics.median(run.get(key, 0.0) for run in runs) for key in runs[0]}
                pairs = zip(runs, took[YARDSTICK], strict=True)
                ratio = statistics.median(a["cpu_us_per_event"] / b["cpu_us_per_event"] for a, b in pairs)
                p50, p99 = figures.get("p50_us", 0.0), figures.get("p99_us", 0.0)
                print(
                    f"{name:28}{figures['events_per_s']:>10.0f}{figures['cpu_us_per_event']:>9.1f}{ratio:>12.2f}"
                    f"{figures['switches_per_event']:>10.2f}{p50:>9.0f}{p99:>9.0f}"
                )
                row = {"contender": name, "load": what, "events": events, "cpu_of_bosbase": round(ratio, 2)}
                rows.append(row | {key: round(value, 2) for key, value in figures.items()})
    finally:
        server.stop()
    Path(out).write_text(json.dumps({"rounds": int(rounds), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
