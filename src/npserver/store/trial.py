"""A store for checks of a config: what is written to it stays in memory, over a directory that is only read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from npserver.store.files import StoreFiles
from npserver.store.interface import Lock
from npserver.store.keys import split_key


class TrialStore:
    """A store that writes nothing. Its coroutines never wait; nobody else sees it, so there is nothing to lock."""

    __slots__ = ("_written", "files")

    def __init__(self, files: StoreFiles) -> None:
        self.files = files
        self._written: dict[str, bytes | None] = {}

    def __repr__(self) -> str:
        return f"<TrialStore {self.files.directory}>"

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`; None if it has none."""
        return self._written[key] if key in self._written else self.files.read(key)

    async def put(self, key: str, value: bytes) -> None:
        """Set the value of `key` here."""
        split_key(key)
        self._written[key] = value

    async def delete(self, key: str) -> None:
        """Remove the value of `key` here."""
        self._written[key] = None

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, sorted."""
        keys = self.files.states(prefix).keys() | {key for key in self._written if key.startswith(prefix)}
        return sorted(key for key in keys if self._written.get(key, b"") is not None)

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        """Set or remove the value of `key` here if it still is `expected`. Return whether it was."""
        if await self.get(key) != expected:
            return False
        self._written[key] = value
        return True

    async def lock(self, name: str, *, expiry_s: float, timeout_s: float = 0.0) -> Lock | None:
        """Return None: a check does nothing for which a lock is needed."""
        return None

    async def watch(self, prefix: str) -> AsyncIterator[str]:
        """Yield nothing: a check does not wait."""
        nothing: tuple[str, ...] = ()
        for key in nothing:
            yield key
