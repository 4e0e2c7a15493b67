"""Events per second, processor time for each, and memory: the Python package beside what a user would pick instead.

    compare.py SENDER OUT.json ROUNDS [EVENTS]

SENDER is the program of bench/delivery, which writes events that were rendered beforehand. Each contender receives them in a
process of its own; they take turns, round after round, and figures are the medians of the rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

from receive import CONTENDERS

RECEIVE = Path(__file__).with_name("receive.py")
YARDSTICK = "bosbase, callback"
WORKS = ("untouched", "record")


def run(sender: str, contender: str, work: str, events: int) -> dict[str, float]:
    server = subprocess.Popen([sender, "sender"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"{server.stdout.readline().strip()}/{events}/0"
        command = [sys.executable, str(RECEIVE), contender, work, url, str(events)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout
        result: dict[str, float] = json.loads(output)
        return result
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{contender}, {work}:\n{error.stderr}") from error
    finally:
        server.kill()
        server.wait()


def main() -> None:
    sender, out, rounds, *rest = sys.argv[1:]
    events = int(rest[0]) if rest else 60_000
    rows = []
    for work in WORKS:
        took: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(int(rounds)):
            for name, runs in took.items():
                runs.append(run(sender, name, work, events))
        print(f"\n{work} ({events} events, median of {rounds} rounds)")
        print(f"{'':24}{'events/s':>12}{'cpu µs':>10}{'events per cpu s, times bosbase':>34}{'MB':>8}")
        for name, runs in took.items():
            figures = {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
            ratios = (
                theirs["cpu_us_per_event"] / ours["cpu_us_per_event"]
                for ours, theirs in zip(runs, took[YARDSTICK], strict=True)
            )
            ratio = statistics.median(ratios)
            print(
                f"{name:24}{figures['events_per_s']:>12.0f}{figures['cpu_us_per_event']:>10.2f}"
                f"{ratio:>34.2f}{figures['peak_rss_mb']:>8.0f}"
            )
            row = {
                "contender": name,
                "work": work,
                "events": events,
                "times_bosbase_per_cpu": round(ratio, 2),
            }
            rows.append(row | {figure: round(value, 2) for figure, value in figures.items()})
    Path(out).write_text(json.dumps({"rounds": int(rounds), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
