"""The fixture of tests that ask resolvers over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.stage.resolvers import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Yield what starts resolvers and their client, and ends them."""
    stage = Stage()
    yield stage
    stage.close()
