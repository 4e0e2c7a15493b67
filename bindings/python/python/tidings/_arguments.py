"""Arguments as the native part takes them. Shared by the sync and the async client; nothing here waits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

from . import _json, _tidings
from .exceptions import ArgumentError

Overflow = Literal["drop_oldest", "drop_newest", "conflate"]
"""What a full queue does: drop the oldest event, drop the newest, or keep only the newest of each record."""


class Rustbaas(NamedTuple):
    """The RustBaaS app to which the collections belong."""

    realm: str
    app: str


def given(**options: Any) -> dict[str, Any]:
    """The options that were set."""
    return {name: value for name, value in options.items() if value is not None}


def pairs(values: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Query parameters or headers: a list stands for several of one name, None for none."""
    found: list[tuple[str, str]] = []
    for name, value in (values or {}).items():
        several = value if isinstance(value, (list, tuple)) else (value,)
        name = valid(f"name {name!r}", name)
        found.extend((name, valid(repr(name), text(one))) for one in several if one is not None)
    return found


def valid(what: str, value: str) -> str:
    """A text that can be sent.

    Raises:
        ArgumentError: It has half a surrogate pair, which UTF-8 cannot encode.
    """
    try:
        # What is no text is refused by the native part.
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"invalid {what}: it has half a surrogate pair, which cannot be sent") from None
    return value


def joined(values: Mapping[str, Any] | None) -> dict[str, str]:
    """The same for topics, where each name has one value: a list stands in it with commas."""
    several: dict[str, list[str]] = {}
    for name, value in pairs(values):
        several.setdefault(name, []).append(value)
    return {name: ",".join(values) for name, values in several.items()}


def text(value: Any) -> str:
    """A value as a query has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (date, datetime)):
        return timestamp(value)
    if isinstance(value, (dict, list, tuple)):
        return to_json(value)
    return str(value)


def timestamp(value: date | datetime) -> str:
    """A time as PocketBase writes it; one without a zone is local time, as everywhere in Python."""
    if not isinstance(value, datetime):
        return f"{value.isoformat()} 00:00:00.000Z"
    return value.astimezone(timezone.utc).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", "Z")


def limit(name: str, seconds: float | None) -> float | None:
    """Checks a timeout before the network."""
    if seconds is not None and not seconds >= 0:
        raise ArgumentError(f"invalid {name}: {seconds:g} is not a duration; give seconds, 0 or more")
    return seconds


def pem(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def pems(value: Sequence[bytes | str] | None) -> tuple[bytes, ...] | None:
    return None if value is None else tuple(pem(one) or b"" for one in value)


def subscribe_options(
    *,
    query: Mapping[str, Any] | None,
    headers: Mapping[str, Any] | None,
    filter: str | None = None,
    expand: str | Iterable[str] | None = None,
    fields: str | Iterable[str] | None = None,
    queue: int | None,
    overflow: Overflow | None,
    default: tuple[int, Overflow],
) -> dict[str, Any]:
    parameters = joined(query)
    named = given(filter=filter, expand=_listed(expand), fields=_listed(fields))
    for name, value in named.items():
        valid(name, value)
    if queue is not None or overflow is not None:
        queue, overflow = (default[0] if queue is None else queue), overflow or default[1]
    if twice := sorted(named.keys() & parameters.keys()):
        raise ArgumentError(f"invalid query: {', '.join(twice)} is given as an argument too; give it once")
    return given(
        **named,
        query=parameters or None,
        headers=joined(headers) or None,
        queue=queue,
        overflow=overflow,
    )


def record_options(
    *,
    filter: str | None = None,
    sort: str | Iterable[str] | None = None,
    expand: str | Iterable[str] | None = None,
    fields: str | Iterable[str] | None = None,
    page_size: int | None = None,
    query: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """What a request for records is asked with."""
    parameters = joined(query)
    named = given(filter=filter, sort=_listed(sort), expand=_listed(expand), fields=_listed(fields))
    for name, value in named.items():
        valid(name, value)
    if twice := sorted(named.keys() & parameters.keys()):
        raise ArgumentError(f"invalid query: {', '.join(twice)} is given as an argument too; give it once")
    return given(**named, page_size=page_size, query=parameters or None, timeout=timeout)


def watch_options(
    *,
    filter: str | None,
    sort: str | Iterable[str] | None,
    limit: int | None,
    slack: int | None,
    expand: str | Iterable[str] | None,
    audit: float | None,
    filter_on_server: bool,
    timeout: float,
) -> dict[str, Any]:
    """What a live view is made with."""
    named = given(filter=filter, sort=_listed(sort), expand=_listed(expand))
    for name, value in named.items():
        valid(name, value)
    options = given(**named, limit=limit, slack=slack, filter_on_server=filter_on_server, timeout=timeout)
    # None has a meaning: never.
    return options | {"audit": audit}


class Body(NamedTuple):
    content: bytes | None
    type: str | None


def body(value: Any) -> Body:
    """Bytes unchanged, anything else as JSON."""
    if value is None:
        return Body(None, None)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Body(bytes(value), "application/octet-stream")
    return Body(to_json(value).encode(), "application/json")


def answer(response: tuple[int, bytes]) -> Any:
    """What a request returns: parsed JSON, None for an empty answer, and bytes for any other.

    Raises:
        ProtocolError: It is nested too deeply to be read; its ``body`` has it.
    """
    _, content = response
    if not content:
        return None
    try:
        return _json.read(content)
    except ValueError:
        return content


def collection(name: str) -> str:
    """The name of a collection: without one, a topic would be a raw one."""
    if not isinstance(name, str):
        raise TypeError(f"invalid collection: its name or id is a str, not {type(name).__name__}")
    return valid("collection", name)


def route(first: str, second: str | None, method: str | None) -> tuple[str, str]:
    """Method and path, whichever way they were given.

    Raises:
        ArgumentError: There are two methods, or the path comes first.
    """
    if second is None:
        method, path = method or "GET", first
    elif method is not None:
        raise ArgumentError("invalid method: it is given twice; give it once")
    elif first.startswith("/"):
        raise ArgumentError("invalid method: it comes first, and then the path")
    else:
        method, path = first, second
    return valid("method", method).upper(), f"/{valid('path', path).lstrip('/')}"


def filter_expression(expression: str, params: Mapping[str, Any] | None = None) -> str:
    """Fills the placeholders ``{:name}`` of a filter expression with ``params``, quoted so that no value can change
    its meaning.

    Text is quoted and escaped. Numbers, True, False, None, dates and times are written as PocketBase writes
    them.

    Raises:
        ArgumentError: A placeholder has no value or is not closed, or a text contains a NUL character.
    """
    return _tidings.filter(valid("expression", expression), to_json(dict(params or {})))


def to_json(value: Any) -> str:
    try:
        encoded = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
        encoded.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"this is not JSON: {error}") from None
    return encoded


def _plain(value: Any) -> str:
    """What JSON has no type for and everybody writes the same way."""
    if isinstance(value, (date, datetime)):
        return timestamp(value)
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _listed(value: str | Iterable[str] | None) -> str | None:
    return value if value is None or isinstance(value, str) else ",".join(value)


def without_query(url: str) -> str:
    """A URL as it may be shown: without query, user and password."""
    place = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = place.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def proxy(value: str | bool | None) -> str | bool | None:
    """True stands for the environment, as None does."""
    return None if value is True else value
