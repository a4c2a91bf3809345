"""The context of one process: what all its fronts and handlers share. It is made once and outlives every runtime."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct, field

if TYPE_CHECKING:
    from npserver.observe.access_log import AccessLog
    from npserver.runtime.bulletin import Bulletin
    from npserver.runtime.deadlines import Sweeper
    from npserver.runtime.scoreboard import Row


T = TypeVar("T")


class Context(Struct, eq=False):
    """The data plane of one process."""

    loop: asyncio.AbstractEventLoop
    worker: int  # 0..; the controller is -1 (and also runs in worker 0's process when `workers` is 0)
    row: Row  # this process's row of the scoreboard
    sweeper: Sweeper
    access_log: AccessLog
    bulletin: Bulletin
    made: dict[object, Any] = field(default_factory=dict)  # the values of `PerProcess` constants
    #: Open connections, HTTP and others, each with `listener`, `transport` and `shut_down()`, which closes it after the
    #: requests in flight.
    connections: set[Any] = field(default_factory=set)
    draining: bool = False
    wall_clock: Callable[[], float] = time.time  # seconds since 1970


class PerProcess(Generic[T]):
    """A value that every process has one of: made on first use, kept for as long as the process lives.

    A constant of the module that owns the value: `RESOLVER = PerProcess(make)`; read by its `of(context)`.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Context], T]) -> None:
        self._make = make

    def of(self, context: Context) -> T:
        """Return the value that belongs to `context`."""
        made = context.made
        if self not in made:
            made[self] = self._make(context)
        value: T = made[self]
        return value

    def put(self, context: Context, value: T) -> None:
        """Give a context a value that was made elsewhere, such as before the fork."""
        context.made[self] = value

    def take(self, context: Context) -> T | None:
        """Take the value away, at the end of a process; None if it was never made."""
        value: T | None = context.made.pop(self, None)
        return value
