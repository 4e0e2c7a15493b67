"""Feature flags: all of them first, then each change, with a token that expires and a program that restarts."""

from collections.abc import Callable
from typing import Any

from tidings import EventSource


def follow(url: str, id: str, token: Callable[[], str], changed: Callable[[str, Any, str], None]) -> None:
    """Calls ``changed(flag, value, id)``. Begins after ``id``, if the program saved one."""
    with EventSource(url, last_event_id=id, token_provider=token, read_timeout=300) as flags:
        for message in flags:
            # `put` brings all flags, `patch` those that have changed.
            for flag, value in message.json().items():
                changed(flag, value, message.id)
