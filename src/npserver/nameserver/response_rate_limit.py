"""Response rate limiting (RRL), as in BIND and NSD: limit equal answers in a time and to a client network.

It keeps the server from amplifying traffic to forged sender addresses. Answers are counted per network (/24, /56)
and answer, over all workers: in the table of `limits.table` for what may be forged. Every Nth answer above the rate
(`rate_limit_slip`) is sent truncated, so that a real client retries over TCP. The time is an argument.

A cell of the table holds when the window of an account ends, in nanoseconds, and in the lowest bits of that the number
of answers in it.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from npserver.limits.table import LOCK_S, WAYS

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Row

MAX_PLACES = 50_000  # accounts whose place in the table a process remembers
_MAX_NETWORKS = 10_000
_MAX_COUNT_BITS = 30
_PRECISION = 64  # a window is shorter than it should be by such a part of it at most


class Verdict(Enum):
    """Whether and how an answer is sent."""

    SEND = "send"
    SLIP = "slip"  # send it truncated
    DROP = "drop"


class RateLimiter:
    """A limit in one process. Limiters with the same `identity` share what is counted, over all processes."""

    __slots__ = (
        "_acquire", "_cells", "_count_mask", "_evicted", "_identity", "_networks", "_places", "_release", "_row",
        "_table", "_window_ns", "rate", "slip",
    )  # fmt: skip

    def __init__(self, row: Row, rate: int, slip: int, window_s: float = 1.0, identity: str = "") -> None:
        self.slip = slip
        self._row = row
        self._evicted = row.slot("limits.evicted")
        self._table = table = row.board.datagram_rates
        self._cells = table.cells
        self._acquire = table.acquire
        self._release = table.release
        self._window_ns = int(window_s * 10**9)
        bits = min((self._window_ns // _PRECISION).bit_length() - 1, _MAX_COUNT_BITS)
        self._count_mask = (1 << bits) - 1
        self.rate = min(rate, self._count_mask >> 1)
        self._identity = f"dns answers {rate} {window_s} {identity}\0".encode()
        #: Tag, and index of the cell, of accounts: per client network and answer.
        self._places: dict[tuple[str, bytes], list[int]] = {}
        self._networks: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<RateLimiter {self.rate} in {self._window_ns / 10**9:g} s>"

    def judge(self, client: str, label: bytes, now: float) -> Verdict:  # hot: dns-hits
        """Count an answer and return whether it is sent, truncated or dropped. `now`: monotonic, in seconds."""
        key = (self._networks.get(client) or self._network(client), label)
        place = self._places.get(key) or self._place(key)
        tag, index = place
        cells, mask, time = self._cells, self._count_mask, int(now * 10**9)
        has_lock = self._acquire(True, LOCK_S)
        try:
            if cells[index] != tag:
                index = place[1] = self._find(tag, index, time)
            account = cells[index + WAYS]
            if account & ~mask <= time:
                account = time + self._window_ns & ~mask
            if account & mask < mask:
                account += 1
            cells[index + WAYS] = account
        finally:
            if has_lock:
                self._release()
        excess = (account & mask) - self.rate
        if excess <= 0:
            return Verdict.SEND
        return Verdict.SLIP if self.slip and excess % self.slip == 0 else Verdict.DROP

    def _place(self, key: tuple[str, bytes]) -> list[int]:
        if len(self._places) >= MAX_PLACES:
            self._places.clear()
        network, label = key
        self._places[key] = place = list(self._table.address(self._identity + network.encode() + b"\0" + label))
        return place

    def _find(self, tag: int, index: int, now_ns: int) -> int:
        found, has_evicted = self._table.find(tag, index, now_ns)
        if has_evicted:
            self._row.slots[self._evicted] += 1
        return found

    def _network(self, client: str) -> str:
        if ":" in client:
            try:
                network = IPv6Address(client).packed[:7].hex()
            except ValueError:
                network = client
        else:
            network = client.rpartition(".")[0]
        if len(self._networks) >= _MAX_NETWORKS:
            self._networks.clear()
        self._networks[client] = network
        return network
