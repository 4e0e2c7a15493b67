"""The native part: types across the border, and nothing decided.

No method here calls back into Python from another thread. What takes time is a `Call`: wait for it (Ctrl-C is answered), or
poll it with a number that the queue of the client then names when it is worth polling again.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, final

from ._event import Action, Event, GapReason

__all__ = [
    "CHANGED",
    "DENIED",
    "DISCONNECTED",
    "ENDED",
    "EVENT",
    "NOTICE",
    "OVERFLOWS",
    "PARKED",
    "STATE",
    "TOKEN_WANTED",
    "WOKEN",
    "Call",
    "Client",
    "ConnectQuestion",
    "EventSource",
    "Hub",
    "Pages",
    "RawEvent",
    "Records",
    "Rows",
    "State",
    "StatusQuestion",
    "Subscription",
    "TokenRequest",
    "View",
    "__version__",
    "command",
    "count_forks",
    "end",
    "filter",
    "forked",
    "inside",
    "parse",
]

__version__: Final[str]

# What an item of `Client.take` is: the first of its three.
EVENT: Final = 0  # (EVENT, subscription id, Event)
ENDED: Final = 1  # (ENDED, subscription id, BaseException | None); the last of its subscription
STATE: Final = 2  # (STATE, State, None)
DISCONNECTED: Final = 3  # (DISCONNECTED, list of topics still wanted, None)
TOKEN_WANTED: Final = 4  # (TOKEN_WANTED, TokenRequest, None)
WOKEN: Final = 5  # (WOKEN, number, None)
NOTICE: Final = 6  # (NOTICE, subscription id, Event): one that the client made
DENIED: Final = 7  # (DENIED, topic, BaseException): it is acknowledged, and no event can come
PARKED: Final = 8  # (PARKED, topic, BaseException): it is refused for now, and submitted again
CHANGED: Final = 9  # (CHANGED, id, None): the view of `watch_queued` has something to take, or has ended

# The names of what a full queue can do, as the core has them.
OVERFLOWS: Final[tuple[str, ...]]

@final
class RawEvent:
    """What the core knows of an event; `tidings.Event` is the dict over it, made here."""

    @property
    def topic(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def action(self) -> Action: ...
    @property
    def record_id(self) -> str | None: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def is_notice(self) -> bool: ...
    @property
    def lagged(self) -> int: ...
    @property
    def gap_seconds(self) -> float | None: ...
    @property
    def gap_since(self) -> datetime | None: ...  # in UTC
    @property
    def gap_reason(self) -> GapReason | None: ...
    @property
    def error(self) -> Exception | None: ...
    def json(self) -> Any: ...
    def read_into(self, event: dict[str, Any]) -> None: ...  # makes an unread event a read one

@final
class State:
    """A state of the connection."""

    @property
    def name(self) -> str: ...  # idle connecting live unauthenticated waiting suspended closed
    @property
    def reason(self) -> str | None: ...
    @property
    def error(self) -> Exception | None: ...
    @property
    def retry_in(self) -> float | None: ...  # seconds from now, in "waiting"
    @property
    def offline_seconds(self) -> float | None: ...  # in "suspended"

@final
class TokenRequest:
    """A question for a token; not answering it counts as a failure."""

    def answer(self, token: str | None) -> None: ...
    def fail(self, reason: str) -> None: ...

@final
class Call:
    """Something that was asked and takes time. Dropping it withdraws what was asked."""

    def wait(
        self, timeout: float | None
    ) -> bool: ...  # whether it is done; releases the GIL; answers signals
    # None when it is done; else a descriptor that is readable when it is worth asking again. Not on Windows.
    def ring(self) -> int | None: ...
    def poll(self, number: int) -> bool: ...  # whether it is done; else WOKEN with the number comes
    def result(self) -> Any: ...  # once, when done; raises what went wrong
    def withdraw(
        self,
    ) -> None: ...  # what dropping does, at once; a traceback may hold the call for long
    @property
    def url(
        self,
    ) -> str | None: ...  # of a login through another site: what the person is to visit, once known

@final
class Subscription:
    """A listener that is read by itself. Dropping it unsubscribes."""

    @property
    def id(self) -> int: ...
    def wait(self, timeout: float | None) -> bool: ...  # whether `take` would give something
    def ring(self) -> int | None: ...  # as that of `Call`
    def poll(self, number: int) -> bool: ...  # the same without waiting; else WOKEN with the number comes
    def take(self) -> Event[Any] | None: ...  # after a true `wait` or `poll`; None: nothing more comes
    def take_now(self) -> Event[Any] | None: ...  # the next event if it is there; None: `poll` tells why

@final
class Client:
    def __new__(cls, url: str, options: dict[str, Any]) -> Client: ...
    # options: name str, token str, headers list[(str, str)], user_agent str, ca_pem bytes, client_certificate (bytes, bytes),
    # verify_topics bool, gather float seconds,
    # proxy str | False, connect_timeout / subscribe_timeout / silence_timeout / identity_check / heartbeat float seconds,
    # backoff (float, float), queue int and overflow "drop_oldest" | "drop_newest" | "conflate", message_limit int,
    # rustbaas (realm, app), rustbaas_workspace (workspace, app), token_in_query bool, token_requests bool. Any other name is a TypeError.
    def name(self) -> str: ...  # in the log: host and port, unless it was given one
    def fileno(self) -> int: ...  # readable exactly while `take` would give something; -1 where there is none
    def release(self) -> None: ...  # nobody watches it any more, and the client is closed
    def take(self, most: int) -> list[tuple[int, Any, Any]] | None: ...  # never waits; None: closed
    def forgotten(self) -> int: ...  # changes when what was taken before is not for who the client is now
    def wait(
        self, timeout: float | None
    ) -> bool: ...  # whether `take` would give something; for where fileno is -1
    # collection None: a raw topic. options: filter, expand, fields str; query dict[str, str]; headers dict[str, str];
    # queue int; overflow str; timeout float seconds. The id is known at once; without `wait` there is no call.
    def subscribe(
        self, collection: str | None, topic: str, options: dict[str, Any], wait: bool
    ) -> tuple[int, Call | None]: ...
    # The same for a subscription that is read by itself: with `wait` a call whose result it is.
    def stream(
        self, collection: str | None, topic: str, options: dict[str, Any], wait: bool
    ) -> Call | Subscription: ...
    # A live view, with `wait` a call whose result it is. options: filter, sort, expand str; limit, slack int; audit float
    # seconds | None; filter_on_server bool; timeout float seconds.
    def watch(self, collection: str, options: dict[str, Any], wait: bool) -> Call | View: ...
    # The same for one of which CHANGED tells, from its `release` on.
    def watch_queued(
        self, collection: str, options: dict[str, Any], wait: bool
    ) -> tuple[int, Call | View]: ...
    def unsubscribe(self, id: int) -> None: ...
    def unsubscribe_topic(self, collection: str | None, topic: str | None) -> int: ...
    def unsubscribe_by_prefix(self, prefix: str) -> int: ...
    def subscription_state(self, id: int) -> str: ...  # pending live denied interrupted ended
    def denial(self, id: int) -> BaseException | None: ...
    def lost(self, id: int) -> int: ...
    def state(self) -> State: ...
    def stats(self) -> dict[str, Any]: ...
    def client_id(self) -> str | None: ...
    def active_subscriptions(self) -> list[str]: ...
    def network_changed(self) -> None: ...
    def token(self) -> str | None: ...
    def set_token(self, token: str | None, record: str | None) -> None: ...  # record as JSON
    def is_valid(self) -> bool: ...
    def record(self) -> Any: ...
    # Calls whose result is {"token": …, "record": …}:
    def auth_with_password(self, collection: str, identity: str, password: str) -> Call: ...
    def auth_refresh(self, collection: str) -> Call: ...
    def auth_with_oauth2(self, collection: str, provider: str) -> Call: ...
    # A call whose result is (status, body).
    def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        content_type: str | None,
        query: Sequence[tuple[str, str]],
        headers: Sequence[tuple[str, str]],
        timeout: float | None,
    ) -> Call: ...
    # Within a second; releases the GIL. Without `wait` at once, and what is left goes by itself.
    def close(self, wait: bool = True) -> None: ...
    def closing(self) -> Call: ...  # closes; done when nothing is left

@final
class Records:
    """The records of a collection."""

    # options: expand, fields str; query dict[str, str]; timeout float seconds; of lists also filter, sort str and page_size int.
    # Errors of arguments are raised here or by the call.
    def __new__(cls, client: Client, collection: str) -> Records: ...
    def list(self, options: dict[str, Any]) -> Pages: ...
    def page(self, number: int, options: dict[str, Any]) -> Call: ...
    def get(self, id: str, options: dict[str, Any]) -> Call: ...
    def create(self, record: str, options: dict[str, Any]) -> Call: ...  # record as JSON
    def update(self, id: str, changes: str, options: dict[str, Any]) -> Call: ...
    def delete(self, id: str) -> Call: ...

@final
class Pages:
    """A list that is read page by page."""

    def next(
        self,
    ) -> Call: ...  # whose result is the records, None at the end; the same page if it is withdrawn

@final
class Rows:
    """The rows of a view at one moment. A row is parsed whenever it is got."""

    def __len__(self) -> int: ...
    def get(self, at: int) -> dict[str, Any]: ...

@final
class View:
    """A live view. Dropping it ends it."""

    def rows(self) -> Rows: ...
    def status(
        self,
    ) -> tuple[bool, float, str | None, BaseException | None]: ...  # is proven; since 1970; why; error
    def error(self) -> BaseException | None: ...  # why it has ended
    def prove(self) -> Call: ...
    def close(self) -> None: ...
    def wait(self, timeout: float | None) -> bool: ...  # whether `take` would give something
    def ring(self) -> int | None: ...  # as that of `Call`
    def poll(self, number: int) -> bool: ...  # as that of `Subscription`
    def release(self) -> None: ...  # CHANGED may come from now on
    # After a true `wait` or `poll`: deltas, rows, status. None: nothing more comes. A delta is ("insert", at, row),
    # ("update", from, to, row, old), ("remove", at, row, why) or ("reset", rows).
    def take(
        self,
    ) -> tuple[list[tuple[Any, ...]], Rows, tuple[bool, float, str | None, BaseException | None]] | None: ...
    def take_now(
        self,
    ) -> (
        tuple[list[tuple[Any, ...]], Rows, tuple[bool, float, str | None, BaseException | None]] | None
    ): ...  # the same without asking before; None if there is nothing

@final
class EventSource:
    def __new__(cls, url: str, options: dict[str, Any]) -> EventSource: ...
    # options: method str, headers list[(str, str)], body bytes, token str, last_event_id str, reconnect / once bool,
    # max_tries int, retry_for float, retry_forever bool, read_timeout / connect_timeout / retry float, backoff
    # (float, float), ask_connect / ask_status / strict bool, accept_type list[str], comments bool, message_limit int,
    # user_agent str, ca_pem bytes, client_certificate (bytes, bytes), proxy str | False
    def fileno(self) -> int: ...
    def release(self) -> None: ...
    def wait(self, timeout: float | None) -> bool: ...  # whether `take` would give something
    def ring(self) -> int | None: ...  # as that of `Call`
    # Never waits. None: nothing there. Otherwise one of
    # ("open", url, status, headers), ("message", event, data, id), ("comment", text, None, None),
    # ("too_large", limit, None, None), ("disconnected", reason, retry_in, error | None),
    # ("unfinished", event, data, id), ("closed", error | None, None, None),
    # ("connect_asked", ConnectQuestion, None, None), ("status_asked", StatusQuestion, status, None): the source waits
    # for the answer,
    # ("end", None, None, None): nothing more comes.
    def take(self) -> tuple[str, Any, Any, Any] | None: ...
    @property
    def last_event_id(self) -> str: ...
    def state(self) -> State: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...

@final
class ConnectQuestion:
    """What the next connection is made with. Dropping it counts as a failure."""

    def answer(self, url: str | None, token: str | None, headers: list[tuple[str, str]]) -> None: ...
    def fail(self, reason: str) -> None: ...

@final
class StatusQuestion:
    """Whether to try again after a status; None for the default, as dropping it."""

    def answer(self, again: bool | None) -> None: ...

@final
class Hub:
    """The embedded server. JSON goes in and out as text."""

    def __new__(cls, port: int, seed: int | None) -> Hub: ...
    @property
    def url(self) -> str: ...
    def collection(self, name: str, fields: str) -> str: ...
    def create(self, collection: str, record: str) -> str: ...
    def update(self, collection: str, id: str, changes: str) -> str: ...
    def delete(self, collection: str, id: str) -> None: ...
    def records(self, collection: str) -> str: ...
    def publish(self, topic: str, payload: bytes) -> int: ...
    def add_user(self, collection: str, email: str, password: str) -> str: ...
    def token(self, collection: str, user: str, lifetime: float) -> str: ...
    def revoke(self, user: str) -> bool: ...
    def oauth2(self, collection: str, provider: str, email: str | None) -> None: ...
    def send(
        self, path: str, data: str, event: str | None, id: str | None
    ) -> int: ...  # to streams of `path`
    def send_raw(self, path: str, data: bytes) -> int: ...
    def topics(self) -> list[str]: ...
    def stats(self) -> dict[str, int]: ...
    # endpoint: connect submit events sse records lists auth health other
    def refuse_next(self, endpoint: str, status: int, times: int) -> None: ...
    def delay(self, endpoint: str, seconds: float) -> None: ...
    # fault: end_streams cut_streams reset_streams truncate_streams half_open
    def break_streams(self, fault: str) -> int: ...
    def freeze(self, on: bool) -> None: ...
    def lose_tokens(self, on: bool) -> None: ...
    def split_bytes(self, on: bool) -> None: ...
    def clear_faults(self) -> None: ...
    def stop(self) -> None: ...
    def restart(self) -> None: ...

def parse(json: bytes) -> Any: ...  # a ValueError where it is no JSON, a ProtocolError where it is too deep
def filter(expression: str, values: str) -> str: ...  # values as JSON
def command(
    arguments: list[str],
) -> int: ...  # runs `tidings`, its name first; what the process is to end with

# For the interpreter's end, see `_ending`.
def end() -> None: ...  # nobody lets go of the interpreter in native code any more, and waits end
def inside() -> int: ...  # how many have let go of it there
def count_forks() -> None: ...  # from now on `forked` is called in each child
def forked() -> None: ...  # in a forked child, before anything else: those who were inside are not there
