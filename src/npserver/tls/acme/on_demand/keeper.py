"""Decides on demand whether a name gets a certificate, orders it, and renews it as long as the application agrees.

It runs in the controller, which hears of a name when a handshake of a worker waits for it (`waits`). One decision is
for all workers. The store keeps the names, so that a restart serves them without a question to application or CA.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.errors import StoreError
from npserver.runtime.context import PerProcess
from npserver.tls.acme.compile import is_usable
from npserver.tls.acme.manager import ORDERED_AGAIN_S, STORE_AGAIN_S, Manager, due_at
from npserver.tls.acme.on_demand.consent import CONSENT
from npserver.tls.acme.on_demand.counts import COUNTS
from npserver.tls.acme.on_demand.names import AgreedNames
from npserver.tls.acme.on_demand.permission import Answer
from npserver.tls.acme.on_demand.questions import Questions
from npserver.tls.acme.on_demand.waits import ASK, LISTENING
from npserver.tls.acme.schedule import DAY_S, is_to_ask
from npserver.tls.acme.service import state_of
from npserver.tls.acme.state import State, Wanted, digest_of
from npserver.tls.watch import TOPIC

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.store.interface import Store
    from npserver.tls.acme.challenges import Solver
    from npserver.tls.acme.client.acme_client import AcmeClient
    from npserver.tls.acme.clock_jumps import ClockJumps
    from npserver.tls.acme.on_demand.answerable import Answerable
    from npserver.tls.acme.on_demand.entry import Entry
    from npserver.tls.acme.settings import AcmeSettings
    from npserver.tls.states import CertificateStates

log = logging.getLogger("npserver.tls")

MINUTE_S, HOUR_S = 60.0, 3600.0
FORGOTTEN_S = 2 * DAY_S  # after a certificate has expired, or after the last failed attempt to get one
SEEN_S = HOUR_S  # for which this process must have seen that
#: When names were first found without a valid certificate, by the loop's time; over reloads.
LACKING: PerProcess[dict[str, float]] = PerProcess(lambda context: {})


class OnDemandManager(Manager):
    """The service.

    Args:
        entries: by their config keys.
        clients: of all CAs.
        solver: shows the answers to challenges, as far as `answerable` has the name.
        states: for the status page.
        jumps: of the clock, for which the manager of the config looks.
    """

    def __init__(
        self,
        context: Context,
        store: Store,
        entries: Mapping[str, Entry],
        clients: Mapping[AcmeSettings, AcmeClient],
        solver: Solver,
        answerable: Answerable,
        states: CertificateStates,
        jumps: ClockJumps,
    ) -> None:
        super().__init__(store, (), solver, self._report_state, context.wall_clock)
        self.jumps = jumps
        self._context = context
        self._entries = entries
        self._clients = clients
        self._answerable = answerable
        self._configured = frozenset(answerable.kinds)  # names that another manager keeps
        self._states = states
        self._counts = COUNTS.of(context)
        self._consent = CONSENT.of(context)
        self._questions = Questions(context, entries, self._obtain)
        self._names = AgreedNames(store)
        self._due: list[tuple[float, str]] = []  # a heap: when to look at a name, by the loop's time
        self._has_more = asyncio.Event()
        self._lacking = LACKING.of(context)

    def __repr__(self) -> str:
        return f"<OnDemandManager {self._names!r} {self._questions!r}>"

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self._names.begin()
                break
            except StoreError as error:
                log.error("no certificates on demand: %s", error)
                await asyncio.sleep(STORE_AGAIN_S)
        self._due = [(0.0, name) for name in sorted(self._names)]
        async with asyncio.TaskGroup() as group:
            end = self._context.pubsub.subscribe(ASK, lambda question: self._questions.take(group, question))
            try:
                self._context.pubsub.publish(LISTENING, time.time_ns())
                for entry in self._entries.values():
                    group.create_task(self._consent.warn_of_yes_to_all(entry))
                group.create_task(self._look_after_jumps())
                await self._tend_all()
            finally:
                end()

    async def _obtain(self, entry: Entry, name: str) -> float:
        """Get a certificate for a name. Return 0 if it is there, else for how long to remember the refusal.

        What may soon be better is remembered for as long as the application may take to answer.
        """
        limits, wanted = entry.limits, _wanted(entry, name)
        if entry.key in await self._names.entries(name) and self._is_valid(await self._load(wanted)):
            if await self._is_usable(wanted):
                return 0.0
            log.warning("the stored certificate for %s is damaged, and is not used (store)", name)
            await self._store.delete(wanted.state_key)
        if name not in self._names and len(self._names) >= limits.max_names:
            key = f"{entry.key}.max_names"
            self._counts.complain(key, "no certificate for %s: %d names are kept already", name, len(self._names))
            return limits.refusal_time
        key = f"{entry.key}.max_asks"
        if not self._consent.may_spend(key, limits.max_asks, MINUTE_S):
            self._counts.complain(key, "no certificate for %s: %d questions in a minute", name, limits.max_asks)
            return limits.ask_timeout
        answer = await self._consent.ask(entry, name)
        if answer is not Answer.YES:
            return limits.refusal_time if answer is Answer.NO else limits.ask_timeout
        state = await self._load(wanted)
        if not self._is_valid(state):  # else another entry, or another program, has ordered it
            if refused_s := self._may_not_order(entry, wanted, state):
                return refused_s
            self._look_at(name)
            await self._names.add(name, entry.key)
            state = await self._get(entry, wanted)
            if not self._is_valid(state):
                left_s = state.due_at(self._clock(), wanted.settings) - self._clock()
                return max(limits.ask_timeout, min(limits.refusal_time, left_s))
        self._look_at(name)
        await self._names.add(name, entry.key)
        return 0.0

    def _may_not_order(self, entry: Entry, wanted: Wanted, state: State) -> float:
        """Return for how long to remember that no certificate can be ordered for a name now; 0 if one can."""
        name, limits, now = wanted.name, entry.limits, self._clock()
        if not entry.kinds(name):
            log.warning("no certificate for %s: no challenge can work for it (%s)", name, entry.key)
            return limits.refusal_time
        left_s = state.due_at(now, wanted.settings) - now
        if left_s > 0:
            minutes = left_s // MINUTE_S + 1
            log.debug("no certificate for %s: next attempt in %d min (%s)", name, minutes, entry.key)
            return min(limits.refusal_time, left_s)
        key = f"{entry.key}.max_orders"
        if not self._consent.may_spend(key, limits.max_orders, HOUR_S):
            self._counts.complain(key, "no certificate for %s: %d were ordered in an hour", name, limits.max_orders)
            return limits.refusal_time
        return 0.0

    async def _get(self, entry: Entry, wanted: Wanted) -> State:
        """Attempt to get a certificate, or wait for another program that does. Return its state."""
        before = await self._load(wanted)
        self._counts.add("orders")
        with self._answerable.including(entry, wanted.name):
            state = await self._attempt(wanted, self._clients_of(entry))
            while state is None:  # another program orders it
                await asyncio.sleep(ORDERED_AGAIN_S)
                state = await self._attempt(wanted, self._clients_of(entry))
        if state.is_issued and state.id != before.id:
            self._context.pubsub.publish(TOPIC, [entry.file(wanted.name)])
        return state

    async def _is_usable(self, wanted: Wanted) -> bool:
        """Whether workers can load a certificate: they load for themselves what they know to be there."""
        value = await self._store.get(wanted.certificate_key)
        return value is not None and await asyncio.to_thread(is_usable, value)

    def _clients_of(self, entry: Entry) -> Sequence[AcmeClient]:
        return [self._clients[settings] for settings in entry.settings]

    def _report_state(self, wanted: Wanted, state: State) -> None:
        self._states.report(wanted.name, state_of(wanted, state, self._clock()))

    def _is_valid(self, state: State) -> bool:
        return state.is_issued and state.not_after > self._clock()

    # ── renewal ──

    def _look_at(self, name: str) -> None:
        """Have a new name looked at from now on."""
        if name not in self._names:
            heapq.heappush(self._due, (self._context.loop.time() + MINUTE_S, name))
            self._has_more.set()

    async def _look_after_jumps(self) -> None:
        """Look at all names when the clock has jumped."""
        while True:
            await self.jumps.next.wait()
            self._due = [(0.0, name) for _, name in self._due]
            self._has_more.set()

    async def _tend_all(self) -> None:
        """Look at each name when it is due, one after another."""
        loop = self._context.loop
        while True:
            self._has_more.clear()
            if (pause_s := self._due[0][0] - loop.time() if self._due else DAY_S) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._has_more.wait()
                continue
            _, name = heapq.heappop(self._due)
            try:
                again_s = await self._tend(name)
            except StoreError as error:
                log.error("certificate for %s: %s", name, error)
                again_s = STORE_AGAIN_S
            except Exception:
                log.exception("error in the certificate for %s", name)
                again_s = HOUR_S
            if name in self._names:
                heapq.heappush(self._due, (loop.time() + again_s, name))

    async def _tend(self, name: str) -> float:
        """Do what is due for the certificate of a name. Return the seconds until to look again."""
        agreed = await self._names.entries(name)
        if name in self._configured:
            return HOUR_S
        entries = [self._entries[key] for key in sorted(agreed) if key in self._entries]
        wanted = _wanted(entries[0], name) if entries else Wanted(name, (name,), "tls.acme.on_demand")
        state, now = await self._load(wanted), self._clock()
        self._tell(wanted, state)
        if not self._is_valid(state):
            if self._is_to_forget(name, state) and not self._questions.concern(name):
                await self._forget(wanted)
            return HOUR_S
        self._lacking.pop(name, None)
        if not entries:
            return HOUR_S  # none is in the config any more: the certificate is kept until it expires
        clients = self._clients_of(entries[0])
        if is_to_ask(state.ask_at, now):
            state = await self._ask(wanted, state, clients)
        if (due := due_at(wanted, state, clients, now)) <= now:
            return await self._renew(entries, wanted, state)
        return min(HOUR_S, max(1.0, min(due, state.ask_at) - now))

    def _is_to_forget(self, name: str, state: State) -> bool:
        """Whether a name has had no certificate for so long that it is to be forgotten.

        That must be seen for an hour: the clock may be wrong after the start, and orders that end with the process have
        to be counted at its next starts.
        """
        now = self._context.loop.time()
        is_seen = now - self._lacking.setdefault(name, now) >= SEEN_S
        return is_seen and max(state.not_after, state.failures.last) + FORGOTTEN_S <= self._clock()

    async def _renew(self, entries: Sequence[Entry], wanted: Wanted, state: State) -> float:
        """Renew a certificate if an application still agrees. Return the seconds until to look again."""
        answers = set()
        for entry in entries:
            answers.add(answer := await self._consent.ask(entry, wanted.name))
            if answer is Answer.YES:
                state = await self._get(entry, wanted)
                return min(HOUR_S, max(MINUTE_S, state.due_at(self._clock(), wanted.settings) - self._clock()))
        if answers == {Answer.NO}:
            until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(state.not_after))
            log.info(
                "certificate for %s, valid until %s, is not renewed: the application refuses it now (%s.ask)",
                wanted.name, until, wanted.key,
            )  # fmt: skip
            return DAY_S
        return HOUR_S

    async def _forget(self, wanted: Wanted) -> None:
        log.info("%s has no certificate on demand any more (%s)", wanted.name, wanted.key)
        self._questions.closed_to = wanted.name
        try:
            for key in (wanted.certificate_key, wanted.state_key):
                await self._store.delete(key)
            await self._names.remove(wanted.name)
            self._told.pop(wanted.name, None)
            self._lacking.pop(wanted.name, None)
            self._states.forget(wanted.name)
        finally:
            self._questions.closed_to = ""


def _wanted(entry: Entry, name: str) -> Wanted:
    """Return the certificate of a name, with the digest of what decides about its orders."""
    settings = digest_of(entry.settings, entry.kinds(name), entry.places(name))
    return replace(entry.wanted(name), settings=settings)
