"""The end of the interpreter.

A daemon thread that asks for the interpreter when that is ending is unwound on the spot (before Python 3.14),
and a native frame on its stack turns this into an abort of the process. So nothing may wait in native code by
then: all that is open is closed, which ends every wait, and the last wait is waited for.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from .exceptions import ClosedError, ForkedError

T = TypeVar("T")

# As long as a close may take.
_PATIENCE = 1.0


class Closeable(Protocol):
    """What is to be closed before the interpreter ends."""

    def _let_go(self) -> None:
        """Closes without waiting."""

    def _close_natively(self) -> None:
        """Waits until nothing is left."""

    def _disown(self) -> None:
        """In a forked child: what the parent has is none of our business."""


_open: weakref.WeakSet[Closeable] = weakref.WeakSet()
_lock = threading.RLock()
_inside = 0
_is_ending = False
_all_is_closed = False


def close_at_the_end(what: Closeable) -> None:
    """Will close it, unless it is forgotten before.

    Raises:
        ClosedError: The interpreter is ending already.
    """
    if _is_ending:
        raise ClosedError("the interpreter is ending")
    _open.add(what)


def wait(ready: Callable[[float | None], bool], timeout: float | None) -> bool:
    """Waits in native code, and says whether it has come.

    Raises:
        ClosedError: The interpreter is ending.
    """
    if not _all_is_closed:
        return inside(lambda: ready(timeout))
    # What has ended says so without letting go of the interpreter.
    if ready(0):
        return True
    raise ClosedError("the interpreter is ending")


def inside(function: Callable[[], T]) -> T:
    """Runs what lets go of the interpreter in native code.

    Raises:
        ClosedError: The interpreter is ending.
    """
    global _inside
    with _lock:
        if _all_is_closed:
            raise ClosedError("the interpreter is ending")
        _inside += 1
    try:
        return function()
    finally:
        with _lock:
            _inside -= 1


def _end() -> None:
    global _all_is_closed, _is_ending
    _is_ending = True
    left = list(_open)
    # All at once, and then each in turn.
    for what in left:
        what._let_go()
    for what in left:
        with contextlib.suppress(ForkedError):
            what._close_natively()
    _all_is_closed = True
    deadline = time.monotonic() + _PATIENCE
    while _inside and time.monotonic() < deadline:
        time.sleep(0.001)


def _in_child() -> None:
    global _lock, _inside
    # Those who have held it or waited are not here.
    _lock = threading.RLock()
    _inside = 0
    for what in list(_open):
        what._disown()
    _open.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
