"""How often an HTTP/2 peer may send frames that cost us work and bring no message (RFC 9113 §10.5). Pure."""

from __future__ import annotations

# WINDOW_UPDATE frames that a request, a piece of an answer, so many bytes explain
UPDATES_PER_REQUEST = 4
UPDATES_PER_PIECE = 2
UPDATE_BYTES = 512


class Allowance:
    """A rate limit: a number per minute, of which a full minute's can be saved up."""

    __slots__ = ("_left", "_limit", "_seen_s")

    def __init__(self, limit: int, now: float) -> None:
        self._limit = limit
        self._left = float(limit)
        self._seen_s = now

    def spend(self, now: float) -> bool:
        """Take one. Return whether there was one left. `now`: monotonic seconds."""
        self._left = min(self._limit, self._left + (now - self._seen_s) * self._limit / 60)
        self._seen_s = now
        self._left -= 1
        return self._left >= 0

    def earn(self, number: int) -> None:
        """Add to what is left."""
        self._left = min(self._limit, self._left + number)
