"""Health by results in a row, easing in, what may be tried again, sticky cookies."""

from __future__ import annotations

import pytest

from npserver.errors import Phase
from npserver.upstream.health_state import Health, HealthTrack, parse_statuses, ramp
from npserver.upstream.retry import RetryPolicy, classify, is_stale
from npserver.upstream.sticky import cookie_line, cookie_value, find_cookie


class TestHealthTrack:
    @pytest.mark.parametrize(
        ("results", "flips"),
        [
            ("+", "+"),
            ("-", "-"),
            ("+--", "+"),
            ("+---", "+-"),
            ("+--+--", "+"),
            ("+---+", "+-"),
            ("+---++", "+-+"),
            ("+---+-++", "+-+"),
            ("-++", "-+"),
        ],
    )
    def test_flips(self, results: str, flips: str) -> None:
        track = HealthTrack(rise=2, fall=3)
        seen = ""
        for result in results:
            if track.record(result == "+"):
                seen += "+" if track.state is Health.UP else "-"
        assert seen == flips

    def test_goes_on_from_what_was_known(self) -> None:
        track = HealthTrack(rise=2, fall=3, state=Health.DOWN)
        assert not track.record(True)
        assert track.record(True)


@pytest.mark.parametrize(
    ("since", "slow_start", "share"),
    [(0, 0, 1), (0, 10, 0.1), (5, 10, 0.5), (10, 10, 1), (99, 10, 1), (float("inf"), 10, 1)],
)
def test_ramp(since: float, slow_start: float, share: float) -> None:
    assert ramp(since, slow_start) == share


class TestStatuses:
    @pytest.mark.parametrize(
        ("value", "good", "bad"),
        [
            (200, [200], [201, 204]),
            ("200-399", [200, 301, 399], [199, 400]),
            ([204, "300 - 302"], [204, 301], [200, 303]),
        ],
    )
    def test_read(self, value: int | str | list[int | str], good: list[int], bad: list[int]) -> None:
        statuses = parse_statuses(value)
        assert statuses.issuperset(good)
        assert not statuses.intersection(bad)

    @pytest.mark.parametrize("value", ["", "abc", "200-", "-200", 99, "300-200", "200-600", "2xx"])
    def test_refused(self, value: int | str) -> None:
        with pytest.raises(ValueError, match="status"):
            parse_statuses(value)


class TestRetry:
    """After sending, only what is idempotent (RFC 9110 §9.2.2)."""

    @pytest.mark.parametrize(
        ("phase", "timeout", "word"),
        [
            (Phase.RESOLVE, False, "connect"),
            (Phase.DIAL, True, "connect"),
            (Phase.SEND, False, "send"),
            (Phase.SEND, True, "timeout"),
            (Phase.RECEIVE, False, "send"),
            (Phase.RECEIVE, True, "timeout"),
        ],
    )
    def test_words(self, phase: Phase, timeout: bool, word: str) -> None:
        assert classify(phase, timeout=timeout) == word

    @pytest.mark.parametrize(
        ("failure", "attempts", "repeatable", "sent", "allowed"),
        [
            ("connect", 1, False, False, True),
            ("connect", 3, True, False, False),
            ("send", 1, True, True, True),
            ("send", 1, False, True, False),
            ("send", 1, False, False, True),
            ("timeout", 1, True, True, False),
            ("502", 1, True, True, False),
        ],
    )
    def test_default_policy(self, failure: str, attempts: int, repeatable: bool, sent: bool, allowed: bool) -> None:
        assert RetryPolicy().allows(failure, attempts, repeatable=repeatable, sent=sent) is allowed

    def test_configured(self) -> None:
        policy = RetryPolicy(1, frozenset({"502", "timeout"}))
        assert policy.allows("502", 1, repeatable=True, sent=True)
        assert policy.allows("timeout", 1, repeatable=True, sent=True)
        assert not policy.allows("502", 1, repeatable=False, sent=True)
        assert not policy.allows("connect", 1, repeatable=True, sent=False)
        assert not RetryPolicy(0).allows("connect", 1, repeatable=True, sent=False)

    @pytest.mark.parametrize(
        ("reused", "answered", "timeout", "repeatable", "sent", "stale"),
        [
            (True, False, False, True, True, True),
            (False, False, False, True, True, False),
            (True, True, False, True, True, False),
            (True, False, True, True, True, False),
            (True, False, False, False, True, False),
            (True, False, False, False, False, True),
        ],
    )
    def test_stale(
        self, reused: bool, answered: bool, timeout: bool, repeatable: bool, sent: bool, stale: bool
    ) -> None:
        found = is_stale(reused=reused, answered=answered, timeout=timeout, repeatable=repeatable, sent=sent)
        assert found is stale


class TestSticky:
    @pytest.mark.parametrize(
        ("cookies", "value"),
        [
            (b"", None),
            (b"t=1", b"1"),
            (b"a=b; t=1; c=d", b"1"),
            (b"xt=0; t=1", b"1"),
            (b"a=t=9; t=1", b"1"),
            (b't="1"', b"1"),
            (b"t=1; t=2", b"1"),
            (b"xt=1", None),
        ],
    )
    def test_find(self, cookies: bytes, value: bytes | None) -> None:
        assert find_cookie(cookies, b"t") == value

    def test_value_does_not_tell_the_address(self) -> None:
        value = cookie_value("http://10.0.0.1:80")
        assert b"10" not in value or b"10.0" not in value
        assert value != cookie_value("http://10.0.0.2:80")
        assert len(value) == 16

    def test_line(self) -> None:
        assert cookie_line("t", b"1", None, secure=False) == b"Set-Cookie: t=1; Path=/; HttpOnly; SameSite=Lax\r\n"
        assert b"; Max-Age=60; Secure\r\n" in cookie_line("t", b"1", 60.0, secure=True)
