"""Draws bench/results/*.json: `python bench/plot.py`. The same figures make the same bytes."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "tidings"
matplotlib.rcParams["font.family"] = "DejaVu Sans"

import matplotlib.pyplot as plt  # noqa: E402

RESULTS = Path(__file__).parent / "results"
COLOURS = {"tidings": "#1b6ca8", "peer": "#c9772c", "reference": "#9a9a9a"}


def results(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def save(figure, name):
    figure.tight_layout()
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def bars(axes, names, values, colours, text):
    places = range(len(names))
    axes.barh(places, values, color=colours)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.bar_label(axes.containers[0], [text(value) for value in values], padding=3, fontsize=8)
    axes.margins(x=0.14)


def delivery():
    data = results("delivery")
    if data is None:
        return
    works = {
        "count": "events counted, payload untouched",
        "head": "action and record id read",
        "record": "record parsed",
    }
    figure, panels = plt.subplots(1, 3, figsize=(15, 5), sharey=True)
    # One order in all panels; who is missing in one has no bar there.
    names = [row["contender"] for row in data["rows"] if row["work"] == "count"]
    names = [name for name in names if "TCP" not in name]
    for axes, (work, title) in zip(panels, works.items(), strict=False):
        rows = {row["contender"]: row for row in data["rows"] if row["work"] == work}
        kinds = {row["contender"]: row["kind"] for row in data["rows"]}
        values = [rows[name]["events_per_s"] / 1000 if name in rows else 0 for name in names]
        bars(axes, names, values, [COLOURS[kinds[name]] for name in names], lambda v: f"{v:.0f}" if v else "")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("thousand events per second")
    save(figure, "delivery")

    figure, axes = plt.subplots(figsize=(9, 5))
    rows = [row for row in data["rows"] if row["work"] == "latency"]
    for place, row in enumerate(rows):
        axes.plot([row["p50_us"], row["p99_us"]], [place, place], color=COLOURS[row["kind"]], linewidth=3)
        axes.plot(row["p50_us"], place, "o", color=COLOURS[row["kind"]])
    axes.set_yticks(range(len(rows)), [row["contender"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("microseconds from the sender's write, p50 to p99, at 4,000 events per second")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "latency")


def fanout():
    data = results("fanout")
    if data is None:
        return
    names = [f"{row['topics']:,} × {row['listeners_per_topic']:,}" for row in data["rows"]]
    figure, (time, memory) = plt.subplots(1, 2, figsize=(10, 2.6), sharey=True)
    colours = [COLOURS["tidings"]] * len(names)
    bars(time, names, [row["ns_per_delivery"] for row in data["rows"]], colours, lambda v: f"{v:.0f}")
    time.set_ylabel("topics × listeners")
    time.set_xscale("log")
    time.set_xlabel("ns for each event and listener")
    bars(
        memory,
        names,
        [row["bytes_per_idle_subscription"] for row in data["rows"]],
        colours,
        lambda v: f"{v:.0f}",
    )
    memory.set_xlabel("bytes for each idle subscription")
    save(figure, "fanout")


def storm():
    data = results("storm")
    if data is None:
        return
    figure, (posts, back) = plt.subplots(1, 2, figsize=(11, 3))
    rows = data["storm"]
    names = [f"{row['contender']}, {row['topics']:,}" for row in rows]
    colours = [COLOURS["tidings" if row["contender"] == "tidings" else "peer"] for row in rows]
    bars(posts, names, [row["posts"] for row in rows], colours, lambda v: f"{v:.0f}")
    for place, row in enumerate(rows):
        if row["seconds"] is None:
            posts.text(1.6 * row["posts"] + 2, place, "   refused", va="center", fontsize=8)
    posts.set_xscale("log")
    posts.set_xlabel("POSTs until all topics were acknowledged")
    for name in dict.fromkeys(row["contender"] for row in data["recovery"]):
        rows = [row for row in data["recovery"] if row["contender"] == name]
        times = [row["until_tried_s"] + row["until_back_s"] for row in rows]
        back.plot([row["away_s"] for row in rows], times, "o-", label=name)
    back.set_xlabel("seconds that the server was away")
    back.set_ylabel("seconds until 1,000\ntopics are back")
    back.spines[["top", "right"]].set_visible(False)
    back.legend(fontsize=8)
    save(figure, "storm")


def decoder():
    data = results("decoder")
    if data is None:
        return
    rows = data["rows"] if isinstance(data, dict) else data
    chunks = list(dict.fromkeys(row["chunk"] for row in rows))
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    figure, panels = plt.subplots(1, len(chunks), figsize=(4 * len(chunks), 5), sharey=True, squeeze=False)
    for axes, chunk in zip(panels[0], chunks, strict=False):
        for contender in contenders:
            found = {
                row["corpus"]: row["mb_per_s"]
                for row in rows
                if (row["chunk"], row["contender"]) == (chunk, contender)
            }
            values = [found.get(corpus) or float("nan") for corpus in corpora]
            own = contender.startswith("tidings")
            axes.plot(
                values, range(len(corpora)), "o" if own else ".", label=contender, zorder=3 if own else 2
            )
        axes.set_xscale("log")
        axes.set_title(str(chunk), fontsize=10)
        axes.set_xlabel("MB/s")
        axes.grid(axis="y", alpha=0.3)
    panels[0][0].set_yticks(range(len(corpora)), corpora)
    panels[0][0].invert_yaxis()
    panels[0][-1].legend(fontsize=7)
    save(figure, "decoder")


def python():
    data = results("python")
    if data is None:
        return
    works = {"untouched": "events counted, payload untouched", "record": 'event["record"] read'}
    figure, panels = plt.subplots(1, 2, figsize=(10, 2.2), sharey=True)
    for axes, (work, title) in zip(panels, works.items(), strict=False):
        rows = [row for row in data["rows"] if row["work"] == work]
        names = [row["contender"] for row in rows]
        colours = [COLOURS["tidings" if name.startswith("tidings") else "peer"] for name in names]
        bars(axes, names, [row["times_bosbase_per_cpu"] for row in rows], colours, lambda v: f"{v:.1f}")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("events per CPU second, times bosbase")
    save(figure, "python")


for draw in (delivery, fanout, storm, decoder, python):
    draw()
