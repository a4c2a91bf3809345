"""Refused names, remembered for a while: bounded in number, the oldest are forgotten first."""

from __future__ import annotations


class Refusals:
    """Refused names of all entries, each with the time until which it is remembered. Times are those of the loop."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"<Refusals {len(self._until)}>"

    def add(self, key: str, name: str, until: float, most: int) -> None:
        """Remember a name of the entry `key`; at most `most` are remembered."""
        self._until.pop((key, name), None)
        while len(self._until) >= most:
            del self._until[next(iter(self._until))]
        self._until[key, name] = until

    def left_s(self, key: str, name: str, now: float) -> float:
        """Return for how long a name is still refused; 0 if it is not."""
        until = self._until.get((key, name))
        if until is None:
            return 0.0
        if until <= now:
            del self._until[key, name]
            return 0.0
        return until - now
