"""Histograms on the scoreboard, as Prometheus reads them."""

from __future__ import annotations

import pytest

from npserver.observe import metrics
from npserver.observe.histogram import (
    BOUNDS_S,
    REQUEST_TIMES,
    RESPONSE_TIMES,
    UPSTREAM_TIMES,
    Histogram,
    histogram_samples,
)
from npserver.runtime.scoreboard import Scoreboard


def lines(board: Scoreboard) -> list[str]:
    return metrics.prometheus(histogram_samples(board)).splitlines()


def test_times_of_all_workers_are_cumulated_in_buckets() -> None:
    board = Scoreboard(2, b"seed")
    rows = [board.row(worker) for worker in (0, 1)]
    first, second = (Histogram(row, REQUEST_TIMES, "shop", "") for row in rows)
    first.observe(0.0)
    first.observe(0.001)  # a bound is within its bucket
    second.observe(0.0011)
    second.observe(99.5)
    for row in rows:
        row.expire(1.0)
        row.expire(2.0)
    text = lines(board)
    name = "npserver_http_request_duration_seconds"
    assert text[1] == f"# TYPE {name} histogram"
    assert text[2:5] == [
        f'{name}_bucket{{rule="shop",le="{le}"}} {n}' for le, n in (("0.001", 2), ("0.0025", 3), ("0.005", 3))
    ]
    assert text[-4:] == [
        f'{name}_bucket{{rule="shop",le="60.0"}} 3',
        f'{name}_bucket{{rule="shop",le="+Inf"}} 4',
        f'{name}_sum{{rule="shop"}} 99.5021',
        f'{name}_count{{rule="shop"}} 4',
    ]
    assert len(text) == 2 + len(BOUNDS_S) + 3


def test_labels_may_have_any_visible_characters() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    Histogram(row, RESPONSE_TIMES, 'a "b" \\ c', "http://[::1]:80").observe(1)
    row.publish()
    labels = 'upstream="a \\"b\\" \\\\ c",target="http://[::1]:80"'
    assert f"npserver_upstream_response_seconds_count{{{labels}}} 1" in lines(board)
    assert metrics.samples(board) == [], "the slots are not shown one by one"


@pytest.mark.parametrize("seconds", BOUNDS_S)
def test_a_time_within_a_bound_counts_for_it(seconds: float) -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    Histogram(row, REQUEST_TIMES, "r", "").observe(seconds)
    row.publish()
    counts = {dict(sample.labels).get("le"): sample.value for sample in histogram_samples(board)}
    assert counts[repr(seconds)] == 1
    below = [bound for bound in BOUNDS_S if bound < seconds]
    assert all(counts[repr(bound)] == 0 for bound in below)


def test_a_time_can_be_counted_in_two_at_once() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    one, other, both = (Histogram(row, UPSTREAM_TIMES, rule) for rule in ("one", "other", "both"))
    one.observe(0.002)
    one.observe_with(both, 0.3)
    other.observe_with(both, 99.5)
    row.publish()
    found = lines(board)
    name = "npserver_http_upstream_response_seconds"
    for rule, within, total, count in (("one", 2, 0.302, 2), ("other", 0, 99.5, 1), ("both", 1, 99.8, 2)):
        assert f'{name}_bucket{{rule="{rule}",le="0.5"}} {within}' in found
        assert f'{name}_sum{{rule="{rule}"}} {total}' in found
        assert f'{name}_count{{rule="{rule}"}} {count}' in found


def test_fractions_of_a_microsecond_are_not_lost() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    one = Histogram(row, REQUEST_TIMES, "r", "")
    for _ in range(8):
        one.observe(0.25e-6)
        row.publish()
    assert [sample.value for sample in histogram_samples(board) if sample.suffix == "_sum"] == [2e-6]
