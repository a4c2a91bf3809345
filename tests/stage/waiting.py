"""Waiting for a condition that nothing announces: polled here, in one place, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_S = 0.01  # the condition, not the pause, decides


def wait_until(
    is_so: Callable[[], T | None], what: str, deadline_s: float = 10.0, story: Callable[[], str] = lambda: ""
) -> T:
    """Wait until `is_so()` returns something true, and return it. `story`: what a failure tells besides."""
    end = time.monotonic() + deadline_s
    while not (found := is_so()):
        if time.monotonic() > end:
            raise AssertionError(f"no {what} within {deadline_s} s\n{story()}")
        time.sleep(PAUSE_S)
    return found
