"""The store in a directory of this machine: `store.interface.Store` over `store.files` and `store.lock_file`.

Files are synced to the disk, which can take long: the work is done in threads. Before there is an event loop, the same
code runs with `in_threads=False`: its coroutines then never wait, and `finish` runs them to their end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from npserver.store.files import StoreFiles
from npserver.store.lock_file import LockFile, try_lock

T = TypeVar("T")

WATCH_PERIOD_S = 1.0  # between two looks at the files of a watched prefix
LOCK_POLL_S = 0.05  # between two tries to get a lock


class DirectoryStore:
    """A store in a directory."""

    __slots__ = ("_in_threads", "files")

    def __init__(self, files: StoreFiles, *, in_threads: bool = True) -> None:
        self.files = files
        self._in_threads = in_threads

    def __repr__(self) -> str:
        return f"<DirectoryStore {self.files.directory}>"

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`; None if it has none."""
        return await self._run(lambda: self.files.read(key))

    async def put(self, key: str, value: bytes) -> None:
        """Set the value of `key`."""
        await self._run(lambda: self.files.write(key, value))

    async def delete(self, key: str) -> None:
        """Remove the value of `key`, if it has one."""
        await self._run(lambda: self.files.write(key, None))

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, sorted."""
        return await self._run(lambda: sorted(self.files.states(prefix)))

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        """Set or remove the value of `key` if it still is `expected`. Return whether it was."""
        return await self._run(lambda: self.files.swap(key, expected, value))

    async def lock(self, name: str, *, expiry_s: float, timeout_s: float = 0.0) -> DirectoryLock | None:
        """Return the lock called `name`; None if others held it for `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            taken = await self._run(lambda: try_lock(self.files, name, expiry_s), _release)
            if taken is not None:
                return DirectoryLock(taken, self._run)
            if time.monotonic() >= end:
                return None
            await (asyncio.sleep(LOCK_POLL_S) if self._in_threads else self._run(lambda: time.sleep(LOCK_POLL_S)))

    async def watch(self, prefix: str) -> AsyncIterator[str]:
        """Yield each key that begins with `prefix` whenever its value is set or removed."""
        before = await self._run(lambda: self.files.states(prefix))
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            now = await self._run(lambda: self.files.states(prefix))
            for key in sorted(before.keys() | now.keys()):
                if before.get(key) != now.get(key):
                    yield key
            before = now

    async def _run(self, work: Callable[[], T], undo: Callable[[asyncio.Future[T]], object] | None = None) -> T:
        """Return the result of blocking work. `undo` is called with a result that comes after a cancellation."""
        if not self._in_threads:
            return work()
        running = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if undo is not None:
                running.add_done_callback(undo)
            raise


class DirectoryLock:
    """A lock that is held."""

    __slots__ = ("_file", "_run")

    def __init__(self, file: LockFile, run: Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]) -> None:
        self._file = file
        self._run = run

    def __repr__(self) -> str:
        return repr(self._file)

    async def extend(self) -> bool:
        """Hold it for its whole time again. Return False if it has expired and another one holds it."""
        return bool(await self._run(self._file.extend))

    async def release(self) -> None:
        """Give it back."""
        await self._run(self._file.release)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that uses a store with `in_threads=False`, and nothing else that waits; return its result."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    coroutine.close()
    raise RuntimeError("a coroutine that must not wait did")


def _release(late: asyncio.Future[LockFile | None]) -> None:
    """Give back a lock that nobody waits for any more."""
    if not late.cancelled() and late.exception() is None and (lock := late.result()) is not None:
        lock.release()
