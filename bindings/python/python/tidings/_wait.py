"""Waiting on a thread, or on a greenlet of gevent where that has patched the standard library."""

from __future__ import annotations

import select
import time
from typing import Protocol


class Waitable(Protocol):
    """Something native that becomes ready."""

    def wait(self, timeout: float | None) -> bool:
        """Waits without the interpreter, and says whether it is ready."""
        ...

    def ring(self) -> int | None:
        """None when it is ready, else a descriptor that is readable when it is worth asking again."""
        ...


def is_patched() -> bool:
    """Whether `select` is another's: one that lets greenlets run. To that, a native wait is a busy thread."""
    return getattr(select.select, "__module__", "select") != "select"


def wait(what: Waitable, timeout: float | None) -> bool:
    """Waits until it is ready, or the time is up, which gives False. Ctrl-C is answered meanwhile."""
    if not is_patched() or not hasattr(what, "ring"):  # There is none on Windows.
        return what.wait(timeout)
    # What is wrong with the timeout is said there.
    if what.wait(timeout if timeout is not None and not timeout > 0 else 0):
        return True
    deadline = None if timeout is None else time.monotonic() + timeout
    while (descriptor := what.ring()) is not None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        select.select([descriptor], [], [], left)
    return True
