"""Realtime events of PocketBase, BosBase and RustBaaS servers, and of any server-sent-events endpoint.

::

    import tidings

    with tidings.Client("http://127.0.0.1:8090") as client:
        for event in client.collection("posts").subscribe("*"):
            print(event["action"], event["record"]["title"])

`Client` is for programs with threads, `AsyncClient` for asyncio; both have the same names. `EventSource` and
`AsyncEventSource` read any stream of server-sent events. The exceptions are in `tidings.exceptions`, a server for
tests is in `tidings.testing`, and the command ``tidings tail URL TOPIC`` prints events. Outages and errors are logged
to the logger ``tidings``, without tokens.

A program for the BosBase SDK changes its import line: ``from tidings import BosBase``.
"""

from . import exceptions
from ._arguments import Overflow
from ._arguments import filter_expression as filter
from ._async_client import AsyncClient, AsyncCollection, AsyncRealtime
from ._async_event_source import AsyncEventSource
from ._async_subscription import AsyncListener, AsyncSubscription
from ._auth_store import AuthStore
from ._client import BosBase, Client, Collection, PocketBase, Realtime
from ._event import Action, Event, GapReason
from ._event_source import (
    Closed,
    Comment,
    Disconnected,
    EventSource,
    Message,
    Open,
    SourceEvent,
    SourceRequest,
    TooLarge,
)
from ._subscription import Listener, Subscription
from ._tidings import State, __version__
from ._view import (
    AsyncView,
    AsyncViewListener,
    Changes,
    Delta,
    Insert,
    Remove,
    Reset,
    Rows,
    Status,
    Update,
    View,
    ViewListener,
)
from .exceptions import ClientResponseError, TidingsError

__all__ = [
    "Action",
    "AsyncClient",
    "AsyncCollection",
    "AsyncEventSource",
    "AsyncListener",
    "AsyncRealtime",
    "AsyncSubscription",
    "AsyncView",
    "AsyncViewListener",
    "AuthStore",
    "BosBase",
    "Changes",
    "Client",
    "ClientResponseError",
    "Closed",
    "Collection",
    "Comment",
    "Delta",
    "Disconnected",
    "Event",
    "EventSource",
    "GapReason",
    "Insert",
    "Listener",
    "Message",
    "Open",
    "Overflow",
    "PocketBase",
    "Realtime",
    "Remove",
    "Reset",
    "Rows",
    "SourceEvent",
    "SourceRequest",
    "State",
    "Status",
    "Subscription",
    "TidingsError",
    "TooLarge",
    "Update",
    "View",
    "ViewListener",
    "__version__",
    "exceptions",
    "filter",
]
