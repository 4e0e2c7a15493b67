"""What the docstrings of the sync and the async client have in common, written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def documented(text: str, **words: str) -> Callable[[F], F]:
    """Appends ``text`` to the docstring of a function, with ``words`` in its placeholders."""

    def document(function: F) -> F:
        own = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = f"{own}\n\n{inspect.cleandoc(text).format_map(words)}\n"
        return function

    return document


RAISES_WHEN_ASKED = """
    ClientResponseError: The server refused, with its ``status``, or there was no response (``status`` 0).
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""

# What a callback is called with, and where.
SYNC_CALLBACK = """Called with each `Event`, in order, on the client's callback thread; never before `subscribe`
        returns. Without a callback, iterate over the handle that is returned."""
ASYNC_CALLBACK = """Called with each `Event`, in order; a plain or a coroutine function. Without a callback, iterate
        over the handle that is returned."""

CHANGES_CALLBACK = """
    callback: Called with each batch of `Changes`, one at a time, {where}; never before `watch`
        returns. While it is slow, changes fold into fewer. When the server ends the view, it is called a last time,
        without deltas and with the status ``"ended"``, which has the error. Without a callback, iterate over the view
        that is returned."""

_SUBSCRIBE = """
Waits until the server has acknowledged the subscription, unless ``wait`` is False. From then on every
event that the server sends is delivered, at most once, or a notice says what may have been missed: an
event whose ``action`` is ``"gap"``, ``"lagged"`` or ``"refused"`` (the last one). The record of a notice is
an empty mapping; any key reads as None. The server guarantees no order.

Args:
    topic: {{topic}}
    callback: {{callback}}
    query: Query parameters for the server's rules and hooks. The names ``filter``, ``expand`` and
        ``fields`` have a meaning of their own. A list is joined with commas.
    headers: Headers for the server's rules and hooks.
{options}    queue: How many events may be queued; None stands for the client's ``queue``.
    overflow: What a full queue does; None stands for the client's ``overflow``.
    wait: False returns at once, connected or not, and subscribes in the background.
    timeout: How many seconds to wait for the acknowledgement; None stands for the client's
        ``subscribe_timeout``.

Returns:
    A handle. Calling it, or leaving its {{block}} block, unsubscribes this listener.

Raises:
    ClientResponseError: The server refused, with its ``status``, or there was no response (``status`` 0).
    ArgumentError: The topic or an option is invalid.
    TypeError: The callback cannot be called, or would never run.
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""

SUBSCRIBE = _SUBSCRIBE.format(options="")
SUBSCRIBE_TO_RECORDS = _SUBSCRIBE.format(
    options="""    filter: Only records that match this filter. For values in it, see `Client.filter`.
    expand: The relations to include in the records.
    fields: The fields to include in the records.
"""
)
RECORDS = '``"*"`` for all records of the collection, or the id of one.'
RAW_TOPIC = """The topic as the server names it, e.g. ``"jobs/finished"`` or ``"posts/*"``. ``"PB_CONNECT"`` reports
        each (re)connection, as ``event["clientId"]``."""

SEND = """
The method comes first, ``send("POST", path)``, or is named, ``send(path, method="POST")``, as in the
SDKs of PocketBase and BosBase. Without one it is GET.

Args:
    path: Relative to the server's URL, e.g. ``/api/collections/posts/records``. It may have a query.
    method: ``"GET"``, ``"POST"`` and so on.
    headers: Headers in addition to those of the client.
    query: Query parameters. A list stands for several of one name, None for none.
    body: Bytes are sent unchanged, anything else as JSON. In it, dates, times, `decimal.Decimal` and
        `uuid.UUID` become text.
    timeout: How many seconds the request may take.

Returns:
    The response: parsed JSON, None if it is empty, or bytes if it is not JSON.

Raises:
    ClientResponseError: The server refused, with its ``status``, or there was no response (``status`` 0).
    ProtocolError: The response is nested over 10,000 levels deep. ``body`` has it.
    ArgumentError: An argument cannot be sent.
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""

