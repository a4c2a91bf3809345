"""The context of one process, shared by all its fronts and handlers. It is created once and survives every reload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct, field

if TYPE_CHECKING:
    from npserver.observe.access_log import AccessLog
    from npserver.runtime.deadlines import Sweeper
    from npserver.runtime.pubsub import PubSub
    from npserver.runtime.scoreboard import Row


T = TypeVar("T")


class Context(Struct, eq=False):
    """The event loop of a process and the objects that belong to the process rather than to a config."""

    loop: asyncio.AbstractEventLoop
    worker: int  # number of the worker; -1: the controller (which with `"workers": 0` runs in the process of worker 0)
    row: Row  # this process's row of the scoreboard
    sweeper: Sweeper
    access_log: AccessLog
    pubsub: PubSub
    made: dict[object, Any] = field(default_factory=dict)  # the values of `PerProcess` constants
    #: Open client connections of all protocols, each with `listener`, `transport`, `awaits_request`, whether its first
    #: request is yet to come, and `shut_down()`, which closes it after the requests in progress.
    connections: set[Any] = field(default_factory=set)
    draining: bool = False  # the process is shutting down: no connection is kept for another request
    ends_at: float = float("inf")  # loop time at which a shutdown aborts what is still in progress
    wall_clock: Callable[[], float] = time.time  # seconds since 1970


class PerProcess(Generic[T]):
    """A value shared by all parts of a process: one per process, made on first use, kept across reloads.

    Defined as a constant in the module that owns the value, `RESOLVER = PerProcess(make)`, and read with
    `RESOLVER.of(context)`.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Context], T]) -> None:
        self._make = make

    def of(self, context: Context) -> T:
        """Return the value of this process."""
        made = context.made
        if self not in made:
            made[self] = self._make(context)
        value: T = made[self]
        return value

    def put(self, context: Context, value: T) -> None:
        """Set a value that was made elsewhere, such as before the fork."""
        context.made[self] = value

    def take(self, context: Context) -> T | None:
        """Remove and return the value, at the end of a process; None if it was never made."""
        value: T | None = context.made.pop(self, None)
        return value


#: What a process awaits at its end, once its connections have ended; each bounds its own time.
AT_END: PerProcess[list[Callable[[], Awaitable[None]]]] = PerProcess(lambda context: [])
