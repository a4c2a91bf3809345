"""What certificates on demand count in the scoreboard, and what they complain of in the log."""

from __future__ import annotations

import logging
import time

from npserver.runtime.context import Context, PerProcess

log = logging.getLogger("npserver.tls")

AGAIN_S = 3600.0  # after a warning about a limit, until the next one about it


class Counts:
    """The counters of one process. Made while a config is compiled, so that all processes number the slots alike."""

    __slots__ = ("_row", "_slots", "_warned_at")

    def __init__(self, context: Context) -> None:
        self._row = context.row
        names = ("asks.yes", "asks.no", "asks.failed", "orders", "waits", "late", "overflows")
        self._slots = {name: context.row.slot(f"tls.on_demand.{name}") for name in names}
        self._slots["waiting"] = context.row.slot("gauge.tls.on_demand.waiting")
        self._warned_at: dict[str, float] = {}  # by config key

    def __repr__(self) -> str:
        return f"<Counts {' '.join(self._slots)}>"

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        self._row.slots[self._slots[name]] += number

    def complain(self, key: str, message: str, *values: object) -> None:
        """Log that a limit was reached, with its config key: as a warning once an hour, else at debug."""
        now = time.monotonic()
        is_new = now - self._warned_at.get(key, -AGAIN_S) >= AGAIN_S
        if is_new:
            self._warned_at[key] = now
        log.log(logging.WARNING if is_new else logging.DEBUG, "%s (%s)", message % values, key)


#: The counters of a process.
COUNTS = PerProcess(Counts)
