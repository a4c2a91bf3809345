"""The memory that answers take which HTTP/2 clients do not read: counted over the connections of a process, bounded.

A client may ask for many answers and open no window for them (RFC 9113 §10.5). Each stream and each connection holds
little, but a client may have many. The connection that holds the most is closed when all hold too much together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.runtime.context import Context


class Holder(Protocol):
    """A connection, as the count sees it."""

    unread: int  # bytes of answers that its client has not read, by the count

    def refuse_unread(self) -> None:
        """Close: of all connections, this one holds the most."""


class UnreadAnswers:
    """The count of one process."""

    __slots__ = ("_holders", "bytes")

    def __init__(self, context: Context) -> None:
        self._holders: set[Holder] = set()
        self.bytes = 0

    def set(self, holder: Holder, size: int, limit: int) -> None:
        """Note how much a connection holds now; close those that hold the most while all hold more than `limit`."""
        self.bytes += size - holder.unread
        holder.unread = size
        if size:
            self._holders.add(holder)
        else:
            self._holders.discard(holder)
        while self.bytes > limit and self._holders:
            largest = max(self._holders, key=_unread)
            self._holders.discard(largest)
            self.bytes -= largest.unread
            largest.unread = 0
            largest.refuse_unread()


def _unread(holder: Holder) -> int:
    return holder.unread


UNREAD: PerProcess[UnreadAnswers] = PerProcess(UnreadAnswers)
