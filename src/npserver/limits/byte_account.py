"""What a client has been sent of its bandwidth, counted over all workers: one time in the table of rate limits.

The time is when all that the client has been sent so far may have been sent at its bandwidth; before it, the client is
ahead. Unlike a limit of requests nothing is refused: who is ahead waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.limits.table import RateTable


class ByteAccount:
    """The accounts of all clients of one rule, in one process."""

    __slots__ = ("_identity", "_table", "bytes_per_s")

    def __init__(self, table: RateTable, bytes_per_s: int, identity: str) -> None:
        self._table = table
        self._identity = f"bytes {bytes_per_s} {identity}\0"
        self.bytes_per_s = bytes_per_s

    def charge(self, key: str, count: int) -> int:
        """Count bytes that a client is sent, perhaps none. Return the nanoseconds until it is no longer ahead."""
        identified = (self._identity + key).encode("utf-8", "surrogatepass")
        return self._table.advance(identified, count * 10**9 // self.bytes_per_s)
