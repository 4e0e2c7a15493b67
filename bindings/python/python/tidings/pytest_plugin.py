"""The fixtures that pytest finds by itself: an entry point of ``pytest11``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .testing import Hub


@pytest.fixture
def tidings_hub() -> Iterator[Hub]:
    """A fresh `tidings.testing.Hub` for one test."""
    with Hub() as hub:
        yield hub
