"""Memory shared by all processes."""

from __future__ import annotations

import os

import pytest

from npserver.errors import ConfigError
from npserver.runtime import scoreboard
from npserver.runtime.scoreboard import Directory, Scoreboard


def test_names_get_slots_in_order_and_keep_them() -> None:
    directory = Directory()
    assert [directory.slot(name) for name in ("a", "b", "a", "c")] == [0, 1, 0, 2]


def test_a_full_scoreboard_names_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoreboard, "SLOTS", 1)
    directory = Directory()
    directory.slot("a")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"more than 1 counters .* the next one is 'b': .*restart npserver"):
            directory.slot("b")
    assert directory.slot("a") == 0
    assert directory.names == {"a": 0}


def test_a_total_is_the_sum_of_all_rows() -> None:
    board = Scoreboard(2, b"seed")
    for worker, count in ((-1, 1), (0, 10), (1, 100)):
        row = board.row(worker)
        row.slots[row.slot("requests")] += count
    assert board.total(board.directory.slot("requests")) == 111


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child counts and ends, whatever runs here
def test_what_a_child_counts_its_parent_sees() -> None:
    board = Scoreboard(1, b"seed")
    slot = board.directory.slot("requests")
    if (child := os.fork()) == 0:
        board.row(0).slots[slot] += 7
        os._exit(0)
    os.waitpid(child, 0)
    assert board.total(slot) == 7


def test_tallies_reach_the_scoreboard_at_the_next_sweep() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    tally = row.tally("requests")
    assert row.tally("requests") == tally
    row.tallies[tally] += 3
    assert board.total(row.slot("requests")) == 0
    row.expire(0.0)
    row.expire(0.0)
    assert board.total(row.slot("requests")) == 3
    assert row.tallies[tally] == 0


def test_a_dead_workers_gauges_fall_and_its_counters_stay() -> None:
    board = Scoreboard(2, b"seed")
    gauge, counter = board.directory.slot("gauge.connections"), board.directory.slot("requests")
    cells = board.row(0).cells(b"192.0.2.1")
    for worker in (0, 1):
        row = board.row(worker)
        for slot in (gauge, counter, *cells):
            row.slots[slot] += 5
    board.clear_gauges(0, [gauge])
    assert (board.total(gauge), board.total(counter), board.row(1).cell_total(cells)) == (5, 10, 5)


def test_a_key_is_counted_by_the_smaller_of_its_two_cells() -> None:
    board = Scoreboard(1, b"seed")
    row = board.row(0)
    first, second = row.cells(b"192.0.2.1")
    assert first != second
    assert row.cells(b"192.0.2.1") == (first, second)
    row.slots[first] += 4  # two keys may share a cell
    row.slots[first] += 1
    row.slots[second] += 1
    assert row.cell_total((first, second)) == 1
    assert Scoreboard(1, b"other").row(0).cells(b"192.0.2.1") != (first, second)
