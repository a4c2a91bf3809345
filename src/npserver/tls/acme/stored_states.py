"""The states of certificates in the store, and the locks by which programs that share it take turns.

While a program holds the lock of a certificate, nothing is stored after another one has taken it: the lock expires when
its holder hangs, and what the next one has stored is newer than what the first one knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from npserver.errors import StoreError
from npserver.tls.acme.state import State, Wanted

if TYPE_CHECKING:
    from npserver.store.interface import Lock, Store

log = logging.getLogger("npserver.tls")

LOCK_EXPIRY_S = 120.0  # of a process that hangs; one that works on extends it, one that dies frees it


class LockLostError(StoreError):
    """Another program has taken the lock; what it has stored is newer."""


class StoredStates:
    """The states, by the names of the certificates in the store."""

    __slots__ = ("_locks", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks: dict[str, Lock] = {}  # those that are held

    def __repr__(self) -> str:
        return f"<StoredStates {len(self._locks)} locked>"

    async def load(self, wanted: Wanted) -> State:
        """Return the state of a certificate: that of none if it is damaged, or the certificate is lost."""
        data = await self._store.get(wanted.state_key)
        if data is None:
            return State()
        try:
            state = msgspec.json.decode(data, type=State)
        except msgspec.MsgspecError:
            log.warning("the state of the certificate for %s is damaged, and begun anew", wanted)
            return State()
        if await self._store.get(wanted.certificate_key) is None:
            return State(
                failures=state.failures, error=state.error, broken_off=state.broken_off,
                failed_kinds=state.failed_kinds, left=state.left, tried=state.tried,
            )  # fmt: skip
        return state

    async def put(self, wanted: Wanted, state: State) -> None:
        """Store a state. Raises: StoreError, also if the lock is lost."""
        await self._check(wanted)
        await self._store.put(wanted.state_key, msgspec.json.encode(state))

    async def put_certificate(self, wanted: Wanted, pem: bytes) -> None:
        """Store a chain with its key. Raises: StoreError, also if the lock is lost."""
        await self._check(wanted)
        await self._store.put(wanted.certificate_key, pem)

    @asynccontextmanager
    async def locked(self, wanted: Wanted) -> AsyncIterator[bool]:
        """Hold the lock of a certificate, which does not expire as long as this process works.

        Yield False if another program holds it.
        """
        lock = await self._store.lock(f"acme/locks/{wanted.name}", expiry_s=LOCK_EXPIRY_S)
        if lock is None:
            yield False
            return
        async with lock:
            extending = asyncio.create_task(_extend(lock))
            self._locks[wanted.name] = lock
            try:
                yield True
            finally:
                del self._locks[wanted.name]
                extending.cancel()

    async def _check(self, wanted: Wanted) -> None:
        lock = self._locks.get(wanted.name)
        if lock is not None and not await lock.extend():
            raise LockLostError(
                f"another program went on with the order, as this one hung for {LOCK_EXPIRY_S:g} s (store)"
            )


async def _extend(lock: Lock) -> None:
    while True:
        await asyncio.sleep(LOCK_EXPIRY_S / 3)
        with suppress(StoreError):
            await lock.extend()
