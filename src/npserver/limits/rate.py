"""Rates as people write them: `10/s`, `5/m`, `1000/h`, `30/10s`. Pure."""

from __future__ import annotations

import math

from msgspec import Struct

from npserver.errors import clip
from npserver.regex import regex

_RATE = regex(r"([0-9]{1,9})\s*/\s*([0-9]{0,6})\s*(s|m|h|d)")
_UNITS_NS = {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
MAX_PER_SECOND = 1_000_000
MAX_SPAN_NS = 3660 * _UNITS_NS["d"]  # in which a whole burst comes back


class Rate(Struct, frozen=True):
    """A rate with its burst: one each `interval_ns`, and `burst` at once after a pause."""

    count: int
    interval_ns: int
    burst: int

    @property
    def span_ns(self) -> int:
        """The time in which a burst that is used up comes back whole."""
        return self.burst * self.interval_ns


def parse_rate(text: str, burst: int | None = None) -> Rate | None:
    """Parse a rate; None if it is 0: no limit. `burst` None: the number in the rate. Raises: ValueError."""
    if text.strip() == "0":
        return None
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'expected a rate such as "10/s", "5/m" or "1000/h", got {clip(text)}')
    count, span_ns = int(match[1]), int(match[2] or 1) * _UNITS_NS[match[3]]
    if not span_ns:
        raise ValueError(f"a rate needs a time above 0, got {clip(text)}")
    if not count:
        return None
    if count * 10**9 > MAX_PER_SECOND * span_ns:
        raise ValueError(f"at most {MAX_PER_SECOND}/s can be told apart, got {clip(text)}")
    rate = Rate(count, span_ns // count, burst or count)
    if rate.span_ns > MAX_SPAN_NS:
        raise ValueError(f"a burst of {rate.burst} at {clip(text)} takes more than ten years to come back: lower it")
    return rate


def seconds_up(nanoseconds: int) -> int:
    """Return whole seconds, rounded up: who comes back after them is not too early."""
    return math.ceil(nanoseconds / 10**9)
