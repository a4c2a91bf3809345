"""Times of requests by rule and by configured host."""

from __future__ import annotations

import timeit

from npserver.observe.histogram import histogram_samples
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.config import Limits, Timeouts
from npserver.web.exchange import make_route
from npserver.web.request_times import HostSeries, Series
from npserver.web.server.front import HttpFront, Unrouted
from tests.protocols.memory import OneRoute
from tests.stage.worker import make_context


def counts(board: Scoreboard) -> dict[str, float]:
    """Return the number of requests by host."""
    return {
        dict(sample.labels).get("host", ""): sample.value
        for sample in histogram_samples(board)
        if sample.name == "npserver_http_request_duration_seconds_count"
    }


def test_hosts_are_counted_by_the_name_or_pattern_that_the_rule_has() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    series = HostSeries(row, "shop", ["a.test", "*.test", "*.b.test"])
    for host in ("a.test", "x.test", "y.test", "x.b.test"):
        series.count(host, 200, 0.1)
    row.publish()
    assert counts(board) == {"a.test": 1, "*.test": 2, "*.b.test": 1}


def test_hosts_that_clients_make_up_add_no_series() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    series = HostSeries(row, "shop", ["a.test", "*.test"])
    slots = len(board.directory.names)
    for number in range(1000):
        series.count(f"made-up-{number}.test", 404, 0.1)
        series.count(f"made-up-{number}.example", 404, 0.1)
    assert len(board.directory.names) == slots
    row.publish()
    assert counts(board) == {"a.test": 0, "*.test": 1000}


def test_statuses_are_counted_by_class() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    series = Series(row, "shop", "")
    for status in (200, 299, 304, 404, 499, 500, 700, 99):
        series.count("a.test", status, 0.1)
    row.publish()
    found = {
        dict(sample.labels)["class"]: sample.value
        for sample in histogram_samples(board)
        if sample.name == "npserver_http_rule_responses_total"
    }
    assert found == {"1xx": 0, "2xx": 2, "3xx": 1, "4xx": 2, "5xx": 3}


def test_counting_a_request_takes_less_than_half_a_microsecond() -> None:
    """Status, bytes and time, with `metrics.times`: the shortest of many runs, as others may have the processor."""
    context = make_context()
    front = HttpFront(OneRoute(make_route("test", Unrouted(), 0)), context, Limits(), Timeouts())
    series = Series(context.row, "shop", "")

    def count() -> None:
        front.count(200, 512)
        series.count("a.test", 200, 0.003)

    assert min(timeit.repeat(count, number=1000, repeat=300)) / 1000 < 0.5e-6
