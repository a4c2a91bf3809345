"""One timer for all deadlines of a process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from npserver.runtime.deadlines import NEVER, PERIOD_S, Sweeper
from tests.protocols.memory import MemoryLoop


class Watched:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired: list[float] = []

    def expire(self, now: float) -> None:
        self.expired.append(now)
        self.deadline = NEVER


class Faulty(Watched):
    def expire(self, now: float) -> None:
        raise RuntimeError("faulty")


@pytest.fixture
def loop() -> Any:
    return MemoryLoop()


def test_only_what_is_due_expires_and_once(loop: Any) -> None:
    sweeper = Sweeper(loop)
    due, later, never = Watched(1001.0), Watched(1002.0), Watched(NEVER)
    sweeper.watched |= {due, later, never}
    loop.now = 1001.5
    sweeper._sweep()
    sweeper._sweep()
    assert (due.expired, later.expired, never.expired) == ([1001.5], [], [])
    assert sweeper.now == 1001.5


def test_one_that_does_not_move_its_deadline_is_told_again(loop: Any) -> None:
    sweeper, told = Sweeper(loop), []
    one = Watched(0.0)
    one.expire = told.append  # type: ignore[method-assign]
    sweeper.watched.add(one)
    sweeper._sweep()
    sweeper._sweep()
    assert told == [1000.0, 1000.0]


def test_a_faulty_one_does_not_keep_the_others_waiting(loop: Any, caplog: pytest.LogCaptureFixture) -> None:
    sweeper = Sweeper(loop)
    others = [Watched(0.0) for _ in range(5)]
    sweeper.watched |= {Faulty(0.0), *others}
    sweeper._sweep()
    assert all(one.expired for one in others)
    assert "error in the timeout of <" in caplog.text


async def test_it_looks_a_few_times_a_second_until_it_is_closed() -> None:
    loop = asyncio.get_running_loop()
    sweeper, expired = Sweeper(loop), asyncio.Event()
    one = Watched(loop.time())
    one.expire = lambda now: expired.set()  # type: ignore[method-assign]
    sweeper.watched.add(one)
    async with asyncio.timeout(PERIOD_S * 20):
        await expired.wait()
    sweeper.close()
    sweeper.close()
    assert sweeper._handle is None
