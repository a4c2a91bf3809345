"""Keeps certificates valid: orders each that is missing or due, and tries again after failures.

It runs in the controller. What was issued, when it is due, and what failed last is kept in the store, so that a restart
goes on from there, and two programs that share a store make one order. `tls.watch` brings a new certificate to all
workers.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from npserver.errors import StoreError
from npserver.tls.acme.client import AcmeClient, order_from_any
from npserver.tls.acme.problems import AcmeError
from npserver.tls.acme.schedule import (
    ask_again_s,
    wait_s,
)
from npserver.tls.acme.state import State, Wanted

if TYPE_CHECKING:
    from npserver.store.interface import Store
    from npserver.tls.acme.challenges import Solver

log = logging.getLogger("npserver.tls")

LOCK_EXPIRY_S = 900.0  # longer than an order may take
AT_ONCE = 4  # orders in progress
FIRST_ASK_S = 60.0  # after a certificate was issued, until the CA is asked when to renew it
STORE_AGAIN_S = 60.0  # after the store could not be used


class Manager:
    """The service.

    Args:
        store: where accounts, certificates and states are kept.
        wanted: the certificates, each with the CAs to ask, in order.
        solver: shows the answers to challenges.
        changed: called with each state that was read or has changed.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        wanted: Sequence[tuple[Wanted, Sequence[AcmeClient]]],
        solver: Solver,
        changed: Callable[[Wanted, State], None] = lambda wanted, state: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._wanted = wanted
        self._solver = solver
        self._changed = changed
        self._clock = clock
        self._ordering = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<acme Manager of {len(self._wanted)} certificates>"

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            for wanted, clients in self._wanted:
                group.create_task(self._keep(wanted, clients), name=f"certificate for {wanted.names[0]}")

    async def _keep(self, wanted: Wanted, clients: Sequence[AcmeClient]) -> None:
        while True:
            try:
                pause_s = await self.look(wanted, clients)
            except StoreError as error:
                log.error("certificate for %s: %s (store)", _list(wanted.names), error)
                pause_s = STORE_AGAIN_S
            except Exception:
                log.exception("error in the certificate for %s", _list(wanted.names))
                pause_s = STORE_AGAIN_S
            await asyncio.sleep(pause_s)

    async def look(self, wanted: Wanted, clients: Sequence[AcmeClient]) -> float:
        """Do what is due for one certificate. Return the seconds until to look again."""
        state = await self._load(wanted)
        self._changed(wanted, state)
        now = self._clock()
        if state.is_issued and state.ask_at <= now:
            state = await self._ask(wanted, state, clients)
        if state.due_at(now) <= now:
            state = await self._attempt(wanted, clients)
        now = self._clock()
        due = state.due_at(now)
        return max(1.0, wait_s(min(due, state.ask_at) if state.is_issued else due, now))

    async def _attempt(self, wanted: Wanted, clients: Sequence[AcmeClient]) -> State:
        """Order a certificate, unless another program is doing so or has done so."""
        lock = await self._store.lock(f"acme/locks/{wanted.name}", expiry_s=LOCK_EXPIRY_S, timeout_s=LOCK_EXPIRY_S)
        state = await self._load(wanted)
        if lock is None:
            return state
        async with lock, self._ordering:
            now = self._clock()
            if state.due_at(now) > now:
                return state
            try:
                issued = await order_from_any(
                    clients, wanted.names, self._solver, replaces=state.id, issued_by=state.directory
                )
            except AcmeError as error:
                failures = state.failures.after(self._clock(), random.random(), error.retry_after_s)
                state = msgspec.structs.replace(state, failures=failures, error=str(error))
                log.error(
                    "no certificate for %s: %s; next attempt in %d min (%s)",
                    _list(wanted.names), error, failures.delay_s // 60, wanted.key,
                )  # fmt: skip
            else:
                await self._store.put(wanted.certificate_key, issued.chain + issued.key)
                state = State(
                    issued.directory, issued.id, issued.not_before, issued.not_after, ask_at=self._clock() + FIRST_ASK_S
                )
                log.info(
                    "certificate for %s issued by %s, valid until %s",
                    _list(wanted.names), issued.directory, _date(issued.not_after),
                )  # fmt: skip
            await self._save(wanted, state)
            return state

    async def _ask(self, wanted: Wanted, state: State, clients: Sequence[AcmeClient]) -> State:
        """Ask the CA when to renew the certificate (RFC 9773)."""
        now = self._clock()
        window, retry_after_s = state.window, None
        client = next((one for one in clients if one.directory == state.directory), None)
        if client is not None:
            try:
                window, retry_after_s = await client.renewal_window(state.id)
            except AcmeError as error:
                log.debug("%s has not said when to renew a certificate: %s", state.directory, error)
        if window is not None and window != state.window and window.explanation_url:
            log.info("%s says why it moves the renewal: %s", state.directory, window.explanation_url)
        state = msgspec.structs.replace(state, window=window, ask_at=now + ask_again_s(retry_after_s))
        await self._save(wanted, state)
        return state

    async def _load(self, wanted: Wanted) -> State:
        data = await self._store.get(wanted.state_key)
        if data is None:
            return State()
        try:
            state = msgspec.json.decode(data, type=State)
        except msgspec.MsgspecError:
            log.warning("the state of the certificate for %s is damaged, and begun anew", _list(wanted.names))
            return State()
        if await self._store.get(wanted.certificate_key) is None:
            return State(failures=state.failures, error=state.error)
        return state

    async def _save(self, wanted: Wanted, state: State) -> None:
        await self._store.put(wanted.state_key, msgspec.json.encode(state))
        self._changed(wanted, state)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
