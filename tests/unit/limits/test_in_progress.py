"""Counts by client over all processes."""

from __future__ import annotations

from npserver.limits.in_progress import InProgress
from npserver.limits.table import WAYS

FIRST = 5 * 2 * WAYS


def test_counts_of_all_rows_are_summed_and_keys_apart() -> None:
    table = InProgress(3)
    cells = [table.enter(row, tag, FIRST) for row, tag in ((0, 7), (1, 7), (1, 7), (2, -8))]
    assert [table.total(tag, FIRST) for tag in (7, -8, 9)] == [3, 1, 0]
    assert table.total(7, 0) == 0
    assert cells[1] == cells[2] != cells[0]
    table.leave(cells[1])
    table.leave(cells[3])
    assert [table.total(tag, FIRST) for tag in (7, -8)] == [2, 0]


def test_a_cell_is_used_again_once_its_count_is_0() -> None:
    table = InProgress(1)
    cells = [table.enter(0, tag, FIRST) for tag in range(1, WAYS + 1)]
    assert len(set(cells)) == WAYS
    assert table.enter(0, 99, FIRST) == -1
    table.leave(cells[3])
    assert table.enter(0, 99, FIRST) == cells[3]
    assert [table.total(tag, FIRST) for tag in (99, 4, 5)] == [1, 0, 1]


def test_what_a_process_counted_is_given_back_at_its_end() -> None:
    table = InProgress(3)
    for row in range(3):
        table.enter(row, 7, FIRST)
    table.clear(1)
    assert table.total(7, FIRST) == 2
