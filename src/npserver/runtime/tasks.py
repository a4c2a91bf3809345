"""Background tasks that no code awaits: they are kept alive, and their errors are logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("npserver.server")

_running: set[asyncio.Task[Any]] = set()  # the event loop keeps only weak references to tasks


def spawn(
    work: Coroutine[Any, Any, Any], what: str, failed: Callable[[BaseException], object] | None
) -> asyncio.Task[Any]:
    """Run `work` in the background. An exception, unless it is a cancellation, is logged as an error in `what`.

    `failed` is then called with it: whoever waits for the result must be told that there will be none. None: nobody
    waits.
    """
    task = asyncio.get_running_loop().create_task(work, name=what)
    _running.add(task)

    def done(task: asyncio.Task[Any]) -> None:
        _running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("error in %s", what, exc_info=error)
            if failed is not None:
                failed(error)

    task.add_done_callback(done)
    return task
