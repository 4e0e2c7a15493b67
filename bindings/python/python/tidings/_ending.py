"""The end of the interpreter.

A daemon thread that comes back to the interpreter when that is ending is unwound on the spot (before Python 3.14),
and a native frame on its stack turns this into an abort of the process. So nothing may be without the interpreter in
native code by then: all that is open is closed, which ends every wait, and the last one is waited for.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import Protocol

from . import _tidings
from .exceptions import ClosedError

# Longer than anything takes once all is closed: the process is better off late than aborted.
_PATIENCE = 10.0


class Closeable(Protocol):
    """What is to be closed before the interpreter ends."""

    def _let_go(self) -> None:
        """Closes without waiting."""

    def _close_natively(self) -> None:
        """Waits until nothing is left."""

    def _disown(self) -> None:
        """In a forked child: what the parent has is none of our business."""


_open: weakref.WeakSet[Closeable] = weakref.WeakSet()
_is_ending = False


def close_at_the_end(what: Closeable) -> None:
    """Will close it, unless it is forgotten before.

    Raises:
        ClosedError: The interpreter is ending already.
    """
    if _is_ending:
        raise ClosedError("the interpreter is ending")
    _open.add(what)


def _end() -> None:
    global _is_ending
    _is_ending = True
    left = list(_open)
    # All at once, and then each in turn.
    for what in left:
        what._let_go()
    for what in left:
        what._close_natively()
    _tidings.end()
    deadline = time.monotonic() + _PATIENCE
    while _tidings.inside() and time.monotonic() < deadline:
        time.sleep(0.001)


def _in_child() -> None:
    _tidings.forked()
    for what in list(_open):
        what._disown()
    _open.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
    _tidings.count_forks()
