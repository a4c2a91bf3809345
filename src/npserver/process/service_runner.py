"""Runs the services, background tasks that exist once per server; a failed service is restarted with back-off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.runtime.front import Service

log = logging.getLogger("npserver.server")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class ServiceRunner:
    """The running services of one process."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    async def replace(self, services: Sequence[Service]) -> None:
        """Cancel the running services and start `services`."""
        old, self._tasks = self._tasks, []
        for task in old:
            task.cancel()
        await asyncio.gather(*old, return_exceptions=True)
        self._tasks = [spawn(_keep_running(service), type(service).__name__, None) for service in services]


async def _keep_running(service: Service) -> None:
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            await service.run()
            return
        except Exception:
            log.exception("%s failed, restarting it in %g s", type(service).__name__, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
