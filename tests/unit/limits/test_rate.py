"""Rates as people write them."""

from __future__ import annotations

import pytest

from npserver.limits.rate import parse_rate, seconds_up

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "burst", "interval_ns", "at_once"),
    [
        ("10/s", None, SECOND // 10, 10),
        ("5/m", None, 12 * SECOND, 5),
        ("1000/h", 20, 3_600_000_000, 20),
        ("30/10s", None, SECOND // 3, 30),
        ("1/d", 2, 86400 * SECOND, 2),
        (" 5 / m ", None, 12 * SECOND, 5),
        ("1000000/s", 1, 1000, 1),
    ],
)
def test_a_rate_is_an_interval_and_a_burst(text: str, burst: int | None, interval_ns: int, at_once: int) -> None:
    rate = parse_rate(text, burst)
    assert rate is not None
    assert (rate.interval_ns, rate.burst) == (interval_ns, at_once)


@pytest.mark.parametrize("text", ["0", "0/s", "0/10m"])
def test_zero_is_no_limit(text: str) -> None:
    assert parse_rate(text) is None


@pytest.mark.parametrize(
    ("text", "burst", "message"),
    [
        ("fast", None, "expected a rate such as"),
        ("10", None, "expected a rate such as"),
        ("-1/s", None, "expected a rate such as"),
        ("1.5/s", None, "expected a rate such as"),
        ("10/y", None, "expected a rate such as"),
        ("٣/s", None, "expected a rate such as"),
        ("10/0s", None, "needs a time above 0"),
        ("1000001/s", None, "at most 1000000/s"),
        ("1/d", 5000, "takes more than ten years"),
    ],
)
def test_what_is_no_rate_is_said_to_be_none(text: str, burst: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rate(text, burst)


@pytest.mark.parametrize(("nanoseconds", "seconds"), [(1, 1), (SECOND, 1), (SECOND + 1, 2), (59_000_000_001, 60)])
def test_seconds_are_rounded_up(nanoseconds: int, seconds: int) -> None:
    """A client that comes back a moment early is refused again: traefik/traefik#8581."""
    assert seconds_up(nanoseconds) == seconds
