"""The choice of a target: by health, failed connections, weights, limits, backups and cookies."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from npserver.address import parse_target
from npserver.config.document import Document
from npserver.config.schema import Config
from npserver.runtime.compilation import Compilation
from npserver.runtime.scoreboard import Scoreboard
from npserver.upstream.compile import UPSTREAMS, single_target
from npserver.upstream.config import HealthCheck, TargetSection, UpstreamSection
from npserver.upstream.group import Upstream
from npserver.upstream.health_state import Health
from npserver.upstream.target import MEMORY_S, POOLS, Target, TargetState
from tests.stage.worker import StillLoop, make_context


class Bed:
    """Compiles upstreams for one worker of several."""

    def __init__(self, workers: int = 1) -> None:
        self.clock = StillLoop()
        self.board = Scoreboard(workers, b"seed")
        self.contexts = [make_context(self.clock, number, board=self.board) for number in range(workers)]

    def upstream(self, *targets: str | TargetSection, worker: int = 0, **settings: Any) -> Upstream:
        config = Config(upstreams={"app": UpstreamSection(targets=list(targets), **settings)})
        compilation = Compilation(Document(config, "test.json"), self.contexts[worker])
        compiled = UPSTREAMS.of(compilation)
        compilation.report.raise_errors()
        return compiled["app"]


A, B, C = "http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"


@pytest.fixture
def bed() -> Bed:
    return Bed()


def picks(upstream: Upstream, count: int, tried: frozenset[Target] = frozenset()) -> list[str]:
    found = [upstream.pick("192.0.2.1", 1, tried) for _ in range(count)]
    return [target.uri if target else "" for target in found]


class TestFailures:
    def test_a_failed_target_is_marked_down_for_a_while(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B, retry_timeout_seconds=30)
        upstream.targets[0].connect_failed("refused")
        assert set(picks(upstream, 4)) == {B}
        bed.clock.now += 30
        assert set(picks(upstream, 4)) == {A, B}

    def test_a_connection_that_succeeds_ends_the_mark(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B)
        upstream.targets[0].connect_failed("refused")
        upstream.targets[0].connect_succeeded()
        assert set(picks(upstream, 4)) == {A, B}

    def test_only_target_is_always_tried(self, bed: Bed) -> None:
        upstream = bed.upstream(A)
        upstream.targets[0].connect_failed("refused")
        assert picks(upstream, 1) == [A]

    def test_with_all_failed_each_is_tried_once_a_second(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B)
        for target in upstream.targets:
            target.connect_failed("refused")
        assert picks(upstream, 1) == [""]
        bed.clock.now += 1
        assert picks(upstream, 1) == [A]
        upstream.targets[0].connect_failed("refused")
        assert picks(upstream, 1) == [B]
        upstream.targets[1].connect_failed("refused")
        assert picks(upstream, 1) == [""]
        assert upstream.retry_after_s() == 1

    def test_mark_is_logged_once(self, bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
        upstream = bed.upstream(A, B)
        for _ in range(3):
            upstream.targets[0].connect_failed("refused")
        assert caplog.messages == [
            f"target {A} marked down for 30 s after a failed connection (retry_timeout_seconds): refused"
        ]

    def test_end_of_the_mark_is_logged_once(self, bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        upstream = bed.upstream(A, B)
        upstream.targets[0].connect_failed("refused")
        caplog.clear()
        for _ in range(3):
            upstream.targets[0].connect_succeeded()
        assert caplog.messages == [f"target {A} is reachable again"]

    def test_mark_outlives_a_reload(self, bed: Bed) -> None:
        before = bed.upstream(A, B)
        before.targets[0].connect_failed("refused")
        assert set(picks(bed.upstream(A, B), 4)) == {B}

    def test_pool_outlives_a_reload_but_not_other_tls_settings(self, bed: Bed) -> None:
        before = bed.upstream(A, B)
        after = bed.upstream(A, B)
        assert before.targets[0].pool is after.targets[0].pool
        assert before.targets[0].pool is not before.targets[1].pool

    def test_pools_of_removed_targets_are_freed(self, bed: Bed) -> None:
        upstream: Upstream | None = bed.upstream(A, B)
        assert upstream is not None
        pools = POOLS.of(bed.contexts[0])
        assert len(pools) == 2
        del upstream
        assert len(pools) == 0


class TestChecks:
    def test_target_that_checks_found_down_is_not_used(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B, health_check=_check())
        first = upstream.targets[0]
        assert first.health is Health.UNKNOWN
        assert set(picks(upstream, 4)) == {A, B}
        first.controller_slots[first.health_slot] = Health.DOWN
        assert set(picks(upstream, 4)) == {B}
        first.controller_slots[first.health_slot] = Health.UP
        assert set(picks(upstream, 4)) == {A, B}

    def test_not_even_the_only_target_is_used_when_it_is_down(self, bed: Bed) -> None:
        upstream = bed.upstream(A, health_check=_check())
        target = upstream.targets[0]
        target.controller_slots[target.health_slot] = Health.DOWN
        assert picks(upstream, 1) == [""]
        assert upstream.only_target is None
        assert upstream.retry_after_s() == 10

    def test_a_config_without_checks_ignores_earlier_results(self, bed: Bed) -> None:
        checked = bed.upstream(A, B, health_check=_check())
        checked.targets[0].controller_slots[checked.targets[0].health_slot] = Health.DOWN
        assert set(picks(bed.upstream(A, B), 4)) == {A, B}

    def test_other_workers_see_it(self) -> None:
        bed = Bed(2)
        one, two = (bed.upstream(A, B, worker=number, health_check=_check()) for number in range(2))
        one.targets[0].controller_slots[one.targets[0].health_slot] = Health.DOWN
        assert set(picks(two, 4)) == {B}

    def test_slow_start_raises_the_weight_step_by_step(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B, health_check=_check(), slow_start=100)
        first = upstream.targets[0]
        first.controller_slots[first.health_slot] = Health.UP
        first.controller_slots[first.health_since_slot] = int(bed.clock.now * 1000)
        bed.clock.now += 10
        assert picks(upstream, 110).count(A) == 10
        bed.clock.now += 90
        assert picks(upstream, 100).count(A) == 50

    def test_addresses_for_dns_are_those_of_healthy_targets(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B, "http://name.test:80", health_check=_check())
        values = {"addresses": ["10.0.0.9", "10.0.0.2"], "error": ""}
        upstream.context.pubsub.publish("resolved:name.test", values)
        assert upstream.healthy_addresses() == ["10.0.0.1", "10.0.0.2", "10.0.0.9"]
        first = upstream.targets[0]
        first.controller_slots[first.health_slot] = Health.DOWN
        assert upstream.healthy_addresses() == ["10.0.0.2", "10.0.0.9"]


class TestLimits:
    def test_the_log_says_why_no_target_is_left(self, bed: Bed) -> None:
        limited = [TargetSection(uri=uri, max_connections=1) for uri in (A, B)]
        one = bed.upstream(*limited, C, health_check=HealthCheck())
        assert one.why_no_target() == ""
        for target in one.targets[:2]:
            target.acquire()
        one.targets[2].controller_slots[one.targets[2].health_slot] = Health.DOWN
        left = " (2 of 3 at max_connections: 'wait' lets requests wait, 1 of 3 unhealthy or ejected)"
        assert one.why_no_target() == left
        assert "'wait'" not in bed.upstream(*limited, C, health_check=HealthCheck(), wait=1).why_no_target()

    def test_max_connections_counts_over_all_workers(self) -> None:
        bed = Bed(2)
        limited = TargetSection(uri=A, max_connections=2)
        one, two = (bed.upstream(limited, B, worker=number) for number in range(2))
        one.targets[0].acquire()
        two.targets[0].acquire()
        assert set(picks(one, 4)) == {B}
        two.targets[0].release()
        assert set(picks(one, 4)) == {A, B}

    def test_least_conn_counts_over_all_workers(self) -> None:
        bed = Bed(2)
        one, two = (bed.upstream(A, B, worker=number, balance="least-conn") for number in range(2))
        one.targets[0].acquire()
        assert picks(two, 3) == [B, B, B]

    def test_a_backup_is_used_only_if_no_other_target_is_available(self, bed: Bed) -> None:
        upstream = bed.upstream(A, TargetSection(uri=B, backup=True))
        assert set(picks(upstream, 4)) == {A}
        assert picks(upstream, 1, frozenset({upstream.targets[0]})) == [B]
        upstream.targets[0].connect_failed("refused")
        assert set(picks(upstream, 4)) == {B}

    def test_weight_zero_gets_nothing_but_its_cookies(self, bed: Bed) -> None:
        upstream = bed.upstream(A, TargetSection(uri=B, weight=0))
        assert set(picks(upstream, 4)) == {A}
        assert upstream.pick_sticky(upstream.targets[1].cookie) is upstream.targets[1]

    def test_sticky_target_that_is_down_is_not_used(self, bed: Bed) -> None:
        upstream = bed.upstream(A, B)
        upstream.targets[0].connect_failed("refused")
        assert upstream.pick_sticky(upstream.targets[0].cookie) is None
        assert upstream.pick_sticky(b"unknown") is None


class TestHashes:
    def test_ip_hash_keeps_a_client_and_conn_hash_a_connection(self, bed: Bed) -> None:
        by_ip = bed.upstream(A, B, C, balance="ip-hash")
        by_connection = by_ip.with_keys(balance="conn-hash")
        assert len({by_ip.pick(f"192.0.2.{n}", 1) for n in range(50)}) == 3
        assert len({by_ip.pick("192.0.2.1", n) for n in range(50)}) == 1
        assert len({by_connection.pick("192.0.2.1", n) for n in range(50)}) == 3
        assert len({by_connection.pick(f"192.0.2.{n}", 7) for n in range(50)}) == 1


def test_single_targets_of_several_rules_share_their_pool(bed: Bed) -> None:
    compilation = Compilation(Document(Config(), "test.json"), bed.contexts[0])
    one = single_target(compilation, ("dispatch", 0, "proxy_pass"), parse_target(A + "/base"))
    two = single_target(compilation, ("dispatch", 1, "proxy_pass"), parse_target(A))
    assert one.targets[0].pool is two.targets[0].pool
    assert one.targets[0].active_slot == two.targets[0].active_slot
    assert one.only_target is one.targets[0]


def _check() -> Any:
    return HealthCheck()


class TestResponseTime:
    def test_a_longer_time_counts_at_once_a_shorter_one_by_and_by(self) -> None:
        state = TargetState()
        assert state.response_time_s(100) == 0
        state.observe(0.1, 100)
        assert state.response_time_s(100) == pytest.approx(0.1)
        state.observe(0.5, 100)
        assert state.response_time_s(100) == pytest.approx(0.5)
        state.observe(0.1, 101)
        assert 0.4 < state.response_time_s(101) < 0.5

    def test_it_decays_until_the_target_is_tried_again(self) -> None:
        state = TargetState()
        state.observe(1.0, 100)
        assert state.response_time_s(100 + MEMORY_S) == pytest.approx(0.368, abs=0.001)
        assert 0 < state.response_time_s(100 + 10 * MEMORY_S) < 0.001
