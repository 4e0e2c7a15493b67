"""The thread that runs the callbacks of a sync client, and writes its log."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from . import _ending, _tidings
from ._arguments import valid
from ._handlers import EventCallback, Handlers, Provider
from ._journal import Journal

Item: TypeAlias = "tuple[int, Any, Any]"
Told: TypeAlias = Callable[[], bool]
"""What is called when a view has changed. False: it has ended."""

# How much waits here at most, taken from the native queues, which have the limits and the counters.
_BACKLOG = 256
# How long the turn of one subscription is, as in the core. Its last event may take longer.
_TURN = 0.005
# What comes in turns.
_IN_TURNS = (_tidings.EVENT, _tidings.NOTICE, _tidings.ENDED, _tidings.CHANGED)
# How often questions for a token are looked after while the thread waits.
_SLICE = 0.05


class Dispatcher:
    """Takes what the native client has queued, and calls whom it is for.

    The thread waits in pure Python and takes without waiting, so no native frame is on its stack when the
    interpreter ends under it. It is started with the first subscription, callback or handler.

    Subscriptions and views take turns, of a time and not of a number: the events of one whose callback is slow keep
    the others waiting for one call, not for all of them.
    """

    def __init__(
        self,
        native: _tidings.Client,
        handlers: Handlers,
        journal: Journal,
        provider: Provider | None,
        changed: Callable[[], None],
    ) -> None:
        self.native = native
        self._handlers = handlers
        self._journal = journal
        self._provider = provider
        # Is called when the client may have become somebody else.
        self._changed = changed
        # Reentrant, since signal handlers and finalizers may run while it is held.
        self._lock = threading.RLock()
        self._callbacks: dict[int, EventCallback] = {}
        # The views with callbacks: each is told that it has changed, and takes and calls by itself.
        self._views: dict[int, Told] = {}
        # Subscriptions that the server has not answered yet.
        self._entering: dict[int, threading.Event] = {}
        # Whether nothing refers to the client any more. The callbacks of a program that keeps neither the
        # client nor a handle are still called, and the native client closes with the last of them.
        self._is_forgotten = False
        self._is_replaced = False
        self._thread: threading.Thread | None = None
        self._is_calling = False
        # What was taken and not delivered: of the client, and of each subscription. The one that stands first has
        # the next turn.
        self._news: deque[Item] = deque()
        self._turns: dict[int, deque[Item]] = {}
        self._backlog = 0
        # How many changes of the identity there were when it was taken.
        self._forgotten = 0

    def start(self) -> None:
        """Starts the thread, unless it runs."""
        with self._lock:
            if self._thread is None:
                name = f"tidings-callbacks {self._journal.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def ask(self, ask: Callable[[], tuple[int, _tidings.Call | None]]) -> tuple[int, _tidings.Call | None]:
        """Asks for a subscription. Its events may come before `ask` returns; they wait for `enter` or
        `forget`."""
        self.start()
        with self._lock:
            id, call = ask()
            self._entering[id] = threading.Event()
        return id, call

    def enter(self, id: int, callback: EventCallback) -> None:
        """Gives a subscription its callback.

        Not before the server has answered: programs count on it that what stands right below `subscribe` is
        there when the callback is called first.
        """
        with self._lock:
            self._callbacks[id] = callback
            entering = self._entering.pop(id)
        entering.set()

    def enter_view(self, id: int, view: Told) -> None:
        """From now on a view is told that it has changed."""
        self.start()
        with self._lock:
            self._views[id] = view

    def forget(self, id: int) -> None:
        """Nothing more is delivered to this subscription or view, whatever was taken already."""
        with self._lock:
            callback = self._callbacks.pop(id, None)
            view = self._views.pop(id, None)
            entering = self._entering.pop(id, None)
            is_over = self._is_forgotten and not self._callbacks and not self._views
        # What goes here may be the host's: outside of the lock it can do no harm.
        del callback, view
        if entering is not None:
            entering.set()
        if is_over:
            self._let_go()

    def unsubscribe(self, id: int) -> None:
        """Ends a subscription, and delivers nothing more to it."""
        self.native.unsubscribe(id)
        self.forget(id)

    def forget_ended(self) -> None:
        """The same for all that have ended."""
        with self._lock:
            ids = list(self._callbacks)
        for id in ids:
            if self.native.subscription_state(id) == "ended":
                self.forget(id)

    def outlive(self) -> bool:
        """Nothing refers to the client any more: whether this goes on without it."""
        with self._lock:
            if not (self._callbacks or self._views) or self._is_replaced:
                return False
            self._is_forgotten = True
        _ending.close_at_the_end(self)
        return True

    def replace(self) -> None:
        """The cell of a notebook that made the client runs again."""
        with self._lock:
            self._is_replaced = True
            is_over = self._is_forgotten
        if is_over:
            self._let_go()

    @property
    def is_current(self) -> bool:
        """Whether this is the thread of the callbacks."""
        return self._thread is threading.current_thread()

    def attend(self) -> None:
        """Answers questions for a token while a callback waits for a call, which may wait for just that
        token."""
        while self._provider is not None and (batch := self.native.take(1)):
            backlog = self._backlog
            self._sort(batch)
            # What is of the client comes first, so there is none of it behind an event.
            if self._backlog > backlog and batch[0][0] != _tidings.CHANGED:
                break

    def silence(self) -> None:
        """Calls nobody any more."""
        with self._lock:
            views, self._views = self._views, {}
            self._callbacks.clear()
        # Their callbacks are the host's, as above.
        views.clear()

    def end(self) -> None:
        """After the client is closed: waits for the thread as well, but not for a callback that runs."""
        self.silence()
        if self._thread is not None and not self.is_current and not self._is_calling:
            self._thread.join(1)

    def _let_go(self) -> None:
        self.native.close(wait=False)
        self.silence()

    def _close_natively(self) -> None:
        self.native.close()

    def _disown(self) -> None:
        """In a forked child, which has no such thread, and may have the lock as that thread held it."""
        self._lock = threading.RLock()
        self._callbacks = {}
        self._views = {}
        self._entering = {}

    def _run(self) -> None:
        wait = self._wait()
        while (batch := self._take()) is not None:
            self._sort(batch)
            del batch
            if not self._step():
                wait()
        self.native.release()
        self.silence()

    def _take(self) -> list[Item] | None:
        room = _BACKLOG - self._backlog
        return self.native.take(room) if room > 0 else []

    def _wait(self) -> Callable[[], object]:
        descriptor = self.native.fileno()
        if descriptor < 0:
            return lambda: self.native.wait(None)
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return lambda: poll.poll()
        return lambda: select.select([descriptor], [], [])

    def _sort(self, batch: list[Item]) -> None:
        """Puts each item where it waits for its turn. Questions for a token do not wait: a callback may."""
        if batch and (forgotten := self.native.forgotten()) != self._forgotten:
            self._forgotten = forgotten
            self._forget_events()
        turns = self._turns
        for item in batch:
            kind, what, _ = item
            if kind in _IN_TURNS:
                turn = turns.get(what)
                if turn is None:
                    turn = turns[what] = deque()
                turn.append(item)
                self._backlog += 1
            elif kind == _tidings.TOKEN_WANTED:
                self._answer(what)
            else:
                self._news.append(item)

    def _forget_events(self) -> None:
        """The client is somebody else: what was taken before is not for who it is now, but for what the client says."""
        for turn in self._turns.values():
            kept = [item for item in turn if item[0] != _tidings.EVENT]
            self._backlog -= len(turn) - len(kept)
            turn.clear()
            turn.extend(kept)

    def _step(self) -> bool:
        """Delivers what is of the client, or one turn of one subscription; False when nothing waits."""
        if not self._news and not self._turns:
            return False
        self._is_calling = True
        try:
            if self._news:
                kind, what, value = self._news.popleft()
                self._report(kind, what, value)
            else:
                self._turn()
        finally:
            self._is_calling = False
        return True

    def _turn(self) -> None:
        id, turn = next(iter(self._turns.items()))
        native, callbacks, clock = self.native, self._callbacks, time.monotonic
        ends = clock() + _TURN
        while turn:
            kind, _, event = turn.popleft()
            self._backlog -= 1
            if kind == _tidings.ENDED:
                self._late(id)
                self.forget(id)
            elif kind == _tidings.CHANGED:
                if (view := self._views.get(id)) is not None and not view():
                    self.forget(id)
            elif (callback := callbacks.get(id) or self._late(id)) is not None:
                if kind == _tidings.NOTICE:
                    self._journal.notice(event)
                # What was taken for the user that the client was goes to nobody.
                if kind == _tidings.NOTICE or native.forgotten() == self._forgotten:
                    try:
                        result = callback(event)
                        if result is not None:
                            self._handlers.settle(result)
                    except BaseException as error:
                        self._handlers.failed(error, event)
            if clock() >= ends:
                break
        # What was delivered must not live until something else comes.
        event = view = None
        del self._turns[id]
        if turn:
            self._turns[id] = turn

    def _late(self, id: int) -> EventCallback | None:
        """The callback of a subscription that is being entered into the table right now."""
        with self._lock:
            entering = self._entering.get(id)
        while entering is not None and not entering.wait(_SLICE):
            self.attend()
        return self._callbacks.get(id)

    def _report(self, kind: int, what: Any, value: Any) -> None:
        if kind == _tidings.STATE:
            self._journal.state(what)
            self._changed()
            self._handlers.call(self._handlers.on_state, what)
        elif kind == _tidings.DISCONNECTED:
            self._journal.disconnected(what)
            self._handlers.call(self._handlers.on_disconnect, what)
        elif kind == _tidings.DENIED:
            self._journal.denied(what, value)
        elif kind == _tidings.PARKED:
            self._journal.parked(what, value)

    def _answer(self, request: _tidings.TokenRequest) -> None:
        """Asks the host on a thread of its own: it may take its time, and may use this client's callbacks."""
        provider, journal = self._provider, self._journal

        def ask() -> None:
            try:
                assert provider is not None
                token = provider()
                if token is not None and not isinstance(token, str):
                    raise TypeError(f"a token provider returns a str or None, not {type(token).__name__}")
                if token is not None:
                    valid("token", token)
            except BaseException as error:
                journal.log(logging.ERROR, "the token provider raised", error=error)
                request.fail(f"{type(error).__name__}: {error}")
            else:
                request.answer(token)

        threading.Thread(target=ask, name=f"tidings-token {journal.name}", daemon=True).start()
