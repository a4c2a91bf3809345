"""Values that every worker has taken before their publisher goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from npserver.runtime.agreement import Agreement
from npserver.runtime.context import Context
from npserver.runtime.pubsub import PubSub
from npserver.runtime.scoreboard import Scoreboard
from tests.stage.worker import make_context


class Processes:
    """A controller and two workers, in one process: rows of one scoreboard, and values passed on by hand."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        board = Scoreboard(2, b"seed")
        self.waiting: list[tuple[str, Any]] = []
        self.seen: list[list[Any]] = [[], [], []]
        self.contexts: list[Context] = []
        self.agreements: list[Agreement] = []
        for number in (-1, 0, 1):
            context = make_context(loop)
            context.sweeper.close()
            context.row, context.pubsub = board.row(number), PubSub()
            self.contexts.append(context)
        self.contexts[0].pubsub.send = lambda topic, value: self.waiting.append((topic, value))

    def start(self, number: int) -> None:
        self.agreements.append(Agreement(self.contexts[number], "topic", self.seen[number].append))

    def pass_on(self, number: int) -> None:
        for topic, value in self.waiting:
            self.contexts[number].pubsub.deliver(topic, value)


async def test_the_publisher_waits_for_all_workers() -> None:
    processes = Processes()
    for number in range(3):
        processes.start(number)
    for value in ("first", "second", "first"):
        publishing = asyncio.ensure_future(processes.agreements[0].publish(value, 5))
        while not processes.waiting:
            await asyncio.sleep(0)
        processes.pass_on(1)
        await asyncio.wait([publishing], timeout=0.05)
        assert not publishing.done()
        processes.pass_on(2)
        assert await publishing == []
        processes.waiting.clear()
    assert processes.seen == [["first", "second", "first"]] * 3


async def test_workers_that_are_late_are_named() -> None:
    processes = Processes()
    for number in range(2):
        processes.start(number)
    publishing = asyncio.ensure_future(processes.agreements[0].publish("value", 0.05))
    while not processes.waiting:
        await asyncio.sleep(0)
    processes.pass_on(1)
    assert await publishing == [1]
    processes.pass_on(2)  # it starts, and has the latest values before it serves
    processes.start(2)
    assert processes.seen[2] == ["value"]
