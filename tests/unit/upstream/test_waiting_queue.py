"""The queue of an upstream: order, and how workers share the places of a target. The program: `e2e/test_waiting.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from npserver.runtime.scoreboard import Scoreboard
from npserver.upstream.config import TargetSection
from npserver.upstream.group import Upstream
from npserver.upstream.target import Target
from npserver.upstream.waiting_queue import WaitingQueue
from tests.stage.worker import StillLoop, make_context
from tests.unit.upstream.test_group import Bed

A, B = "http://10.0.0.1:80", "http://10.0.0.2:80"


class SteppedLoop(StillLoop):
    """A loop whose callbacks run when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def call_later(self, delay_s: float, callback: Any, *args: object) -> None:
        if not args and getattr(callback, "__name__", "") == "wake":
            self.calls.append(callback)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Workers(Bed):
    """Two workers with an upstream of one place."""

    def __init__(self) -> None:
        self.loops = [SteppedLoop(), SteppedLoop()]
        self.board = Scoreboard(2, b"seed")
        self.contexts = [make_context(loop, number, board=self.board) for number, loop in enumerate(self.loops)]
        self.told: list[tuple[int, str]] = []
        for context in self.contexts:
            context.pubsub.send_to = lambda role, topic, value: self.told.append((role, topic))
        target = TargetSection(uri=A, max_connections=1)
        self.upstreams = [self.upstream(target, worker=worker, wait=10, queue=3) for worker in range(2)]

    def queue(self, worker: int) -> WaitingQueue:
        queue = self.upstreams[worker].queue
        assert queue is not None
        return queue


class Asked:
    """A request that waits."""

    def __init__(self, upstream: Upstream) -> None:
        self.ticket = 0
        self.arrived, self.wait_s = 0.0, 10.0
        self.failure = ""
        self.upstream = upstream
        self.target: Target | None = None
        self.end = ""

    def enter(self) -> Asked:
        assert self.upstream.queue is not None
        self.upstream.queue.enter(self, self.upstream.most_waiting)
        return self

    def choose(self) -> Target | None:
        return self.upstream.pick("192.0.2.1", 1)

    def serve(self, target: Target) -> None:
        target.acquire()
        self.target = target

    def give_up(self, reason: str, key: str) -> None:
        self.end = f"{reason} ({key})"


@pytest.fixture
def workers() -> Workers:
    return Workers()


def ask(workers: Workers, worker: int) -> Asked:
    return Asked(workers.upstreams[worker]).enter()


def test_the_queue_is_bounded_over_all_workers(workers: Workers) -> None:
    first, *waiting = [ask(workers, number % 2) for number in range(4)]
    assert first.target is not None
    assert [one.target for one in waiting] == [None] * 3
    full = "the queue of upstream app is full: 3 wait (upstreams.app.queue)"
    assert [ask(workers, worker).end for worker in range(2)] == [full] * 2


def test_a_place_goes_to_the_first_of_the_own_queue(workers: Workers) -> None:
    first, second, third = [ask(workers, 0) for _ in range(3)]
    assert first.target is not None
    workers.loops[0].run()  # nothing is due before the release
    first.target.release()
    late = ask(workers, 0)  # does not overtake
    workers.loops[0].run()
    assert second.target is not None
    assert (third.target, late.target) == (None, None)


def test_one_that_returns_keeps_its_place(workers: Workers) -> None:
    first, second, _ = [ask(workers, 0) for _ in range(3)]
    assert first.target is not None
    first.target.release()
    first.target = None
    first.enter()
    workers.loops[0].run()
    assert first.target is not None
    assert second.target is None


def test_a_worker_is_told_if_its_first_has_waited_clearly_longer(workers: Workers) -> None:
    first, old = ask(workers, 0), ask(workers, 1)
    workers.loops[0].now += 1
    young = ask(workers, 0)
    assert first.target is not None
    first.target.release()
    for loop in workers.loops:
        loop.run()
    assert young.target is None
    assert (1, "upstream.queue.app") in workers.told
    workers.contexts[1].pubsub.hear("upstream.queue.app", None)
    assert old.target is not None
    old.target.release()
    workers.loops[1].run()
    assert workers.told[-1] == (0, "upstream.queue.app")
    workers.contexts[0].pubsub.hear("upstream.queue.app", None)
    assert young.target is not None


def test_a_sweep_finds_what_no_one_has_told(workers: Workers) -> None:
    first, waiting = ask(workers, 0), ask(workers, 1)
    assert first.target is not None
    workers.board.clear_gauges(0, [first.target.active_slot])  # the worker has died
    assert workers.queue(1) in workers.contexts[1].sweeper.watched
    workers.queue(1).expire(workers.loops[1].now)
    assert waiting.target is not None
    assert workers.queue(1) not in workers.contexts[1].sweeper.watched


def test_two_workers_do_not_use_one_place(workers: Workers) -> None:
    own, other = (upstream.targets[0] for upstream in workers.upstreams)
    other.acquire()
    assert not own.claim()
    assert own.load == 1


def test_time_passes_and_the_server_ends(workers: Workers) -> None:
    first, waiting, last = (ask(workers, 0) for _ in range(3))
    assert first.target is not None
    last.wait_s = float("inf")
    waiting.failure = "refused"
    workers.queue(0).expire(workers.loops[0].now + 10)
    in_vain = "no target of upstream app was free within 10 s; last error: refused (upstreams.app.wait)"
    assert (waiting.end, last.end) == (in_vain, "")
    workers.contexts[0].ends_at = workers.loops[0].now + 1
    workers.queue(0).expire(workers.loops[0].now)
    assert last.end == "the server shuts down, and no target of upstream app was free (timeouts.shutdown)"


def test_the_others_wait_for_the_outcome_of_one_connection(workers: Workers) -> None:
    upstream = workers.upstream(A, wait=10)
    target = upstream.targets[0]
    target.connect_failed("refused")
    workers.loops[0].now += 1
    one, two = (Asked(upstream).enter() for _ in range(2))
    assert one.target is target
    assert two.target is None
    target.connect_succeeded()
    workers.loops[0].run()
    assert two.target is target


def test_the_targets_of_a_reload_are_used(workers: Workers) -> None:
    ask(workers, 0)
    later = workers.upstream(B, wait=10)
    workers.queue(0).activate(later)
    assert workers.queue(0).current is later
    assert workers.loops[0].calls == []  # nobody waits
    ask(workers, 0)
    workers.queue(0).activate(later)
    assert workers.loops[0].calls
