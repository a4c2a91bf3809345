"""The retry budget: a share of the requests of all workers, and a few more."""

from __future__ import annotations

import pytest

from npserver.upstream.group import Upstream
from npserver.upstream.retry_budget import MIN_RETRIES, PERIOD_S
from tests.unit.upstream.test_group import Bed

A, B = "http://10.0.0.1:80", "http://10.0.0.2:80"


@pytest.fixture
def bed() -> Bed:
    return Bed(workers=2)


def upstreams(bed: Bed) -> list[Upstream]:
    return [bed.upstream(A, B, worker=worker, retry_budget="20%") for worker in range(2)]


def retries(upstream: Upstream, most: int = 1000) -> int:
    """Return how many retries are allowed in a row; each is a request too."""
    count = 0
    while count < most and upstream.retry.spend():
        upstream.targets[1].acquire()
        count += 1
    return count


def test_few_requests_may_be_retried_and_refusals_are_logged_once(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = upstreams(bed)
    assert retries(first) == MIN_RETRIES
    assert retries(first) == 0
    assert [one.message for one in caplog.records] == [
        "upstream app: no more retries for now, 10 for 0 requests (upstreams.app.retry_budget)"
    ]


def test_the_share_is_of_the_requests_of_all_workers(bed: Bed) -> None:
    first, second = upstreams(bed)
    assert retries(first, 1) == retries(second, 1) == 1  # the period begins
    for upstream in (first, second):
        for _ in range(100):
            upstream.targets[0].acquire()
    for context in bed.contexts:
        context.row.publish()
    assert retries(first) + retries(second) == MIN_RETRIES + 0.2 * 200 - 2


def test_a_new_period_begins_anew(bed: Bed) -> None:
    first, _ = upstreams(bed)
    retries(first)
    bed.clock.now += PERIOD_S
    assert retries(first) == MIN_RETRIES


def test_what_the_policy_forbids_costs_nothing(bed: Bed) -> None:
    first, _ = upstreams(bed)
    assert not first.retry.allows("timeout", 1, repeatable=True, sent=True)
    assert not first.retry.allows("connect", 9, repeatable=True, sent=False)
    assert retries(first) == MIN_RETRIES


def test_asking_whether_there_is_a_target_and_a_budget_costs_nothing(bed: Bed) -> None:
    first, second = upstreams(bed)
    for _ in range(MIN_RETRIES + 1):
        assert first.retry.allows("connect", 1, repeatable=True, sent=False)
        assert first.retry.has_budget()
    assert retries(first) == MIN_RETRIES
    assert not first.retry.has_budget()
    assert not second.retry.has_budget()
