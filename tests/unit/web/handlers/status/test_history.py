"""Rates of the last minutes: samples of all workers' counters, as long as somebody shows them."""

from __future__ import annotations

import gc

import pytest

from npserver.runtime.scoreboard import Scoreboard
from npserver.web.handlers.status.history import MAX_COUNTERS, PERIOD_S, SAMPLES, History
from tests.stage.worker import make_context


class User:
    """A handler of a status rule."""


def test_rates_are_those_of_all_workers() -> None:
    board = Scoreboard(2, b"seed")
    context = make_context(board=board)
    history, user = History(context), User()
    history.start(user, ["upstream.a.requests"])
    assert history in context.sweeper.watched
    rows = board.row(0), board.row(1)
    slot = rows[0].slot("upstream.a.requests")
    for at, (first, second) in enumerate([(0, 0), (2, 4), (2, 5)]):
        rows[0].slots[slot], rows[1].slots[slot] = first, second
        history.expire(at * 2.0)
    assert history.rates("upstream.a.requests") == [3.0, 0.5]
    assert history.rates("http.requests") == []  # nothing counts them
    assert history.deadline == pytest.approx(4.0 + PERIOD_S, abs=0.2)


def test_what_is_kept_is_bounded_and_can_be_made_coarser() -> None:
    context = make_context()
    history, user = History(context), User()
    history.start(user, [f"c{number}" for number in range(2000)])
    slot = context.row.slot("http.requests")
    for at in range(1000):
        context.row.slots[slot] += 4
        for number in range(2):
            context.row.slot(f"c{number * 1900}")
        history.expire(at * 2.0)
    assert history.rates("http.requests") == [2.0] * SAMPLES
    assert history.rates("http.requests", 30) == [2.0] * 30
    assert history.rates("c0") == [0.0] * SAMPLES
    assert MAX_COUNTERS < 1900
    assert history.rates("c1900") == []


def test_nothing_is_sampled_once_no_rule_shows_it() -> None:
    context = make_context()
    history, user = History(context), User()
    history.start(user, [])
    history.expire(0.0)
    assert history in context.sweeper.watched
    del user
    gc.collect()
    history.expire(2.0)
    assert history not in context.sweeper.watched
