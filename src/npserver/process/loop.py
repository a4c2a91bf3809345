"""Which event loop runs: uvloop where it is installed, else the standard library's."""

from __future__ import annotations

import asyncio
import os


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
