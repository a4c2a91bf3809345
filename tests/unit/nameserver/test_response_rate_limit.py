"""Response rate limiting: who is limited, and how."""

from __future__ import annotations

import pytest

from npserver.nameserver.response_rate_limit import RateLimiter, Verdict


class TestRateLimit:
    def judge(self, limiter: RateLimiter, count: int, client: str = "192.0.2.1", now: float = 0.0) -> str:
        return "".join(limiter.judge(client, b"name", now).value[1] for _ in range(count))  # sEnd sLip dRop

    def test_every_nth_limited_reply_is_truncated(self) -> None:
        assert self.judge(RateLimiter(3, 2), 9) == "eeerlrlrl"

    def test_without_slip_all_limited_replies_are_dropped(self) -> None:
        assert self.judge(RateLimiter(3, 0), 6) == "eeerrr"

    def test_slip_of_one_truncates_all(self) -> None:
        assert self.judge(RateLimiter(3, 1), 6) == "eeelll"

    def test_the_next_second_starts_again(self) -> None:
        limiter = RateLimiter(2, 0)
        assert self.judge(limiter, 3) == "eer"
        assert self.judge(limiter, 3, now=0.9) == "rrr"
        assert self.judge(limiter, 3, now=1.0) == "eer"

    def test_a_rate_may_have_another_time(self) -> None:
        limiter = RateLimiter(2, 0, 60.0)
        assert self.judge(limiter, 3) == "eer"
        assert self.judge(limiter, 1, now=59.9) == "r"
        assert self.judge(limiter, 3, now=60.0) == "eer"
        assert repr(limiter) == "<RateLimiter 2 in 60 s, 1 accounts>"

    @pytest.mark.parametrize(
        ("first", "second", "together"),
        [
            ("192.0.2.1", "192.0.2.250", True),
            ("192.0.2.1", "192.0.3.1", False),
            ("2001:db8:0:1::1", "2001:db8:0:ff::2", True),  # one /56
            ("2001:db8:0:1::1", "2001:db8:0:100::2", False),
            ("fe80::1%eth0", "fe80::1%eth1", True),
        ],
    )
    def test_networks_count_together(self, first: str, second: str, together: bool) -> None:
        limiter = RateLimiter(1, 0)
        self.judge(limiter, 1, first)
        assert self.judge(limiter, 1, second) == ("r" if together else "e")

    def test_answers_count_apart(self) -> None:
        limiter = RateLimiter(1, 0)
        assert [limiter.judge("192.0.2.1", label, 0.0) for label in (b"a", b"b")] == [Verdict.SEND, Verdict.SEND]

    def test_memory_is_bounded_and_the_limited_stay_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("npserver.nameserver.response_rate_limit.MAX_ACCOUNTS", 10)
        limiter = RateLimiter(1, 0)
        assert self.judge(limiter, 2) == "er"
        for number in range(9):
            limiter.judge(f"10.0.{number}.1", b"name", 0.0)
        limiter.judge("10.1.0.1", b"name", 0.0)
        assert self.judge(limiter, 1) == "r"
        for number in range(100):
            limiter.judge(f"10.2.{number}.1", b"name", 0.0)
            assert len(limiter._accounts) <= 10
