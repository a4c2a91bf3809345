"""Counters of reloads: by outcome, and when the config that is in use was loaded by one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Row

#: The names of the counters by outcome.
RELOADS = {outcome: f"server.reloads.{outcome}" for outcome in ("ok", "incomplete", "failed")}
RELOADED_AT = "gauge.server.reloaded_at"


def count_reload(row: Row, *, has_errors: bool, is_in_use: bool) -> None:
    """Count a reload in the row of the master or of a single process."""
    outcome = "failed" if not is_in_use else "incomplete" if has_errors else "ok"
    row.slots[row.slot(RELOADS[outcome])] += 1
    if is_in_use:
        row.slots[row.slot(RELOADED_AT)] = int(time.time())
