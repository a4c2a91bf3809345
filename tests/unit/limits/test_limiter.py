"""One limit: what passes, what waits how long, and that it is counted once over all processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import pytest

from npserver.limits import limiter as module
from npserver.limits.limiter import RateLimiter
from npserver.limits.log_pace import LOG_NS
from npserver.limits.rate import parse_rate
from npserver.runtime.scoreboard import Scoreboard

SECOND = 10**9


class Clock:
    """The monotonic clock of `limits.limiter`."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic_ns", clock)
    return clock


def limiter(
    board: Scoreboard, rate: str, burst: int | None = None, worker: int = 0, identity: str = "api",
    to_key: Callable[[str], str] = str,
) -> RateLimiter:  # fmt: skip
    parsed = parse_rate(rate, burst)
    assert parsed is not None
    return RateLimiter(board.row(worker), parsed, identity, identity, to_key)


def passing(one: RateLimiter, key: str, count: int) -> int:
    return sum(one.take(key) == 0 for _ in range(count))


def test_a_burst_passes_and_then_one_each_interval(clock: Clock) -> None:
    one = limiter(Scoreboard(1, b"seed"), "10/s", 5)
    assert passing(one, "a", 8) == 5
    clock.now += SECOND // 10 - 1
    assert passing(one, "a", 3) == 0
    clock.now += 1
    assert passing(one, "a", 3) == 1
    clock.now += SECOND // 10 * 3
    assert passing(one, "a", 9) == 3
    clock.now += 100 * SECOND
    assert passing(one, "a", 9) == 5


def test_what_is_refused_says_how_long_and_counts_nothing(clock: Clock) -> None:
    one = limiter(Scoreboard(1, b"seed"), "1/m", 1)
    assert one.take("a") == 0
    assert [one.take("a") for _ in range(3)] == [60 * SECOND] * 3
    clock.now += 59 * SECOND
    assert one.take("a") == SECOND
    clock.now += SECOND
    assert one.take("a") == 0


def test_keys_and_limits_count_apart(clock: Clock) -> None:
    board = Scoreboard(1, b"seed")
    one, other = limiter(board, "1/h"), limiter(board, "1/h", identity="other")
    assert [one.take("a"), one.take("b"), other.take("a")] == [0, 0, 0]
    assert one.take("a") and one.take("b") and other.take("a")


def test_keys_that_mean_the_same_count_together(clock: Clock) -> None:
    one = limiter(Scoreboard(1, b"seed"), "1/h", to_key=lambda key: key[:3])
    assert one.take("2001:db8::1") == 0
    assert one.take("200::9") != 0
    assert one.take("201::9") == 0


def test_limiters_of_one_identity_count_together_also_after_a_reload(clock: Clock) -> None:
    board = Scoreboard(2, b"seed")
    old, new, elsewhere = limiter(board, "9/h"), limiter(board, "9/h"), limiter(board, "9/h", worker=1)
    assert sum(passing(one, "a", 4) for one in (old, new, elsewhere)) == 9


def test_processes_at_once_let_exactly_the_burst_pass() -> None:
    board = Scoreboard(4, b"seed")
    readable, writable = os.pipe()
    children = []
    for worker in range(4):
        pid = os.fork()
        if not pid:
            os.write(writable, b"%d\n" % passing(limiter(board, "1/h", 5000, worker), "a", 5000))
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    passed = os.read(readable, 1000).split()
    os.close(readable)
    os.close(writable)
    assert sum(map(int, passed)) == 5000


def test_a_flood_of_keys_neither_frees_a_limited_client_nor_refuses_a_stranger(clock: Clock) -> None:
    """nginx forgets when its zone is full; its clients start afresh."""
    board = Scoreboard(1, b"seed", rate_limit_keys=1024)
    one = limiter(board, "1/m", 5)
    limited = [f"192.0.2.{number}" for number in range(50)]
    for client in limited:
        assert passing(one, client, 6) == 5
    size = len(board.rates.cells)
    for number in range(30_000):
        assert one.take(f"10.{number >> 8}.{number & 255}.1") == 0
        clock.now += 1000
    assert [client for client in limited if one.take(client) == 0] == []
    assert one.take("198.51.100.1") == 0
    assert len(board.rates.cells) == size
    assert len(one._places) <= module.MAX_PLACES
    assert board.total(board.directory.slot("limits.evicted")) > 20_000


def test_forged_senders_of_datagrams_free_no_client_of_another_limit(clock: Clock) -> None:
    board = Scoreboard(1, b"seed", rate_limit_keys=64)
    http = limiter(board, "10/s", 1)
    datagrams = RateLimiter(board.row(0), http.rate, "udp", "udp", is_of_datagrams=True)
    assert http.take("192.0.2.1") == 0
    for number in range(2000):
        datagrams.take(f"10.{number >> 8}.{number & 255}.1")
    assert http.take("192.0.2.1") > 0


def test_what_passes_and_what_does_not_is_counted(clock: Clock) -> None:
    board = Scoreboard(1, b"seed")
    one = limiter(board, "3/h")
    for _ in range(5):
        if one.take("a"):
            one.count_limited()
    one._row.publish()
    totals = {name: board.total(slot) for name, slot in board.directory.names.items()}
    assert totals == {"limits.api.allowed": 3, "limits.api.limited": 2, "limits.evicted": 0}
    assert repr(one) == "<RateLimiter api 3 in 3600 s>"


def test_a_flood_is_logged_now_and_then(clock: Clock) -> None:
    one = limiter(Scoreboard(1, b"seed"), "1/h")
    assert [one.count_limited() for _ in range(3)] == [logging.INFO, logging.DEBUG, logging.DEBUG]
    clock.now += LOG_NS
    assert [one.count_limited() for _ in range(2)] == [logging.INFO, logging.DEBUG]
