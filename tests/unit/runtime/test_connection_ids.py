"""Which worker has a connection id."""

from __future__ import annotations

import os

from npserver.runtime.connection_ids import WAYS, ConnectionIds
from npserver.runtime.scoreboard import Scoreboard


def test_ids_are_found_by_others_alone() -> None:
    ids = ConnectionIds(3)
    ids.add(1, b"12345678")
    assert ids.find(b"12345678", but=0) == ids.find(b"12345678", but=2) == 1
    assert ids.find(b"12345678", but=1) is None
    assert ids.find(b"12345679", but=0) is None
    ids.discard(1, b"12345678")
    assert ids.find(b"12345678", but=0) is None


def test_a_full_bucket_does_not_lose_others() -> None:
    ids = ConnectionIds(2)
    made = [b"same" + bytes((number + 1, 0, 0, 0)) for number in range(WAYS + 2)]
    for one in made:
        ids.add(0, one)
    assert [ids.find(one, but=1) for one in made] == [0] * WAYS + [None, None]


def test_a_worker_that_has_ended_has_none() -> None:
    board = Scoreboard(2, b"seed")
    made = [os.urandom(8) for _ in range(100)]
    for number, one in enumerate(made):
        board.connection_ids.add(number % 2, one)
    board.clear_gauges(0, [])
    board.clear_gauges(-1, [])
    assert {board.connection_ids.find(one, but=-1) for one in made[::2]} == {None}
    assert {board.connection_ids.find(one, but=-1) for one in made[1::2]} == {1}
