"""What all fronts and handlers of one process share. Made once per process, outlives every runtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from npserver.observe.access_log import AccessLog
    from npserver.runtime.bulletin import Bulletin
    from npserver.runtime.deadlines import Sweeper
    from npserver.runtime.scoreboard import Row


class Context(Struct, eq=False):
    """One process's data plane."""

    loop: asyncio.AbstractEventLoop
    worker: int  # 0..; the controller is -1 (and also runs in worker 0's process when `workers` is 0)
    row: Row  # this process's row of the scoreboard
    sweeper: Sweeper
    access_log: AccessLog
    bulletin: Bulletin
    #: Live objects that outlive a reload, by kind and name: pools, health, UDP sessions. Their owners put them here.
    carried: dict[tuple[str, str], Any] = field(default_factory=dict)
    #: Open connections, HTTP and others, each with `listener`, `transport` and `shut_down()`: finish what is in
    #: flight, then close.
    connections: set[Any] = field(default_factory=set)
    draining: bool = False
    wall_clock: Callable[[], float] = time.time  # seconds since 1970
