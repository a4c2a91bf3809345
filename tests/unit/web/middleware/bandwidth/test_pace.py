"""The pace of answers, by a clock and timers that stand still until they are moved."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from npserver.limits import table
from npserver.limits.byte_account import ByteAccount
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.exchange import ResponseStart
from npserver.web.middleware.bandwidth import pace
from npserver.web.middleware.bandwidth.config import Bandwidth
from npserver.web.middleware.bandwidth.pace import PacedAnswers

SECOND = 10**9


class Loop:
    """A clock, and the timers of a loop: each is called when the clock is moved past it."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND
        self.timers: list[Any] = []

    def __call__(self) -> int:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        timer = SimpleNamespace(at=self.now + round(delay_s * SECOND), call=call)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def move(self, seconds: float) -> None:
        end = self.now + round(seconds * SECOND)
        while due := [timer for timer in self.timers if timer.at <= end]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = first.at
            first.call()
        self.now = end


class Source:
    """A source that writes pieces until it is paused."""

    def __init__(self, one: Any, exchange: Any, piece: int) -> None:
        self.filter, self.exchange, self.piece = one, exchange, piece
        self.sent = 0
        self.is_paused = False
        self.is_cancelled = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self.write()

    def cancel(self) -> None:
        self.is_cancelled = True

    def write(self) -> None:
        while not self.is_paused and self.sent < 1 << 20:
            self.sent += len(self.filter.data(bytes(self.piece)))


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(pace, "monotonic_ns", loop)
    monkeypatch.setattr(table, "monotonic_ns", loop)
    return loop


def answers(board: Scoreboard | None = None, worker: int = 0, **keys: int) -> PacedAnswers:
    board = board or Scoreboard(1, b"seed")
    section = Bandwidth(**keys)  # type: ignore[arg-type]
    account = ByteAccount(board.rates, section.per_client, "rule") if section.per_client else None
    row = board.row(worker)
    return PacedAnswers(section, account, row, row.slot("waits"))


def started(loop: Loop, rate: PacedAnswers, client: str = "192.0.2.1", piece: int = 100) -> Source:
    exchange = SimpleNamespace(context=SimpleNamespace(loop=loop), client_ip=client, source=None)
    one = rate.response(exchange)  # type: ignore[arg-type]
    assert one.start(ResponseStart(200, b"", None, True))
    exchange.source = source = Source(one, exchange, piece)
    source.write()
    return source


def test_an_answer_is_sent_at_its_bandwidth(loop: Loop) -> None:
    source = started(loop, answers(per_answer=1000))
    assert source.sent == 100
    loop.move(10)
    assert source.sent == 100 + 10_000
    loop.move(10)
    assert source.sent == 100 + 20_000


def test_answers_of_a_rule_have_each_their_own(loop: Loop) -> None:
    rate = answers(per_answer=1000)
    sources = [started(loop, rate) for _ in range(3)]
    loop.move(10)
    assert [source.sent for source in sources] == [10_100] * 3


def test_the_beginning_may_be_free(loop: Loop) -> None:
    source = started(loop, answers(per_answer=1000, after=5000))
    assert source.sent == 5100
    loop.move(1)
    assert source.sent == 6100


@pytest.mark.parametrize(("other", "together"), [("192.0.2.1", True), ("192.0.2.2", False)])
def test_answers_to_a_client_share_its_bandwidth_over_all_workers(loop: Loop, other: str, together: bool) -> None:
    board = Scoreboard(2, b"seed")
    sources = [
        started(loop, answers(board, worker, per_client=1000), client)
        for worker, client in ((0, "192.0.2.1"), (1, other))
    ]
    loop.move(20)
    sent = sum(source.sent for source in sources)
    assert abs(sent - (20_000 if together else 40_000)) <= 400


def test_a_fast_answer_waits_seldom(loop: Loop) -> None:
    rate = answers(per_answer=100_000)
    source = started(loop, rate)
    loop.move(1)
    assert abs(source.sent - 100_000) <= 1200
    assert rate._row.slots[rate._waits] <= 100  # a wait is 10 ms at the least


def test_who_comes_again_before_its_time_waits(loop: Loop) -> None:
    rate = answers(per_client=1000)
    happened: list[int] = []
    exchange: Any = SimpleNamespace(
        context=SimpleNamespace(loop=loop), client_ip="192.0.2.1", proceed=lambda: happened.append(loop.now)
    )
    start = loop.now
    for _ in range(3):
        rate.request(exchange)
        rate.charge(exchange, 500)
    loop.move(9)
    assert [(at - start) / SECOND for at in sorted(happened)] == [0, 0.5, 1]


def test_a_full_buffer_and_the_bandwidth_are_both_waited_for(loop: Loop) -> None:
    source = started(loop, answers(per_answer=1000))
    paced = source.exchange.source
    paced.pause()  # the client's buffer is full
    loop.move(5)
    assert (source.sent, loop.timers) == (100, [])
    paced.resume()
    assert source.sent == 200
    paced.pause()
    paced.resume()  # before the time
    assert source.sent == 200
    loop.move(0.1)
    assert source.sent == 300
    loop.move(0.05)
    paced.pause()
    loop.move(1)
    assert source.sent == 300


def test_a_client_that_goes_takes_source_and_timer_with_it(loop: Loop) -> None:
    source = started(loop, answers(per_answer=1000))
    source.exchange.source.cancel()
    assert (source.is_cancelled, loop.timers) == (True, [])
    source.filter.cancel()


@pytest.mark.parametrize("ends", [lambda one: one.end(b"x: y\r\n"), lambda one: one.cancel()])
def test_an_answer_that_is_over_leaves_its_source_alone(loop: Loop, ends: Callable[[Any], None]) -> None:
    source = started(loop, answers(per_answer=1000))
    ends(source.filter)
    source.exchange.source.cancel()
    assert (source.is_cancelled, loop.timers) == (False, [])
