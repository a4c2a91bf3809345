"""How often something that a flood brings about is logged: at INFO now and then, else at DEBUG. Pure."""

from __future__ import annotations

import logging

LOG_NS = 10 * 10**9  # a process writes a line about a limit that often at most


class LogPace:
    """The pace of the lines about one limit in one process."""

    __slots__ = ("_next_ns",)

    def __init__(self) -> None:
        self._next_ns = 0

    def level(self, now_ns: int) -> int:
        """Return the level of a line that is written now."""
        if now_ns < self._next_ns:
            return logging.DEBUG
        self._next_ns = now_ns + LOG_NS
        return logging.INFO
