"""Response rate limiting: who is limited, and how."""

from __future__ import annotations

import pytest

from npserver.nameserver.response_rate_limit import RateLimiter, Verdict
from npserver.runtime.scoreboard import Scoreboard
from tests.stage.nameserver import limiter_of


class TestRateLimit:
    def judge(self, limiter: RateLimiter, count: int, client: str = "192.0.2.1", now: float = 0.0) -> str:
        return "".join(limiter.judge(client, b"name", now).value[1] for _ in range(count))  # sEnd sLip dRop

    def test_every_nth_limited_reply_is_truncated(self) -> None:
        assert self.judge(limiter_of(3, 2), 9) == "eeerlrlrl"

    def test_without_slip_all_limited_replies_are_dropped(self) -> None:
        assert self.judge(limiter_of(3, 0), 6) == "eeerrr"

    def test_slip_of_one_truncates_all(self) -> None:
        assert self.judge(limiter_of(3, 1), 6) == "eeelll"

    def test_the_next_second_starts_again(self) -> None:
        limiter = limiter_of(2, 0)
        assert self.judge(limiter, 3) == "eer"
        assert self.judge(limiter, 3, now=0.9) == "rrr"
        assert self.judge(limiter, 3, now=1.0) == "eer"

    def test_a_rate_may_have_another_time(self) -> None:
        limiter = limiter_of(2, 0, 60.0)
        assert self.judge(limiter, 3) == "eer"
        assert self.judge(limiter, 1, now=59.0) == "r"
        assert self.judge(limiter, 3, now=60.0) == "eer"
        assert repr(limiter) == "<RateLimiter 2 in 60 s>"

    @pytest.mark.parametrize("window_s", [1.0, 60.0, 86_400.0])
    def test_a_rate_is_counted_as_far_as_it_goes(self, window_s: float) -> None:
        limiter = limiter_of(100_000, 0, window_s)
        assert self.judge(limiter, 100_002, now=5.0) == "e" * 100_000 + "rr"

    def test_a_flood_beyond_all_numbers_stays_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("npserver.nameserver.response_rate_limit._MAX_COUNT_BITS", 4)
        limiter = limiter_of(3, 0)
        assert self.judge(limiter, 40) == "eee" + "r" * 37
        assert self.judge(limiter, 1, now=1.0) == "e"

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
        limiter = limiter_of(1, 0)
        self.judge(limiter, 1, first)
        assert self.judge(limiter, 1, second) == ("r" if together else "e")

    def test_answers_count_apart(self) -> None:
        limiter = limiter_of(1, 0)
        assert [limiter.judge("192.0.2.1", label, 0.0) for label in (b"a", b"b")] == [Verdict.SEND, Verdict.SEND]

    def test_workers_count_together(self) -> None:
        board = Scoreboard(2, b"k" * 16, rate_limit_keys=100)
        one, other = (RateLimiter(board.row(number), 3, 2, 1.0, "udp://:53") for number in (0, 1))
        apart = RateLimiter(board.row(0), 3, 2, 1.0, "udp://:54")
        found = [self.judge(limiter, 1) for limiter in (one, other) * 4]
        assert "".join(found) == "eeerlrlr"
        assert self.judge(apart, 3) == "eee"

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("npserver.nameserver.response_rate_limit.MAX_PLACES", 10)
        limiter = limiter_of(1, 0, keys=100_000)
        assert self.judge(limiter, 2) == "er"
        for number in range(100):
            limiter.judge(f"10.2.{number}.1", b"name", 0.0)
            assert len(limiter._places) <= 10
        assert self.judge(limiter, 1) == "r"

    def test_a_full_table_forgets_some_and_counts_them(self) -> None:
        board = Scoreboard(1, b"k" * 16, rate_limit_keys=8)
        limiter = RateLimiter(board.row(0), 1, 0)
        for number in range(20):
            assert limiter.judge(f"10.2.{number}.1", b"name", 0.0) is Verdict.SEND
        assert board.total(board.directory.slot("limits.evicted")) == 12
