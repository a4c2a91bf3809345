"""The store: whatever must outlive a restart lies behind this interface, such as private keys and certificates.

`store.directory` keeps it in a directory. Another kind of store, shared by several machines, needs these operations
only. Values are bytes; keys are those of `store.keys`. All operations raise `errors.StoreError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

MAX_VALUE_BYTES = 1 << 20  # the largest certificate chains with their keys have 20 KB


class Lock(Protocol):
    """A lock that is held. It ends with `release`, with the process, or when it expires."""

    async def extend(self) -> bool:
        """Hold it for its whole time again, from now on. Return False if it has expired and another one holds it."""

    async def release(self) -> None:
        """Give it back; one that has expired is left alone."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """Values by key. Each operation happens whole or not at all, also when the process dies during it."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`; None if it has none."""

    async def put(self, key: str, value: bytes) -> None:
        """Set the value of `key`. When this returns, the value outlives a power failure."""

    async def delete(self, key: str) -> None:
        """Remove the value of `key`, if it has one."""

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, sorted: a name and a slash (`certificates/`), or "" for all."""

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        """Set the value of `key` if it still is `expected`. Return whether it was. None stands for no value."""

    async def lock(self, name: str, *, expiry_s: float, timeout_s: float = 0.0) -> Lock | None:
        """Return the lock called `name`, a key; None if others held it for `timeout_s`.

        The death of its process frees it. A process that hangs loses it `expiry_s` after it was taken or extended.
        """

    def watch(self, prefix: str) -> AsyncIterator[str]:
        """Yield each key that begins with `prefix` whenever its value is set or removed, by whichever process.

        It begins when the iterator is first waited for. Changes that follow each other closely can become one.
        """
