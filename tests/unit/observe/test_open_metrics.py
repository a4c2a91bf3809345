"""Metrics in the format OpenMetrics, as the parser of the Prometheus project reads them.

Covers `observe.exemplars` and `observe.open_metrics`.
"""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from npserver.observe import metrics
from npserver.observe.histogram import BOUNDS_S, REQUEST_TIMES, Histogram, histogram_samples
from npserver.observe.open_metrics import accepts_open_metrics, open_metrics
from npserver.runtime.scoreboard import Scoreboard

TRACES = [f"{number:032x}" for number in (1, 0xFFFFFFFFFFFFFFFF, (1 << 128) - 1)]


def exemplars(board: Scoreboard) -> dict[str, tuple[str, float]]:
    """Return trace and value by the bound of the bucket."""
    text = open_metrics(histogram_samples(board))
    return {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    }


def count(one: Histogram, trace: str, took_s: float) -> None:
    """Count a request whose trace is kept, and publish it."""
    one.observe(took_s)
    one.keep_trace(trace, took_s)
    one.row.publish()


def test_every_family_is_read() -> None:
    names = [pattern.pattern.replace("\\", "") for pattern, _ in metrics.FAMILIES if "(?P" not in pattern.pattern]
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    for name in [*names, r'odd \ "name"']:
        row.slots[row.slot(name)] = 7
    Histogram(row, REQUEST_TIMES, 'a "b" \\ c', "").observe(0.2)
    row.publish()
    taken = [*metrics.samples(board), *histogram_samples(board)]
    found = [sample for family in text_string_to_metric_families(open_metrics(taken)) for sample in family.samples]
    assert len(found) == len(taken)
    assert {one.value for one in found} == {7, 0, 1, 0.2}
    assert any(one.labels.get("rule") == 'a "b" \\ c' for one in found)


def test_the_last_trace_of_all_processes_is_named_with_its_bucket() -> None:
    board = Scoreboard(2, b"seed")
    first, second = (Histogram(board.row(worker), REQUEST_TIMES, "shop", "", has_exemplars=True) for worker in (0, 1))
    count(first, TRACES[0], 0.0)
    count(first, TRACES[1], 0.2)
    count(second, TRACES[2], 0.21)
    count(second, TRACES[0], 1000.5)
    assert exemplars(board) == {"0.001": (TRACES[0], 0), "0.25": (TRACES[2], 0.21), "+Inf": (TRACES[0], 1000.5)}


def test_one_that_is_being_written_is_left_out() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    one = Histogram(row, REQUEST_TIMES, "shop", "", has_exemplars=True)
    count(one, TRACES[1], 0.2)
    name = next(name for name in board.directory.names if name.endswith(f"\t{BOUNDS_S.index(0.25)}\t3"))
    row.slots[row.slot(name)] = 0
    assert exemplars(board) == {}


def test_one_that_is_not_counted_yet_is_left_out() -> None:
    """Counts are published at intervals: a bucket with nothing in it had an exemplar."""
    board = Scoreboard(1, b"seed")
    one = Histogram(board.row(0), REQUEST_TIMES, "shop", "", has_exemplars=True)
    one.observe(0.2)
    one.keep_trace(TRACES[1], 0.2)
    assert exemplars(board) == {}
    one.row.publish()
    assert exemplars(board) == {"0.25": (TRACES[1], 0.2)}


def test_without_the_key_none_are_kept() -> None:
    board = Scoreboard(1, b"seed")
    Histogram(board.row(0), REQUEST_TIMES, "shop", "").keep_trace(TRACES[0], 0.2)
    assert exemplars(board) == {}
    assert len(board.directory.names) == len(BOUNDS_S) + 2


@pytest.mark.parametrize(
    ("accept", "is_preferred"),
    [
        (b"application/openmetrics-text", True),
        (b"Application/OpenMetrics-Text ; version=1.0.0 ; q=0.5 , text/plain;q=0.5", True),
        (b"application/openmetrics-text;q=0.4,text/plain;q=0.5", False),
        (b"application/openmetrics-text;q=0, */*", False),
        (b"application/openmetrics-text;q=high", False),
        (b"application/openmetrics-text;q=nan", False),
        (b"application/openmetrics-textual", False),
        (b"text/plain", False),
        (b"\xff;application/openmetrics-text", False),
        (b"", False),
    ],
)
def test_who_prefers_the_format(accept: bytes, is_preferred: bool) -> None:
    assert accepts_open_metrics(accept) is is_preferred
