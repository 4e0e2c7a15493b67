"""What a subscription receives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol

from . import _json
from .exceptions import ArgumentError, ProtocolError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R = TypeVar("R", bound=Mapping[str, object], default=dict[str, Any])
else:
    from typing import TypeVar

    R = TypeVar("R")

Action = Literal["create", "update", "delete", "connect", "custom", "gap", "lagged", "refused"]
"""What an event reports: a change of a record, a connection (of the topic ``PB_CONNECT``), any other message of the
server, or a notice of the client: ``"gap"``, ``"lagged"`` or ``"refused"``."""
GapReason = Literal["disconnected", "identity_changed", "too_large"]
"""Why changes may have been missed."""

_CHANGES = ("create", "update", "delete")
_NOTICES = ("gap", "lagged", "refused")


class NoRecord(dict[str, Any]):
    """An empty mapping; any key reads as None.

    Notices come to the same callbacks as changes. One that was written for another SDK and knows no notices
    then reads ``event["record"]["title"]`` without an error, and finds an action that it does not know.
    """

    def __missing__(self, key: str) -> None:
        return None


class Facts(Protocol):
    """What is known of an event besides its payload. The native part has it, and `Known` for events made here."""

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
    def gap_since(self) -> datetime | None: ...
    @property
    def gap_reason(self) -> GapReason | None: ...
    @property
    def error(self) -> Exception | None: ...
    def json(self) -> Any: ...
    def read_into(self, event: dict[str, Any]) -> None: ...


class Placeholder:
    """Stands in an event that was not read, for what reads the memory of a dict without asking it, as orjson does: it
    finds something that it cannot write, and says so, instead of writing nothing."""

    def __repr__(self) -> str:
        return "<not read: use dict(event)>"


PLACEHOLDER = Placeholder()


class Event(dict[str, Any], Generic[R]):
    """One change of a record, one other message of the server, or a notice of the client.

    It is a dict of the payload: ``event["record"]["title"]``, parsed when something in it is first read. A
    payload that is not a JSON object is an empty dict; `raw` and `json` have it. One that was meant to be an
    object and cannot be read raises `ProtocolError` wherever its content is read.

    Events can be pickled, copied and compared, and made for the test of a callback::

        on_post(Event("create", {"id": "abc", "title": "Hello"}, topic="posts/*"))
        on_post(Event("gap", gap_seconds=2.5, gap_reason="disconnected", topic="posts/*"))

    The type of records can be given: ``def on_post(event: Event[Post])``, where ``Post`` is a `TypedDict`.

    Args:
        action: What the event reports.
        record: The record of a change.
        payload: The content of a ``"custom"`` or ``"connect"`` message; a dict, or any other JSON.
        topic: The topic of the subscription.
        lagged: How many events were dropped, for ``"lagged"``.
        gap_seconds: How long the gap was, for ``"gap"``.
        gap_since: When the gap began, for ``"gap"``.
        gap_reason: Why there is a gap, for ``"gap"``.
        error: Why the server ended the subscription, for ``"refused"``.

    Raises:
        ArgumentError: A record was given for what is no change of one, or a payload for a change or a notice.
    """

    __slots__ = ("_facts",)
    __match_args__ = ("action", "record")

    _facts: Facts

    # The native part makes events without it.
    def __init__(
        self,
        action: Action,
        record: R | None = None,
        *,
        payload: Any = None,
        topic: str = "",
        lagged: int = 0,
        gap_seconds: float | None = None,
        gap_since: datetime | None = None,
        gap_reason: GapReason | None = None,
        error: Exception | None = None,
    ) -> None:
        is_change, is_notice = action in _CHANGES, action in _NOTICES
        if record is not None and not is_change:
            raise ArgumentError(f"invalid record: a {action!r} event has none")
        if payload is not None and (is_change or is_notice):
            raise ArgumentError(f"invalid payload: that of a {action!r} event follows from its record")
        content = {"action": action, "record": record or {}} if is_change else payload
        found = record.get("id") if record else None
        self._facts = Known(
            topic=topic,
            name=topic,
            action=action,
            record_id=found if isinstance(found, str) else None,
            raw=b"" if is_notice else json.dumps({} if content is None else content).encode(),
            lagged=lagged,
            gap_seconds=gap_seconds,
            gap_since=gap_since,
            gap_reason=gap_reason,
            error=error,
        )
        if is_notice:
            super().__init__(action=action, record=NoRecord())
        elif isinstance(content, Mapping):
            super().__init__(content)
        else:
            super().__init__()

    @property
    def topic(self) -> str:
        """The topic as sent to the server, options included, e.g. ``posts/*``."""
        return self._facts.topic

    @property
    def name(self) -> str:
        """The name of the event as the server sent it; the topic, unless it is RustBaaS."""
        return self._facts.name

    @property
    def action(self) -> Action:
        """``"create"``, ``"update"``, ``"delete"``, ``"connect"``, ``"custom"`` for any other message, or for a
        notice ``"gap"``, ``"lagged"`` or ``"refused"``."""
        return self._facts.action

    @property
    def record(self) -> R:
        """The record; an empty dict where there is none, in which for a notice any key reads as None.

        Raises:
            ProtocolError: The payload cannot be read.
        """
        found: Any = self.get("record")
        return found if isinstance(found, dict) else {}  # type: ignore[return-value]

    @property
    def record_id(self) -> str | None:
        """The ``id`` of the record, if there is one. It is known even where the record cannot be read."""
        return self._facts.record_id

    @property
    def raw(self) -> bytes:
        """The payload as received; empty for notices."""
        return self._facts.raw

    @property
    def is_notice(self) -> bool:
        """Whether the client made this event (``"gap"``, ``"lagged"``, ``"refused"``), and not the server."""
        return self._facts.is_notice

    @property
    def lagged(self) -> int:
        """How many events were dropped, for ``"lagged"``; otherwise 0."""
        return self._facts.lagged

    @property
    def gap_seconds(self) -> float | None:
        """How long the gap was, for ``"gap"``; otherwise None."""
        return self._facts.gap_seconds

    @property
    def gap_since(self) -> datetime | None:
        """When the gap began, in UTC by the clock of this machine, for ``"gap"``; otherwise None. What is caught
        up by time should begin a little earlier: PocketBase stamps ``updated`` before it commits."""
        return self._facts.gap_since

    @property
    def gap_reason(self) -> GapReason | None:
        """Why there is a gap: ``"disconnected"``, ``"identity_changed"`` or ``"too_large"``; otherwise None."""
        return self._facts.gap_reason

    @property
    def error(self) -> Exception | None:
        """Why the server ended the subscription, for ``"refused"``; otherwise None."""
        return self._facts.error

    def json(self) -> Any:
        """The payload as parsed JSON, whatever it is.

        Raises:
            ProtocolError: It cannot be read.
        """
        return self._facts.json()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Event):
            if other.topic != self.topic:
                return False
            if isinstance(other, UnreadEvent):
                other._read()
        return dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"<Event {self.action} {self._shown_topic()} {dict.__repr__(self)}>"

    def _shown_topic(self) -> str:
        # The options of a topic may be secret.
        return self.topic.partition("?")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (Event, Known.of(self), dict(self))


class UnreadEvent(Event[R]):
    """One whose payload nobody has read yet: the first who does makes it an `Event`, or is told why it cannot be read."""

    __slots__ = ()

    def _read(self) -> None:
        self._facts.read_into(self)

    def __getitem__(self, key: str) -> Any:
        self._facts.read_into(self)
        return dict.__getitem__(self, key)

    def __eq__(self, other: object) -> bool:
        try:
            self._read()
        except ProtocolError:
            return isinstance(other, Event) and (self.topic, self.raw) == (other.topic, other.raw)
        return self == other

    def __bool__(self) -> bool:
        try:
            self._read()
        except ProtocolError:
            return True
        return bool(self)

    def __repr__(self) -> str:
        try:
            self._read()
        except ProtocolError:
            return f"<Event {self.action} {self._shown_topic()} that cannot be read>"
        return repr(self)

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            self._read()
        except ProtocolError as error:
            return _restored, (UnreadEvent, Known.of(self, str(error)), {})
        return self.__reduce__()


def _reading(name: str) -> Any:
    def method(self: UnreadEvent[Any], *values: Any, **more: Any) -> Any:
        self._read()
        return getattr(dict, name)(self, *values, **more)

    return method


for _name in (
    *("__contains__", "__delitem__", "__ior__", "__iter__", "__len__", "__or__", "__reversed__", "__ror__"),
    *(
        "__setitem__",
        "clear",
        "copy",
        "get",
        "items",
        "keys",
        "pop",
        "popitem",
        "setdefault",
        "update",
        "values",
    ),
):
    setattr(UnreadEvent, _name, _reading(_name))


@dataclass(frozen=True)
class Known:
    """`Facts` of an event that was made or unpickled here."""

    topic: str
    name: str
    action: Action
    record_id: str | None
    raw: bytes
    lagged: int
    gap_seconds: float | None
    gap_since: datetime | None
    gap_reason: GapReason | None
    error: Exception | None
    unreadable: str | None = None

    @property
    def is_notice(self) -> bool:
        return self.action in _NOTICES

    def json(self) -> Any:
        if self.unreadable is not None:
            raise ProtocolError(self.unreadable)
        try:
            return _json.read(self.raw)
        except ValueError as error:
            raise ProtocolError(f"the payload is not JSON, and is in `raw` as received: {error}") from None

    def read_into(self, event: dict[str, Any]) -> None:
        # Only of one that cannot be read: the others were read before they were pickled.
        self.json()

    @classmethod
    def of(cls, event: Event[Any], unreadable: str | None = None) -> Known:
        """The same of an event that the native part made."""
        facts = event._facts
        if isinstance(facts, cls):
            return facts
        return cls(
            topic=facts.topic,
            name=facts.name,
            action=facts.action,
            record_id=facts.record_id,
            raw=facts.raw,
            lagged=facts.lagged,
            gap_seconds=facts.gap_seconds,
            gap_since=facts.gap_since,
            gap_reason=facts.gap_reason,
            error=facts.error,
            unreadable=unreadable,
        )


def _restored(kind: type[Event[Any]], facts: Known, content: dict[str, Any]) -> Event[Any]:
    event = kind.__new__(kind)
    dict.update(event, content if kind is Event else {"record": PLACEHOLDER})
    event._facts = facts
    return event


def plain(event: Event[Any]) -> Any:
    """The payload as the SDKs of PocketBase and BosBase hand it to a callback: a plain dict, or whatever JSON it is,
    and text that is not JSON as ``{"raw": text}``."""
    if event.is_notice:
        return dict(event)
    try:
        return _json.read(event.raw)
    except ValueError:
        return {"raw": event.raw.decode()}
