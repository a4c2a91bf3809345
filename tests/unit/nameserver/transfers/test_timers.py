"""When a secondary asks again, whatever the SOA says (RFC 1035 §3.3.13)."""

from __future__ import annotations

import pytest

from npserver.dns.message import codes
from npserver.dns.message.record import parse_data
from npserver.nameserver.transfers.timers import Timers, first_retry_s

APEX = b"\7example\0"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ("3600 600 604800", (3600.0, 600.0, 604_800.0)),
        ("0 0 0", (30.0, 10.0, 3600.0)),
        ("2147483647 2147483647 2147483647", (86_400.0, 7200.0, 2_147_483_647.0)),
        ("86400 7200 100", (86_400.0, 7200.0, 93_600.0)),
    ],
)
def test_the_times_of_the_soa_have_bounds(times: str, expected: tuple[float, float, float]) -> None:
    soa = parse_data(codes.SOA, f"ns.example host.example 7 {times} 300")
    timers = Timers.of({APEX: {codes.SOA: (300, (soa,))}}, APEX)
    assert (timers.refresh_s, timers.retry_s, timers.expire_s) == expected


def test_a_zone_that_was_never_there_is_asked_for_soon_at_first() -> None:
    assert [first_retry_s(count) for count in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]
