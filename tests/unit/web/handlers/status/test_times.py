"""Times on the status page: quantiles of what histograms counted in the last minutes."""

from __future__ import annotations

import pytest

from npserver.observe.histogram import BOUNDS_S, RESPONSE_TIMES, Histogram
from npserver.web.handlers.status.history import History
from npserver.web.handlers.status.times import bucket_names, quantile, time_cells
from tests.stage.worker import make_context


class User:
    """A handler of a status rule."""


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ([100], 0.5, 0.0005),
        ([0, 0, 0, 100], 0.95, 0.005 + 0.005 * 0.95),
        ([50, 50], 0.5, 0.001),
        ([50, 0, 50], 0.75, 0.00375),
        ([0] * len(BOUNDS_S) + [7], 0.5, 60.0),
        ([0] * 16, 0.99, 60.0),
    ],
)
def test_quantiles_are_those_of_prometheus(counts: list[int], share: float, seconds: float) -> None:
    assert quantile(counts, share) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("took_s", "shown"),
    [(0.0008, "0.5 ms"), (0.004, "3.8 ms"), (0.2, "175 ms"), (2.0, "1.8 s"), (50.0, "45.0 s"), (500.0, "over 60 s")],
)
def test_a_time_has_two_or_three_digits(took_s: float, shown: str) -> None:
    context = make_context()
    history, user = History(context), User()
    series = RESPONSE_TIMES, "app", "http://a:1"
    times = Histogram(context.row, *series)
    assert time_cells(history, *series) == ["", "", ""]  # nobody follows it
    history.start(user, bucket_names(*series))
    history.expire(0.0)
    assert time_cells(history, *series) == ["", "", ""]
    for _ in range(10):
        times.observe(took_s)
    context.row.publish()
    history.expire(2.0)
    assert time_cells(history, *series)[0] == shown
