"""The record of an event that has none."""

from __future__ import annotations

from typing import Any


class NoRecord(dict[str, Any]):
    """An empty dict whose every field reads as None.

    Notices (a gap, lost events, a refusal) come to the same callbacks as changes. One written for another SDK, which knows no
    notices, then reads ``event["record"]["title"]`` without an error, and finds an action that it does not know.
    """

    def __missing__(self, key: str) -> None:
        return None
