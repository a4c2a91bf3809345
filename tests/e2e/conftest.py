"""Fixtures of tests that run the whole program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stage.asking import SlowUpstream


@pytest.fixture
def slow() -> Iterator[SlowUpstream]:
    """Yield an upstream that answers each request when told to."""
    upstream = SlowUpstream()
    yield upstream
    upstream.close()
