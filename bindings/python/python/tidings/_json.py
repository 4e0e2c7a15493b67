"""JSON that came from elsewhere, with the limits that the core has."""

from __future__ import annotations

import json
from typing import Any


def read(text: bytes) -> Any:
    """JSON as Python objects.

    Raises:
        ValueError: It is not JSON.
        ProtocolError: It is nested deeper than 10,000 levels. Its ``body`` has the text.
    """
    # Not at the top: the native part imports the exceptions, which read JSON too.
    from . import _tidings

    try:
        return _tidings.parse(text)
    except ValueError as error:
        try:
            # It takes what has no place in a Rust string, such as half a surrogate pair.
            return json.loads(text)
        except RecursionError:
            raise ValueError(str(error)) from None
