"""The thread that runs the callbacks of a sync client."""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from . import _tidings
from ._handlers import (
    EventCallback,
    Handlers,
    Provider,
    log_disconnected,
    log_notice,
    log_state,
    logger,
)

Item: TypeAlias = "tuple[int, Any, Any]"

# How much is taken at a time.
_BATCH = 256
# How often questions for a token are looked after while the thread waits.
_SLICE = 0.05


class Dispatcher:
    """Takes what the native client has queued, and calls whom it is for.

    The thread waits in pure Python and takes without waiting, so no native frame is on its stack when the
    interpreter ends under it. It is started with the first callback or handler.
    """

    def __init__(
        self,
        native: _tidings.Client,
        handlers: Handlers,
        provider: Provider | None,
        changed: Callable[[], None],
    ) -> None:
        self.native = native
        self._handlers = handlers
        self._provider = provider
        # Is called when the client may have become somebody else.
        self._changed = changed
        # Reentrant, since signal handlers and finalizers may run while it is held.
        self._lock = threading.RLock()
        self._callbacks: dict[int, EventCallback] = {}
        # Subscriptions that the server has not answered yet.
        self._entering: dict[int, threading.Event] = {}
        # The client, while there are callbacks: a program that keeps neither the client nor the handle goes
        # on hearing.
        self._kept: object = None
        self._thread: threading.Thread | None = None
        self._is_calling = False
        # Taken out of turn, see `attend`.
        self._ahead: deque[Item] = deque()
        # What the native client said when these, and what is being delivered, were taken.
        self._forgotten_ahead = self._forgotten = 0

    def start(self) -> None:
        """Starts the thread, unless it runs."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="tidings-callbacks", daemon=True)
                self._thread.start()

    def ask(self, ask: Callable[[], tuple[int, _tidings.Call | None]]) -> tuple[int, _tidings.Call | None]:
        """Asks for a subscription. Its events may come before `ask` returns; they wait for `enter` or
        `forget`."""
        self.start()
        with self._lock:
            id, call = ask()
            self._entering[id] = threading.Event()
        return id, call

    def enter(self, id: int, client: object, callback: EventCallback) -> None:
        """Gives a subscription its callback.

        Not before the server's word: programs count on it that what stands right below `subscribe` is there
        when the callback is called first.
        """
        with self._lock:
            self._callbacks[id] = callback
            self._kept = client
            entering = self._entering.pop(id)
        entering.set()

    def forget(self, id: int) -> None:
        """Nothing more is delivered to this subscription, whatever was taken already."""
        with self._lock:
            self._callbacks.pop(id, None)
            entering = self._entering.pop(id, None)
            # What goes here may close the client: outside of the lock it can do no harm.
            kept, self._kept = self._kept, self._kept if self._callbacks else None
        del kept
        if entering is not None:
            entering.set()

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

    @property
    def is_current(self) -> bool:
        """Whether this is the thread of the callbacks."""
        return self._thread is threading.current_thread()

    def attend(self) -> None:
        """Answers questions for a token while a callback waits for a call, which may wait for just that
        token."""
        while self._provider is not None and (batch := self.native.take(1)):
            item = batch[0]
            if (forgotten := self.native.forgotten()) != self._forgotten_ahead:
                self._forgotten_ahead = forgotten
                kept = [old for old in self._ahead if old[0] != _tidings.EVENT]
                self._ahead = deque(kept)
            if item[0] == _tidings.TOKEN_WANTED:
                self._answer(item[1])
                continue
            self._ahead.append(item)
            # Notices come first, so there are none behind an event.
            if item[0] in (_tidings.EVENT, _tidings.NOTICE, _tidings.ENDED):
                break

    def silence(self) -> None:
        """Calls nobody any more."""
        with self._lock:
            self._callbacks.clear()

    def end(self) -> None:
        """After the client is closed: waits for the thread as well, but not for a callback that runs."""
        self.silence()
        if self._thread is not None and not self.is_current and not self._is_calling:
            self._thread.join(1)

    def disown(self) -> None:
        """In a forked child, which has no such thread, and may have the lock as that thread held it."""
        self._lock = threading.RLock()
        self._callbacks = {}
        self._entering = {}
        self._kept = None

    def _run(self) -> None:
        wait = self._wait()
        while True:
            if self._ahead:
                items = list(self._ahead)
                self._ahead.clear()
                self._forgotten = self._forgotten_ahead
            else:
                batch = self.native.take(_BATCH)
                self._forgotten = self.native.forgotten()
                if batch is None:
                    break
                if not batch:
                    wait()
                    continue
                items = batch
                del batch
            self._deliver(items)
            # What was delivered must not live until something else comes.
            del items
        self.native.release()
        with self._lock:
            self._callbacks.clear()
            kept, self._kept = self._kept, None
        del kept

    def _wait(self) -> Callable[[], object]:
        descriptor = self.native.fileno()
        if descriptor < 0:
            return lambda: self.native.wait(None)
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return lambda: poll.poll()
        return lambda: select.select([descriptor], [], [])

    def _deliver(self, items: list[Item]) -> None:
        if self._provider is not None:
            # Before any callback, which may wait for it.
            for kind, what, _ in items:
                if kind == _tidings.TOKEN_WANTED:
                    self._answer(what)
        callbacks = self._callbacks
        self._is_calling = True
        for kind, what, payload in items:
            if kind in (_tidings.EVENT, _tidings.NOTICE):
                callback = callbacks.get(what) or self._late(what)
                if callback is None:
                    continue
                if kind == _tidings.NOTICE:
                    log_notice(payload)
                elif self.native.forgotten() != self._forgotten:
                    # Taken for the user that the client was.
                    continue
                try:
                    callback(payload)
                except BaseException as error:
                    self._handlers.failed(error, payload)
            else:
                self._notice(kind, what, payload)
        self._is_calling = False

    def _late(self, id: int) -> EventCallback | None:
        """The callback of a subscription that is being entered into the table right now."""
        with self._lock:
            entering = self._entering.get(id)
        while entering is not None and not entering.wait(_SLICE):
            self.attend()
        return self._callbacks.get(id)

    def _notice(self, kind: int, what: Any, payload: Any) -> None:
        if kind == _tidings.ENDED:
            self._late(what)
            self.forget(what)
        elif kind == _tidings.STATE:
            log_state(what)
            self._changed()
            self._tell(self._handlers.on_state, what)
        elif kind == _tidings.DISCONNECTED:
            log_disconnected(what)
            self._tell(self._handlers.on_disconnect, what)

    def _tell(self, handler: Callable[[Any], object] | None, what: Any) -> None:
        if handler is None:
            return
        try:
            handler(what)
        except BaseException as error:
            self._handlers.failed(error)

    def _answer(self, request: _tidings.TokenRequest) -> None:
        """Asks the host on a thread of its own: it may take its time, and may use this client's callbacks."""
        provider = self._provider

        def ask() -> None:
            try:
                assert provider is not None
                token = provider()
                if token is not None and not isinstance(token, str):
                    raise TypeError(f"a token provider gives a str or None, not {type(token).__name__}")
            except BaseException as error:
                logger.error("the token provider raised", exc_info=error)
                request.fail(f"{type(error).__name__}: {error}")
            else:
                request.answer(token)

        threading.Thread(target=ask, name="tidings-token", daemon=True).start()
