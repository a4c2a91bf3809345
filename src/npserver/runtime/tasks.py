"""Background tasks that no code awaits: they are kept alive, and their errors are logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("npserver.server")

_running: set[asyncio.Task[Any]] = set()  # the event loop keeps only weak references to tasks


def spawn(work: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
    """Run `work` in the background. An exception, unless it is a cancellation, is logged as an error in `what`."""
    task = asyncio.get_running_loop().create_task(work, name=what)
    _running.add(task)
    task.add_done_callback(_done)
    return task


def _done(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("error in %s", task.get_name(), exc_info=error)