LOGIN = """
Returns:
    ``{{"token": …, "record": …}}``, which are in ``client.auth_store`` from now on.

Raises:
    ClientResponseError: The server refused (a wrong password is status 400), or there was no response
        (``status`` 0).
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""

OAUTH2 = """
Args:
    provider: The provider's name in the settings of the collection, e.g. ``"google"``.
    open: Called with the URL that the user has to visit, {where}. Its default opens the browser.
    timeout: How many seconds to wait for the user; None waits indefinitely.

Returns:
    ``{{"token": …, "record": …}}``, which are in ``client.auth_store`` from now on.

Raises:
    ClientResponseError: The server or the provider refused, or there was no response (``status`` 0).
        What ``open`` raises is raised too.
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""

UNSUBSCRIBE = """
Their options do not matter. Does not wait for the server.

Returns:
    The number of subscriptions ended.

Raises:
    ForkedError: The client belongs to the parent process.
"""

_RAISES_FOR_RECORDS = """
    ArgumentError: The filter or the sort has a syntax error, with its column, or another argument is invalid.
    UnsupportedError: The server is a RustBaaS, whose records are not documented: use `send`.
    ClientResponseError: The server refused, with its ``status``, or there was no response (``status`` 0).
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""

_LISTS = """
    filter: Lists only records that match. Use `Client.filter` to insert values from outside safely.
    sort: Names of fields, with ``-`` before those that descend.
    expand: Relations to include in ``expand`` of each record.
    fields: The only fields to return.
"""

_QUERIES = """
    query: More parameters of the request.
    timeout: How many seconds each request may take.
"""

_WALK = (
    """
The list is walked by key: ``id`` is added to the sort, and each page begins after the last record. So records
that come and go meanwhile neither hide others nor make them come twice. With a sort by a path through a relation
(``author.name``), by a field with several values or by JSON objects, pages are requested by number, and then they do.

Args:"""
    + _LISTS
    + """    page_size: How many records to request at once, at most 1,000; servers before 0.23 return at most 500.
"""
    + _QUERIES.lstrip("\n")
    + """
Raises:"""
    + _RAISES_FOR_RECORDS
)

FULL_LIST = _WALK

LIST = (
    """::

    {loop} post in posts.list(filter="likes > 3", sort="-created"):
        print(post["title"])
"""
    + _WALK
)

PAGE = (
    """A dict as the server sends it: ``page``, ``perPage``, ``totalItems``, ``totalPages``, and ``items`` with the
records.

Args:
    page: From 1 on.
    per_page: How many records a page has, at most 1,000."""
    + _LISTS
    + _QUERIES.lstrip("\n")
    + """
Raises:"""
    + _RAISES_FOR_RECORDS
)

RECORD = (
    """
Args:
    expand: Relations to include in ``expand`` of the record.
    fields: The only fields to return."""
    + _QUERIES
    + """
Raises:"""
    + _RAISES_FOR_RECORDS
)

DELETE = "Raises:" + _RAISES_FOR_RECORDS

WATCH = """
Waits for the first list that is proven to be the server's, unless ``wait`` is False. From then on the view follows
the server: through reconnects, restarts, lost events and changes of the user, and its ``status`` says when the rows
are in doubt. Rows do not vanish because the network does.

Args:{callback}
    filter: Shows only records that match. Use `Client.filter` to insert values from outside safely.
    sort: Names of fields, with ``-`` before those that descend; ``id`` is added.
    limit: Shows only the first so many rows. None shows all, and keeps them in memory.
    slack: How many rows beyond the limit are kept, so that the server is not asked for each that leaves.
    expand: Relations to include in ``expand`` of each row. The server reports no change of an expanded record.
    audit: How often, in seconds, the view is compared with the server's list, which alone finds records that a rule
        hides from now on. None: never.
    filter_on_server: Leaves it to the server alone which records match: for BosBase, and for who must not receive
        what does not match.
    wait: False returns at once, connected or not, with an empty view.
    timeout: How many seconds to wait for the first list.

Raises:
    ArgumentError: The filter or the sort has a syntax error, with its column, or another argument is invalid.
    UnsupportedError: The server has no lists (RustBaaS).
    ClientResponseError: The server refused, with its ``status``, or there was no response (``status`` 0).
    ClosedError: The client is closed.
    ForkedError: The client belongs to the parent process.
"""
