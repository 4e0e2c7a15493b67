"""``python -m tidings tail URL TOPIC…``: prints events."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import queue
import sys
from collections.abc import Sequence
from typing import Any

from . import Client, Event, __version__
from .exceptions import ArgumentError, ClientResponseError, TidingsError

# As the shell says it of a program that Ctrl-C has ended.
_INTERRUPTED = 130
# What waits for a slow reader of ours; more waits in the client, which counts what it loses.
_AHEAD = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns what the process is to end with."""
    options = _parser().parse_args(arguments)
    try:
        return tail(options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who has read us has seen enough. What the interpreter flushes at its end must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ClientResponseError as error:
        return _complain(f"{error} (status {error.status})" if error.status else str(error))
    except TidingsError as error:
        return _complain(str(error))


def tail(options: argparse.Namespace) -> int:
    """Prints events until the last subscription ends."""
    events: queue.Queue[Event] = queue.Queue(_AHEAD)
    with Client(options.url, token=_token(options)) as client:
        for topic in options.topics:
            client.realtime.subscribe(topic, events.put, query=_query(options), timeout=options.timeout)
        left = len(options.topics)
        while left:
            event = events.get()
            if event.action == "refused":
                _complain(f"{event.topic.partition('?')[0]}: {event.error}")
                left -= 1
            else:
                print(_json(event) if options.json else _line(event), flush=True)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tidings", description="Realtime events on the command line."
    )
    parser.add_argument("--version", action="version", version=f"tidings {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "tail",
        help="print events as they come",
        description="Prints events as they come.",
        # Or else --token would stand for --token-file.
        allow_abbrev=False,
    )
    command.add_argument("url", metavar="URL", help="the server, e.g. http://127.0.0.1:8090")
    command.add_argument(
        "topics", metavar="TOPIC", nargs="+", help="e.g. 'posts/*', posts/RECORD_ID or a raw topic"
    )
    command.add_argument("--json", action="store_true", help="one JSON object for each event")
    tokens = command.add_mutually_exclusive_group()
    tokens.add_argument(
        "--token-file",
        metavar="FILE",
        help="read the token to sign in with from this file, or from standard input if it is -; "
        "by default it is the environment's TIDINGS_TOKEN",
    )
    tokens.add_argument("--ask-token", action="store_true", help="prompt for the token")
    tokens.add_argument("--token", action=_NotHere, help=argparse.SUPPRESS)
    command.add_argument("--filter", help="which records to tell of")
    command.add_argument("--expand", help="which relations to put into the records")
    command.add_argument("--timeout", type=float, help="how many seconds to wait for the server's word")
    return parser


class _NotHere(argparse.Action):
    """Refuses a token on the command line, without repeating it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        parser.error(
            "a token on the command line can be read by every user of the machine; "
            "set TIDINGS_TOKEN, or use --token-file or --ask-token"
        )


def _token(options: argparse.Namespace) -> str | None:
    """The token to sign in with; None for a guest."""
    if options.ask_token:
        token = getpass.getpass("Token: ")
    elif options.token_file == "-":
        token = sys.stdin.readline()
    elif options.token_file is not None:
        try:
            with open(options.token_file, encoding="utf-8") as file:
                token = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ArgumentError(f"cannot read the token from {options.token_file!r}: {reason}") from None
    else:
        return os.environ.get("TIDINGS_TOKEN") or None
    if not token.strip():
        raise ArgumentError("invalid token: it is empty; leave the option out to be a guest")
    return token.strip()


def _query(options: argparse.Namespace) -> dict[str, str | None]:
    return {"filter": options.filter, "expand": options.expand}


def _line(event: Event) -> str:
    topic = event.topic.partition("?")[0]
    if event.is_notice:
        told = (
            f"{event.lagged} events"
            if event.lagged
            else f"{event.gap_seconds or 0:.1f} s: {event.gap_reason}"
        )
        return f"{event.action} {topic} {told}"
    record = _record(event)
    content = json.dumps(record, ensure_ascii=False) if record else event.raw.decode()
    return " ".join(part for part in (event.action, topic, event.record_id, content) if part)


def _json(event: Event) -> str:
    told: dict[str, Any] = {"topic": event.topic.partition("?")[0], "action": event.action}
    if event.action == "lagged":
        told["lost"] = event.lagged
    elif event.action == "gap":
        told |= {"seconds": event.gap_seconds, "reason": event.gap_reason}
    elif record := _record(event):
        told["record"] = record
    else:
        try:
            told["data"] = event.json()
        except (TidingsError, ValueError):
            told["data"] = event.raw.decode()
    try:
        return json.dumps(told, ensure_ascii=False)
    except RecursionError:
        # Python writes less deep than it reads.
        told.pop("record", None)
        return json.dumps(told | {"data": event.raw.decode()}, ensure_ascii=False)


def _record(event: Event) -> dict[str, Any]:
    try:
        return event.record
    except TidingsError:
        return {}  # What cannot be read is printed as it came.


def _complain(text: str) -> int:
    print(f"tidings: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
