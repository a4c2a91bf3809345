"""The controller's care of a cache's directory: tidies it at the start and from time to time, removes one in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from typing import TYPE_CHECKING

from npserver.runtime.context import PerProcess
from npserver.web.handlers.proxy.cache.directory import hold, remove_abandoned

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.web.handlers.proxy.cache.store import CacheStore

log = logging.getLogger("npserver.proxy")

TIDY_S = 60.0
_UNUSED_S = 2.0  # after a reload, before a directory in memory that no rule uses any more is removed
#: The directories of running services.
_RUNNING: PerProcess[list[str]] = PerProcess(lambda _: [])
#: The directories in memory that other servers see in use, with the file that is locked for it.
_HELD: PerProcess[dict[str, int]] = PerProcess(lambda _: {})


class CacheService:
    """Tidies one directory."""

    def __init__(self, store: CacheStore, context: Context, key: str, *, is_memory: bool) -> None:
        self._store = store
        self._context = context
        self._key = key
        self._is_memory = is_memory

    def __repr__(self) -> str:
        return f"<CacheService {self._store!r}>"

    async def run(self) -> None:
        """Run until cancelled. A directory in memory is removed at a shutdown, or once no rule uses it."""
        running, directory = _RUNNING.of(self._context), self._store.directory
        running.append(directory)
        wanted = self._store.max_bytes
        try:
            while True:
                await asyncio.to_thread(self._store.tidy, self._fault, recounts=True)
                if self._is_memory and directory not in _HELD.of(self._context):
                    self._hold()
                    await asyncio.to_thread(remove_abandoned)
                if self._store.max_bytes < wanted:
                    wanted = self._store.max_bytes
                    log.warning(
                        "the file system of %s is small: it gets %d bytes of responses (%s.max_size)",
                        directory, wanted, self._key,
                    )  # fmt: skip
                await asyncio.sleep(TIDY_S)
        finally:
            running.remove(directory)
            if self._is_memory and self._context.draining:
                self._remove()
            elif self._is_memory:
                self._context.loop.call_later(_UNUSED_S, self._remove)

    def _hold(self) -> None:
        """Show other servers that the directory is in use, until it is removed; one that cannot be made has a fault."""
        with contextlib.suppress(OSError):
            _HELD.of(self._context)[self._store.directory] = hold(self._store.directory)

    def _remove(self) -> None:
        """Remove the directory unless a rule of the next config uses it."""
        directory, held = self._store.directory, _HELD.of(self._context)
        if directory not in _RUNNING.of(self._context):
            shutil.rmtree(directory, ignore_errors=True)
            if directory in held:
                os.close(held.pop(directory))

    def _fault(self, reason: str) -> None:
        log.warning("the cache's directory %s cannot be used: %s (%s)", self._store.directory, reason, self._key)
