"""Limits on the number of connections, in total and per client address, counted over all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.networks import UNIX_PEER

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Row
    from npserver.web.server.roles import FrontRole

PER_IP = "timeouts.max_connections_per_ip"


class ConnectionCount:
    """Counts one connection on the scoreboard until `release`."""

    __slots__ = ("_cells", "_front", "_row")

    def __init__(self, front: FrontRole, row: Row, client_ip: str) -> None:
        self._front = front
        self._row = row
        slots = row.slots
        slots[front.connections_slot] += 1
        slots[front.accepted_slot] += 1
        self._cells = _cells(front, row, client_ip)
        if self._cells is not None:
            first, second = self._cells
            slots[first] += 1
            slots[second] += 1

    def limit_reached(self) -> str:
        """Return the config key of a limit that this connection exceeds, or ""."""
        front, row = self._front, self._row
        key = ""
        if row.board.total(front.connections_slot) > front.limits.max_connections:
            key = "limits.max_connections"
        elif self._cells is not None and row.cell_total(self._cells) > front.timeouts.max_connections_per_ip:
            key = PER_IP
        if key:
            row.slots[front.rejected_slot] += 1
        return key

    def release(self) -> None:
        """Stop counting the connection."""
        slots = self._row.slots
        slots[self._front.connections_slot] -= 1
        if self._cells is not None:
            slots[self._cells[0]] -= 1
            slots[self._cells[1]] -= 1


def has_room(front: FrontRole, row: Row, client_ip: str) -> bool:
    """Return whether one more connection from `client_ip` would stay within the limits."""
    if row.board.total(front.connections_slot) >= front.limits.max_connections:
        return False
    cells = _cells(front, row, client_ip)
    return cells is None or row.cell_total(cells) < front.timeouts.max_connections_per_ip


def _cells(front: FrontRole, row: Row, client_ip: str) -> tuple[int, int] | None:
    """Return the scoreboard cells of a client address; None if its connections are not limited."""
    if not front.timeouts.max_connections_per_ip or client_ip == UNIX_PEER:
        return None
    if front.trusted is not None and client_ip in front.trusted:
        return None  # a trusted proxy carries the connections of many clients
    return row.cells(client_ip.encode())
