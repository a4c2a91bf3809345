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
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from npserver.errors import StoreError
from npserver.tls.acme.answering.attempt import AttemptSolver, describe_next, is_of_challenge
from npserver.tls.acme.client.acme_client import AcmeClient, order_from_any
from npserver.tls.acme.clock_jumps import ClockJumps, wait_for
from npserver.tls.acme.problems import AcmeError
from npserver.tls.acme.schedule import ask_again_s, is_to_ask, wait_s
from npserver.tls.acme.state import LeftRecord, State, Wanted
from npserver.tls.acme.stored_states import LockLostError, StoredStates

if TYPE_CHECKING:
    from npserver.store.interface import Store
    from npserver.tls.acme.challenges import Challenge, Solver
    from npserver.tls.acme.client.certificate import IssuedCertificate

log = logging.getLogger("npserver.tls")

ORDERED_AGAIN_S = 2.0  # between looks whether an order of another program has ended
AT_ONCE = 4  # orders in progress
BROKEN_OFF = 3  # attempts in a row that end with the process, until they count as failures: it may die of them
FIRST_ASK_S = 60.0  # after a certificate was issued, until the CA is asked when to renew it
STORE_AGAIN_S = 60.0  # after the store could not be used


class Manager:
    """The service.

    Args:
        store: where accounts, certificates and states are kept.
        wanted: the certificates, each with the CAs to ask, in order.
        solver: shows the answers to challenges.
        changed: called with each state that was read first or has changed, by this program or another.
        clock: seconds since 1970.
        failed: called with the reason where the state cannot be read or stored.

    Attributes: `jumps` (those of the clock, which are noticed while this runs).
    """

    def __init__(
        self,
        store: Store,
        wanted: Sequence[tuple[Wanted, Sequence[AcmeClient]]],
        solver: Solver,
        changed: Callable[[Wanted, State], None] = lambda wanted, state: None,
        clock: Callable[[], float] = time.time,
        failed: Callable[[Wanted, str], None] = lambda wanted, reason: None,
    ) -> None:
        self._store = store
        self._stored = StoredStates(store)
        self._wanted = wanted
        self._solver = solver
        self._changed = changed
        self._clock = clock
        self._failed = failed
        self._ordering = asyncio.Semaphore(AT_ONCE)
        self.jumps = ClockJumps(clock)
        self._told: dict[str, State] = {}  # what `changed` was called with last, by name in the store
        self._unsaved: dict[str, IssuedCertificate] = {}  # what the store would not take, by name in the store

    def __repr__(self) -> str:
        return f"<acme Manager of {len(self._wanted)} certificates>"

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.jumps.run(), name="jumps of the clock")
            for wanted, clients in self._wanted:
                group.create_task(self._keep(wanted, clients), name=f"certificate for {wanted.names[0]}")

    async def _keep(self, wanted: Wanted, clients: Sequence[AcmeClient]) -> None:
        while True:
            jump = self.jumps.next
            try:
                pause_s = await self.look(wanted, clients)
            except StoreError as error:
                log.error("certificate for %s: %s", wanted, error)
                self._report(wanted, str(error))
                pause_s = STORE_AGAIN_S
            except Exception:
                log.exception("error in the certificate for %s", wanted)
                self._report(wanted, "internal error: see the log")
                pause_s = STORE_AGAIN_S
            await wait_for(jump, pause_s)

    async def look(self, wanted: Wanted, clients: Sequence[AcmeClient]) -> float:
        """Do what is due for one certificate. Return the seconds until to look again."""
        state = await self._load(wanted)
        self._tell(wanted, state)
        now = self._clock()
        if state.is_issued and is_to_ask(state.ask_at, now):
            state = await self._ask(wanted, state, clients)
        if due_at(wanted, state, clients, now) <= now:
            found = await self._attempt(wanted, clients)
            if found is None:
                return ORDERED_AGAIN_S
            state = found
            self._tell(wanted, state)
        now = self._clock()
        due = due_at(wanted, state, clients, now)
        return max(1.0, wait_s(min(due, state.ask_at) if state.is_issued else due, now))

    async def _attempt(self, wanted: Wanted, clients: Sequence[AcmeClient]) -> State | None:
        """Get a certificate, unless another program has done so. Return None while another program is doing so."""
        async with self._ordering, self._stored.locked(wanted) as is_locked:
            if not is_locked:
                return None
            state = await self._load(wanted)
            now = self._clock()
            if due_at(wanted, state, clients, now) > now:
                return state
            issued = self._unsaved.get(wanted.name)
            if issued is None:
                state, issued = await self._order(wanted, state, clients)
            if issued is not None:
                state = await self._keep_issued(wanted, state, issued)
            return state

    async def _order(
        self, wanted: Wanted, before: State, clients: Sequence[AcmeClient]
    ) -> tuple[State, IssuedCertificate | None]:
        """Order a certificate. Return None for it if there is none, and the state.

        The store knows of the attempt before the CA does: it can be written then, and a process that dies of each
        attempt, and is started again and again, stays below the limits of the CA.
        """
        if before.broken_off >= BROKEN_OFF:
            state = msgspec.structs.replace(before, broken_off=BROKEN_OFF - 1)
            error = f"npserver ended during each of the last {BROKEN_OFF} orders"
            return await self._note_failure(wanted, state, error, None), None
        for one in before.left:
            await self._solver.take_back(one.record, one.text)
        before = msgspec.structs.replace(before, left=())
        begun = msgspec.structs.replace(before, broken_off=before.broken_off + 1)
        await self._stored.put(wanted, begun)

        async def note(challenge: Challenge) -> None:
            nonlocal begun
            left = (*begun.left, LeftRecord(challenge.dns_name, challenge.dns_value))
            begun = msgspec.structs.replace(begun, left=left)
            await self._stored.put(wanted, begun)

        solver = AttemptSolver(self._solver, before.failed_kinds, note)
        try:
            issued = await order_from_any(clients, wanted.names, solver, replaces=before.id, issued_by=before.directory)
        except AcmeError as error:
            state, told = msgspec.structs.replace(before, broken_off=0), str(error)
            if is_of_challenge(error):
                state = msgspec.structs.replace(state, failed_kinds=before.failed_kinds + 1)
                told += describe_next(self._solver, wanted.names, state.failed_kinds)
            return await self._note_failure(wanted, state, told, error.retry_after_s), None
        except asyncio.CancelledError:
            with suppress(StoreError):
                await self._stored.put(wanted, before)  # a reload or an end in good order is no failure
            raise
        return before, issued

    async def _note_failure(self, wanted: Wanted, state: State, error: str, retry_after_s: float | None) -> State:
        """Return the state after a failure."""
        state = state.after_failure(self._clock(), random.random(), wanted.settings, error, retry_after_s)
        await self._save(wanted, state)
        is_valid = state.is_issued and self._clock() < state.not_after
        log.error(
            "%s: %s; next attempt in %d min (%s)",
            f"the certificate for {wanted}, valid until {_date(state.not_after)}, is not renewed" if is_valid
            else f"no certificate for {wanted}",
            error, state.failures.delay_s // 60, wanted.key,
        )  # fmt: skip
        return state

    async def _keep_issued(self, wanted: Wanted, before: State, issued: IssuedCertificate) -> State:
        """Return the state after a success. What the store does not take is kept here, and not ordered again."""
        try:
            await self._stored.put_certificate(wanted, issued.chain + issued.key)
        except LockLostError:
            raise
        except StoreError:
            self._unsaved[wanted.name] = issued
            raise
        self._unsaved.pop(wanted.name, None)
        now = self._clock()
        state = State(
            issued.directory, issued.id, issued.not_before, issued.not_after, ask_at=now + FIRST_ASK_S, issued_at=now,
            failed_kinds=before.failed_kinds,
        )  # fmt: skip
        is_due = state.due_at(now, wanted.settings) <= now
        if is_due or before.is_early(now):
            state = msgspec.structs.replace(state, early=before.early.after(now, random.random()))
        await self._save(wanted, state)
        log.info(
            "certificate for %s issued by %s, valid until %s",
            wanted, issued.directory, _date(issued.not_after),
        )  # fmt: skip
        if is_due or state.early.count > 1:
            log.warning(
                "the certificate for %s is due for renewal soon after it was issued (%d in a row): next order in "
                "%d min; is the clock of this machine right? (%s)",
                wanted, state.early.count, state.early.delay_s // 60, wanted.key,
            )  # fmt: skip
        return state

    async def _ask(self, wanted: Wanted, state: State, clients: Sequence[AcmeClient]) -> State:
        """Ask the CA when to renew the certificate (RFC 9773), unless another program does, or renews it already."""
        async with self._stored.locked(wanted) as is_locked:
            if not is_locked:
                return state
            state = await self._load(wanted)
            if state.is_issued and is_to_ask(state.ask_at, self._clock()):
                state = await self._ask_ca(wanted, state, clients)
            return state

    async def _ask_ca(self, wanted: Wanted, state: State, clients: Sequence[AcmeClient]) -> State:
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
        return await self._stored.load(wanted)

    async def _save(self, wanted: Wanted, state: State) -> None:
        await self._stored.put(wanted, state)
        self._tell(wanted, state)

    def _report(self, wanted: Wanted, reason: str) -> None:
        """Say that the state could not be read or stored, until it is told again."""
        self._told.pop(wanted.name, None)
        self._failed(wanted, reason)

    def _tell(self, wanted: Wanted, state: State) -> None:
        if self._told.get(wanted.name) != state:
            self._told[wanted.name] = state
            self._changed(wanted, state)


def due_at(wanted: Wanted, state: State, clients: Sequence[AcmeClient], now: float) -> float:
    """Return when the next attempt is due: that of a CA which the config does not name any more is replaced at once."""
    if state.is_issued and all(one.directory != state.directory for one in clients):
        return max(state.next_try(now, wanted.settings), state.early.next_try(now))
    return state.due_at(now, wanted.settings)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
