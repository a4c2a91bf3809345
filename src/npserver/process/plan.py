"""What a run of the program is asked to do, as the command line gives it to the master or the single process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.build.runtime import Runtime
    from npserver.config.document import Document
    from npserver.net.binding import Binding
    from npserver.process.source import Source

WATCH_PERIOD_S = 1.0  # how often a watched config file is looked at


class Plan(Struct, frozen=True):
    """What to run, and how."""

    source: Source
    document: Document
    workers: int
    watch: bool = False
    #: Called once everything serves: the table at the start.
    announce: Callable[[Runtime, dict[str, Binding]], None] = lambda runtime, bindings: None
