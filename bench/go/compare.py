"""Processor time for each event in Go, with action and id read: this module, the C library's batches alone, and what a
program would write by hand with net/http, bufio and encoding/json.

    compare.py SENDER GO_PROGRAM BATCH OUT.json ROUNDS

SENDER is the program of bench/delivery. Receivers take turns, round after round; figures are medians of the rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

EVENTS = 200_000
YARDSTICK = "net/http, bufio, encoding/json"


def run(sender: str, command: list[str]) -> dict[str, float]:
    with subprocess.Popen([sender, "sender"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"{server.stdout.readline().strip()}/{EVENTS}/0"
            command = [*command, url, str(EVENTS)]
            output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout
            result: dict[str, float] = json.loads(output)
            return result
        finally:
            server.kill()


def main() -> None:
    sender, program, batch, out, rounds = sys.argv[1:]
    contenders = {
        "tidings Go": [program, "tidings"],
        "tidings C, packed batches": [batch],
        YARDSTICK: [program, "net/http"],
    }
    took: dict[str, list[dict[str, float]]] = {}
    for _ in range(int(rounds)):
        for name, command in contenders.items():
            took.setdefault(name, []).append(run(sender, command))
    print(f"\nGo ({EVENTS} events, action and id read, median of {rounds} rounds)")
    print(f"{'':34}{'events/s':>10}{'cpu µs':>9}{'of by hand':>12}")
    rows = []
    for name, runs in took.items():
        figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        pairs = zip(runs, took[YARDSTICK], strict=True)
        ratio = statistics.median(a["cpu_us_per_event"] / b["cpu_us_per_event"] for a, b in pairs)
        print(f"{name:34}{figures['events_per_s']:>10.0f}{figures['cpu_us_per_event']:>9.2f}{ratio:>12.2f}")
        rows.append(
            {"contender": name, "of_by_hand": round(ratio, 2)}
            | {key: round(value, 2) for key, value in figures.items()}
        )
    Path(out).write_text(json.dumps({"rounds": int(rounds), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
