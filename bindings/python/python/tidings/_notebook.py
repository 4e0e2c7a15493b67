"""A cell of a notebook that is run again.

A client with callbacks goes on when it is forgotten, and so the callbacks of a cell's first run would go on beside those
of its second. In IPython, a statement that makes a client replaces the client that it made when it ran before: once
nothing refers to that one any more, it is closed, callbacks or not.
"""

from __future__ import annotations

import sys
import weakref
from types import CodeType
from typing import Any, Protocol


class Replaceable(Protocol):
    """What lives on when a client is forgotten."""

    def replace(self) -> None:
        """A client made by the same statement takes its place."""


# The statement → in which run of which cell it was run last, and what it made then.
_made: dict[tuple[object, ...], tuple[int, weakref.WeakSet[Replaceable]]] = {}


def made(what: Replaceable) -> None:
    """Replaces what the same statement made in an earlier run of its cell. Does nothing outside of IPython."""
    shell = _shell()
    statement = _statement(shell)
    if statement is None:
        return
    run = shell.execution_count
    earlier, siblings = _made.get(statement, (run, weakref.WeakSet()))
    if earlier != run:
        for one in list(siblings):
            one.replace()
        siblings = weakref.WeakSet()
    siblings.add(what)
    _made[statement] = (run, siblings)


def _shell() -> Any:
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _statement(shell: Any) -> tuple[object, ...] | None:
    """The statement of a cell that is being run, if one is."""
    if shell is None:
        return None
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is shell.user_ns:
            return _text(frame.f_code)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _text(code: CodeType) -> tuple[object, ...]:
    """What two runs of one statement have in common, however the cells are named."""
    constants = tuple(_text(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts)
    return (code.co_code, code.co_names, constants)
