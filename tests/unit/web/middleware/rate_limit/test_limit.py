"""The rate limit of a rule: who is refused, with what fields, and what is counted and logged."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from npserver.limits.compile import CompiledLimit
from npserver.limits.config import RateLimit
from npserver.limits.limiter import RateLimiter
from npserver.limits.rate import parse_rate
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.middleware.rate_limit.limit import RateCheck, RateGate
from tests.stage.exchanges import exchange

KEY = "dispatch[0].rate_limit"


def made(name: str = "dispatch[0]", **keys: Any) -> tuple[RateLimiter, CompiledLimit]:
    section = RateLimit(rate="1/m", **keys)
    rate = parse_rate(section.rate, section.burst)
    assert rate is not None
    place = ("dispatch", 0, "rate_limit") if name == "dispatch[0]" else ("rate_limits", name)
    limit = CompiledLimit(section, rate, place, KEY, name, name)
    return RateLimiter(Scoreboard(1, b"seed").row(0), rate, name, name), limit


def total(limiter: RateLimiter, name: str) -> int:
    board = limiter._row.board
    limiter._row.publish()
    return board.total(board.directory.slot(f"limits.{limiter.name}.{name}"))


def test_a_refusal_says_when_to_come_back_and_which_limit_it_is() -> None:
    gate = RateGate(*made("api", burst=3))
    request = exchange().request
    assert [gate.gate("192.0.2.1", request) for _ in range(3)] == [None] * 3
    refusal = gate.gate("192.0.2.1", request)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.key) == (429, "over the rate limit", KEY)
    assert refusal.fields == (b'Retry-After: 60\r\nRateLimit-Policy: "api";q=3;w=180\r\nRateLimit: "api";r=0;t=60\r\n')
    assert gate.gate("192.0.2.2", request) is None


@pytest.mark.parametrize(
    ("name", "told"), [("dispatch[0]", "default"), ('a"b\\c', "abc"), ("größe", "default"), ("a\nb", "default")]
)
def test_the_name_of_a_policy_is_a_string_of_rfc_9651(name: str, told: str) -> None:
    gate = RateGate(*made(name))
    request = exchange().request
    gate.gate("192.0.2.1", request)
    refusal = gate.gate("192.0.2.1", request)
    assert refusal is not None and f'RateLimit: "{told}";r=0;t=60\r\n'.encode() in refusal.fields


def test_only_its_methods_count() -> None:
    gate = RateGate(*made(methods=["POST"], status=503))
    assert [gate.gate("192.0.2.1", exchange(method="GET").request) for _ in range(3)] == [None] * 3
    assert gate.gate("192.0.2.1", exchange(method="POST").request) is None
    refusal = gate.gate("192.0.2.1", exchange(method="POST").request)
    assert refusal is not None and refusal.status == 503


def test_a_refusal_is_counted_when_it_is_answered() -> None:
    """The gate is asked twice about a request that is refused on a fast path."""
    limiter, limit = made()
    gate = RateGate(limiter, limit)
    request = exchange().request
    gate.gate("192.0.2.1", request)
    refusals = [gate.gate("192.0.2.1", request) for _ in range(4)]
    assert total(limiter, "limited") == 0
    assert [one.answered() for one in refusals[::2] if one and one.answered] == [logging.INFO, logging.DEBUG]
    assert (total(limiter, "allowed"), total(limiter, "limited")) == (1, 2)


def test_a_dry_run_counts_and_logs_and_lets_all_pass(caplog: pytest.LogCaptureFixture) -> None:
    limiter, limit = made(dry_run=True)
    gate = RateGate(limiter, limit)
    request = exchange().request
    with caplog.at_level(logging.INFO, "npserver.http"):
        assert [gate.gate("192.0.2.1", request) for _ in range(5)] == [None] * 5
    assert (total(limiter, "allowed"), total(limiter, "limited")) == (1, 4)
    assert caplog.messages == [
        "request from 192.0.2.1 is over the rate limit, and passes (dispatch[0].rate_limit.dry_run)"
    ]


def test_a_key_of_the_exchange_is_checked_with_one() -> None:
    limiter, limit = made(methods=["GET"])
    check = RateCheck(limiter, limit, lambda exchange: exchange.scheme)
    happened: list[Any] = []
    asked = exchange(
        proceed=lambda: happened.append("proceeds"), fail=lambda *given, level: happened.append((*given[:3], level))
    )
    other = exchange(method="POST", proceed=lambda: happened.append("other proceeds"))
    for one in (asked, other, asked):
        check.request(one)
    assert happened == ["proceeds", "other proceeds", (429, "over the rate limit", KEY, logging.INFO)]
    assert repr(check) == "<RateCheck <RateLimiter dispatch[0] 1 in 60 s>>"
