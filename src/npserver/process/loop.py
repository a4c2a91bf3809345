"""The event loop of a process: uvloop if it is installed, else asyncio's. Also sets the C allocator's thresholds."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

KEEP_S = 1.0  # delay before the allocator is set, so that it does not slow down the start
KEPT_BYTES = 8 << 20  # free memory kept at the end of the heap
MAPPED_BYTES = 1 << 20  # smaller allocations come from the heap, larger ones from mmap
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def import_loop() -> None:
    """Import the modules `new_loop` needs. Called before forking: children share their memory and start faster."""
    if os.environ.get("NPSERVER_LOOP") != "asyncio":
        with contextlib.suppress(ImportError):
            importlib.import_module("uvloop")


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop. `NPSERVER_LOOP=asyncio` in the environment selects asyncio's."""
    loop = _make()
    loop.call_later(KEEP_S, keep_heap)
    return loop


def keep_heap() -> None:
    """Have the C allocator keep freed memory for reuse instead of returning it to the system.

    A large read allocates 256 KB and frees it once the data is forwarded. By default glibc returns such a block to the
    kernel, which must clear it for the next read: a sixth of the time of a large proxied response.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


class LoopSelector:
    """The sockets of an event loop, for code that is written for `selectors`: one event for each socket."""

    __slots__ = ("_loop", "_registered")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._registered: dict[socket.socket, int] = {}

    def register(self, fileobj: socket.socket, events: int, data: Callable[[int], None]) -> None:
        """Call `data` with the event when it occurs."""
        self._registered[fileobj] = events
        add = self._loop.add_reader if events == selectors.EVENT_READ else self._loop.add_writer
        add(fileobj, data, events)

    def unregister(self, fileobj: socket.socket) -> None:
        """End it. Raises: KeyError if the socket is not registered."""
        is_read = self._registered.pop(fileobj) == selectors.EVENT_READ
        (self._loop.remove_reader if is_read else self._loop.remove_writer)(fileobj)


def _make() -> asyncio.AbstractEventLoop:
    if os.environ.get("NPSERVER_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()
