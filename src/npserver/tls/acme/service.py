"""The service that keeps the certificates of CAs valid, in the controller. It imports the client when it runs."""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from npserver.errors import reason_of
from npserver.tls.acme.answering.answers import ANSWERS
from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.dns.places import Places, by_record
from npserver.tls.acme.on_demand.answerable import Answerable
from npserver.tls.acme.state import digest_of
from npserver.tls.states import CertificateState, CertificateStates
from npserver.tls.watch import CertificateWatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from npserver.runtime.context import Context
    from npserver.store.interface import Store
    from npserver.tls.acme.on_demand.entry import Entry
    from npserver.tls.acme.settings import AcmeSettings
    from npserver.tls.acme.state import State, Wanted

log = logging.getLogger("npserver.tls")


class Order(Struct, frozen=True):
    """A certificate of the config: the CAs to ask, in order, and the kinds of challenge that can work."""

    wanted: Wanted
    settings: tuple[AcmeSettings, ...]
    kinds: tuple[ChallengeKind, ...]
    places: Places


class AcmeService:
    """The service."""

    #: What `run` imports; loaded before privileges go, as the user may be unable to read the program's directory.
    imports = tuple(
        f"npserver.tls.acme.{name}"
        for name in ("client.acme_client", "manager", "answering.solver", "on_demand.keeper")
    )

    __slots__ = ("_context", "_entries", "_orders", "_states", "_store")

    def __init__(
        self,
        context: Context,
        store: Store,
        orders: Mapping[str, Order],
        entries: Mapping[str, Entry],
        states: CertificateStates,
    ) -> None:
        self._context = context
        self._entries = entries  # of certificates on demand, by their config keys
        self._store = store
        self._orders = orders
        self._states = states

    def __repr__(self) -> str:
        return f"<AcmeService {' '.join(self._orders)}>"

    def describe(self) -> list[str]:
        """Return what is wanted, as text."""
        found = [
            f"certificate for {', '.join(one.wanted.names)} by {one.settings[0].directory} "
            f"({', '.join(kind.key for kind in one.kinds)})"
            for one in self._orders.values()
        ]
        found += [
            f"certificate on demand by {one.settings[0].directory} for names that {one.application.url} agrees to"
            for one in self._entries.values()
        ]
        return [*found, *dict.fromkeys(text for places in self._places().values() for text in places.describe())]

    def _places(self) -> dict[str, Places]:
        """Return the places of the TXT records of certificates that can be ordered by DNS."""
        return by_record(one.places for one in self._orders.values() if ChallengeKind.DNS_01 in one.kinds)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            client, manager, solver, keeper = await asyncio.to_thread(
                lambda: [*map(importlib.import_module, self.imports)]
            )
        except (ImportError, PermissionError) as error:
            log.error(
                "certificates cannot be ordered before a restart: the user may not read npserver (%s)", reason_of(error)
            )
            for order in self._orders.values():
                self._failed(order.wanted, f"the user may not read npserver ({reason_of(error)})")
            return
        used: list[Order | Entry] = [*self._orders.values(), *self._entries.values()]
        clients = client.make_clients((one for user in used for one in user.settings), self._store)
        kinds: dict[str, Sequence[ChallengeKind]] = {
            name: order.kinds for order in self._orders.values() for name in order.wanted.names
        }
        wanted = [
            (
                replace(one.wanted, settings=digest_of(one.settings, one.kinds, one.places)),
                [clients[settings] for settings in one.settings],
            )
            for one in self._orders.values()
        ]
        places = self._places()
        clock = self._context.wall_clock
        shown = solver.WorkerSolver(ANSWERS.of(self._context), kinds, places, clock)
        await shown.clear()
        kept = manager.Manager(self._store, wanted, shown, self._changed, clock, self._failed)
        async with asyncio.TaskGroup() as group:
            if self._entries:
                further = keeper.OnDemandManager(
                    self._context, self._store, self._entries, clients, shown,
                    Answerable(kinds, places), self._states, kept.jumps,
                )  # fmt: skip
                group.create_task(further.run())
            await kept.run()

    def _failed(self, wanted: Wanted, reason: str) -> None:
        known = self._states.issued.get(wanted.name) or CertificateState("acme", wanted.names)
        self._states.report(wanted.name, replace(known, failures=max(1, known.failures), error=reason))

    def _changed(self, wanted: Wanted, state: State) -> None:
        now = self._context.wall_clock()
        is_first, due = wanted.name in self._states.awaited, state.due_at(now, wanted.settings)
        self._states.report(wanted.name, state_of(wanted, state, now))
        if state.is_issued:
            CertificateWatch(self._context).look()
        elif is_first and due > now:
            log.warning(
                "no certificate for %s yet: one of the local authority is used; next attempt in %d min, as the last "
                "one has failed: %s (%s)",
                wanted, (due - now) // 60 + 1, state.error, wanted.key,
            )  # fmt: skip
        elif is_first or not state.failures.count:
            log.info(
                "no certificate for %s yet: until the CA has issued it, one of the local authority is used (%s)",
                ", ".join(wanted.names), wanted.key,
            )  # fmt: skip


def state_of(wanted: Wanted, state: State, now: float) -> CertificateState:
    """Return a state as the status page shows it."""
    return CertificateState(
        "acme", wanted.names, state.directory, "", state.not_before, state.not_after,
        state.due_at(now, wanted.settings), state.failures.count, state.error,
    )  # fmt: skip
