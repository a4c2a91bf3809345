"""Which event loop runs: uvloop where it is installed, else the standard library's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os


def import_loop() -> None:
    """Import what `new_loop` will need: done before forking, the memory is shared and children start faster."""
    if os.environ.get("NPSERVER_LOOP") != "asyncio":
        with contextlib.suppress(ImportError):
            importlib.import_module("uvloop")


def new_loop() -> asyncio.AbstractEventLoop:
    """Make this process's loop. `NPSERVER_LOOP=asyncio` in the environment asks for the standard library's."""
    if os.environ.get("NPSERVER_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()
