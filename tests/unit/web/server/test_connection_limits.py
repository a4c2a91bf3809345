"""Limits on the number of connections, in total and per client, over all workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from npserver.networks import Networks, parse_network
from npserver.runtime.scoreboard import Row, Scoreboard
from npserver.web.config import Limits, Timeouts
from npserver.web.server.connection_limits import ConnectionCount, has_room

CLIENT = "192.0.2.1"


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard(2, b"seed")


def front(row: Row, most: int = 100, per_ip: int = 100, trusted: str = "") -> Any:
    """Return as much of a front as is asked for its limits."""
    return SimpleNamespace(
        connections_slot=row.slot("gauge.connections"),
        accepted_slot=row.slot("accepted"),
        rejected_slot=row.slot("rejected"),
        limits=Limits(max_connections=most),
        timeouts=Timeouts(max_connections_per_ip=per_ip),
        trusted=Networks([parse_network(trusted)]) if trusted else None,
    )


def test_connections_are_counted_until_they_are_released(board: Scoreboard) -> None:
    row = board.row(0)
    served = front(row)
    first, second = ConnectionCount(served, row, CLIENT), ConnectionCount(served, row, "192.0.2.2")
    assert (board.total(served.connections_slot), board.total(served.accepted_slot)) == (2, 2)
    first.release()
    second.release()
    assert (board.total(served.connections_slot), board.total(served.accepted_slot)) == (0, 2)
    assert row.cell_total(row.cells(CLIENT.encode())) == 0


def test_a_clients_connections_at_all_workers_count(board: Scoreboard) -> None:
    one, other = board.row(0), board.row(1)
    served = front(one, per_ip=2)
    assert ConnectionCount(served, one, CLIENT).limit_reached() == ""
    assert has_room(served, other, CLIENT)
    second = ConnectionCount(served, other, CLIENT)
    assert second.limit_reached() == ""
    assert not has_room(served, one, CLIENT)
    assert has_room(served, one, "192.0.2.2")
    third = ConnectionCount(served, one, CLIENT)
    assert third.limit_reached() == "timeouts.max_connections_per_ip"
    assert board.total(served.rejected_slot) == 1
    third.release()
    second.release()
    assert has_room(served, one, CLIENT)


def test_all_connections_together_are_limited(board: Scoreboard) -> None:
    row = board.row(0)
    served = front(row, most=1)
    kept = ConnectionCount(served, row, CLIENT)
    assert not has_room(served, board.row(1), "192.0.2.2")
    assert ConnectionCount(served, row, "192.0.2.2").limit_reached() == "limits.max_connections"
    assert kept.limit_reached() == "limits.max_connections"


@pytest.mark.parametrize(
    ("client", "settings"),
    [("unix:", {"per_ip": 1}), (CLIENT, {"per_ip": 0}), (CLIENT, {"per_ip": 1, "trusted": "192.0.2.0/24"})],
)
def test_some_clients_are_not_limited_by_address(board: Scoreboard, client: str, settings: dict[str, Any]) -> None:
    row = board.row(0)
    served = front(row, **settings)
    for _ in range(3):
        assert has_room(served, row, client)
        assert ConnectionCount(served, row, client).limit_reached() == ""
