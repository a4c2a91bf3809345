"""The event loop of a process, uvloop where it is installed, else the standard library's; and what its heap keeps."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os

KEEP_S = 1.0  # after the start, which is not to wait for it
KEPT_BYTES = 8 << 20  # free at the heap's end, before the system gets them back
MAPPED_BYTES = 1 << 20  # smaller pieces of memory come from the heap
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def import_loop() -> None:
    """Import what `new_loop` will need: done before forking, the memory is shared and children start faster."""
    if os.environ.get("NPSERVER_LOOP") != "asyncio":
        with contextlib.suppress(ImportError):
            importlib.import_module("uvloop")


def new_loop() -> asyncio.AbstractEventLoop:
    """Make this process's loop. `NPSERVER_LOOP=asyncio` in the environment asks for the standard library's."""
    loop = _make()
    loop.call_later(KEEP_S, keep_heap)
    return loop


def keep_heap() -> None:
    """Have the C library keep memory that is about to be needed again.

    A large read takes a quarter of a megabyte and gives it back when it is passed on. glibc would return that to the
    system each time, and the system clear it anew: a sixth of what a large proxied answer costs.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


def _make() -> asyncio.AbstractEventLoop:
    if os.environ.get("NPSERVER_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()
