"""Ejection of targets by the results of their requests: the share, over all workers, and never the last one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from npserver.config.document import Document
from npserver.config.schema import Config
from npserver.runtime.compilation import Compilation
from npserver.upstream.compile import UPSTREAMS
from npserver.upstream.config import HealthCheck, PassiveHealth, TargetSection, UpstreamSection
from npserver.upstream.ejection import Ejections
from npserver.upstream.group import Upstream
from npserver.upstream.health_state import Health
from tests.unit.upstream.test_group import Bed

A, B, C = "http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"


class Judging(Bed):
    """Two workers that send requests; the first one's process judges too."""

    def __init__(self, *targets: str | TargetSection, **more: Any) -> None:
        super().__init__(workers=2)
        section = UpstreamSection(targets=list(targets or (A, B)), health=PassiveHealth(of=10), **more)
        self.workers: list[Upstream] = []
        for context in self.contexts:
            compilation = Compilation(Document(Config(upstreams={"app": section}), "test.json"), context)
            self.workers.append(UPSTREAMS.of(compilation)["app"])
            compilation.report.raise_errors()
            self.service = next(one for one in compilation.services if isinstance(one, Ejections))
        self.service.start()

    def send(self, count: int, *, errors: int = 0, target: int = 0, worker: int = 0) -> None:
        """Count requests to a target, and errors of it."""
        one = self.workers[worker].targets[target]
        for number in range(count):
            one.acquire()
            if number < errors:
                one.count_error()
            one.release()
        self.contexts[worker].row.publish()

    def tick(self, seconds: float = 0.5) -> list[str]:
        """Let time pass, and judge; return the URIs that get requests."""
        self.clock.now += seconds
        self.service.tick(self.clock.now)
        return [one.uri for one in self.workers[0].targets if one.health is not Health.DOWN]


def test_a_target_is_ejected_by_the_errors_of_all_workers_and_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    bed = Judging()
    bed.send(5, errors=3, worker=0)
    assert bed.tick() == [A, B]
    bed.send(4, errors=3, worker=1)
    assert bed.tick() == [A, B]  # 9 requests are too few to say
    bed.send(1, worker=1)
    assert bed.tick() == [A, B]  # no new errors
    with caplog.at_level(logging.INFO):
        bed.send(1, errors=1, worker=1)
        assert bed.tick() == [B]
        assert bed.workers[1].pick("192.0.2.1", 1) is bed.workers[1].targets[1]
        assert bed.tick(29) == [B]
        assert bed.tick(1.1) == [A, B]
    assert [one.message for one in caplog.records] == [
        f"target {A} of upstream app ejected for 30 s: 7 of its last 11 requests failed (upstreams.app.health)",
        f"target {A} of upstream app gets requests again (upstreams.app.health.eject)",
    ]
    assert bed.tick() == [A, B]  # the errors before are forgotten
    bed.send(9, errors=9)
    assert bed.tick() == [A, B]


def test_less_than_the_share_ejects_nothing() -> None:
    bed = Judging()
    for _ in range(8):
        bed.send(10, errors=4)
        assert bed.tick() == [A, B]


def test_only_the_last_requests_count() -> None:
    bed = Judging()
    bed.send(1000)
    bed.tick()
    bed.send(10, errors=5)
    assert bed.tick() == [B]


def test_errors_that_come_after_their_requests_count() -> None:
    bed = Judging()
    bed.send(12)
    bed.tick()
    for _ in range(6):
        bed.workers[0].targets[0].count_error()
    bed.contexts[0].row.publish()
    assert bed.tick() == [B]


def test_the_last_target_is_never_ejected(caplog: pytest.LogCaptureFixture) -> None:
    bed = Judging(A, B, TargetSection(uri=C, weight=0))
    bed.send(10, errors=10)
    assert C in bed.tick()
    for _ in range(3):
        bed.send(10, errors=10, target=1)
        assert bed.tick() == [B, C]
    told = [one.message for one in caplog.records if "last one" in one.message]
    reason = "failed 10 of 10 requests, but is the last one: not ejected (upstreams.app.health)"
    assert told == [f"target {B} of upstream app {reason}"]


def test_a_check_that_fails_elsewhere_brings_an_ejected_target_back() -> None:
    bed = Judging(health_check=HealthCheck())
    first, second = bed.workers[0].targets
    first.set_checked(Health.UP)
    bed.send(10, errors=10)
    assert bed.tick() == [B]
    second.set_checked(Health.DOWN)
    assert bed.tick() == [A]
    first.set_checked(Health.DOWN)
    assert bed.tick() == []


def test_a_reload_keeps_an_ejection_and_forgets_checks_that_are_gone() -> None:
    bed = Judging()
    bed.workers[0].targets[1].set_checked(Health.DOWN)  # of a config before
    bed.service.start()
    bed.send(10, errors=10)
    assert bed.tick() == [B]
    again = Ejections(bed.contexts[0], bed.workers[0], PassiveHealth(), 0.5)
    again.start()
    bed.service = again
    assert bed.tick() == [B]
    assert bed.tick(30) == [A, B]
