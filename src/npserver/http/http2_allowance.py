"""How often an HTTP/2 peer may send frames that cost us work and bring no message (RFC 9113 §10.5). Pure."""

from __future__ import annotations

# WINDOW_UPDATE frames that a request, a piece of an answer, so many bytes explain
UPDATES_PER_REQUEST = 4
UPDATES_PER_PIECE = 2
UPDATE_BYTES = 512


class Allowance:
    """A rate limit: a number per minute, of which a full minute's can be saved up.

    `earned` is added to what is left at the next `spend`; whoever does what explains more frames adds to it.
    """

    __slots__ = ("_left", "_limit", "_seen_s", "earned")

    def __init__(self, limit: int, now: float) -> None:
        self.earned = 0
        self._limit = limit
        self._left = float(limit)
        self._seen_s = now

    def spend(self, now: float) -> bool:
        """Take one. Return whether there was one left. `now`: monotonic seconds."""
        left = self._left + self.earned + (now - self._seen_s) * self._limit / 60
        self._left = min(self._limit, left) - 1
        self._seen_s = now
        self.earned = 0
        return self._left >= 0
