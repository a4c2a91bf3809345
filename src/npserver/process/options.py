"""What a run of the program is asked to do, as the command line gives it to the master or the single process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.binding import Binding
    from npserver.process.config_source import ConfigSource
    from npserver.program.runtime import Runtime

log = logging.getLogger("npserver.server")

WATCH_PERIOD_S = 1.0  # how often a watched config file is looked at


class RunOptions(Struct, frozen=True):
    """What to run, and how."""

    source: ConfigSource
    document: Document
    workers: int
    watch: bool = False
    #: Called once everything serves: the table at the start.
    announce: Callable[[Runtime, dict[str, Binding]], None] = lambda runtime, bindings: None


def warn_of_unchangeable(old: Document, new: Document) -> None:
    """Say what of a reloaded config has no effect before the next start."""
    for key in ("workers", "user", "group"):
        if getattr(new.config, key) != getattr(old.config, key):
            log.warning('%s: "%s" changes at the next start only', new.place((key,)), key)
