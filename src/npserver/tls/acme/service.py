"""The service that keeps the certificates of CAs valid, in the controller. It imports the client when it runs."""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import reason_of
from npserver.tls.acme.answers import ANSWERS
from npserver.tls.watch import CertificateWatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.runtime.context import Context
    from npserver.store.interface import Store
    from npserver.tls.acme.challenges import ChallengeKind
    from npserver.tls.acme.settings import AcmeSettings
    from npserver.tls.acme.state import State, Wanted

log = logging.getLogger("npserver.tls")


class Order(Struct, frozen=True):
    """A certificate of the config: the CAs to ask, in order, and the kinds of challenge that can work."""

    wanted: Wanted
    settings: tuple[AcmeSettings, ...]
    kinds: tuple[ChallengeKind, ...]


class AcmeService:
    """The service."""

    #: What `run` imports; loaded before privileges go, as the user may be unable to read the program's directory.
    imports = tuple(f"npserver.tls.acme.{name}" for name in ("client", "manager", "solver"))

    __slots__ = ("_context", "_orders", "_store")

    def __init__(self, context: Context, store: Store, orders: Mapping[str, Order]) -> None:
        self._context = context
        self._store = store
        self._orders = orders

    def __repr__(self) -> str:
        return f"<AcmeService {' '.join(self._orders)}>"

    def describe(self) -> list[str]:
        """Return what is wanted, as text."""
        return [
            f"certificate for {', '.join(one.wanted.names)} by {one.settings[0].directory} "
            f"({', '.join(kind.value for kind in one.kinds)})"
            for one in self._orders.values()
        ]

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            client, manager, solver = await asyncio.to_thread(lambda: [*map(importlib.import_module, self.imports)])
        except (ImportError, PermissionError) as error:
            log.error(
                "certificates cannot be ordered before a restart: the user may not read npserver (%s)", reason_of(error)
            )
            return
        clients = {
            settings: client.AcmeClient(settings, self._store)
            for settings in dict.fromkeys(one for order in self._orders.values() for one in order.settings)
        }
        kinds = {name: order.kinds for order in self._orders.values() for name in order.wanted.names}
        wanted = [(one.wanted, [clients[settings] for settings in one.settings]) for one in self._orders.values()]
        shown = solver.WorkerSolver(ANSWERS.of(self._context), kinds, {})
        await manager.Manager(self._store, wanted, shown, self._changed, self._context.wall_clock).run()

    def _changed(self, wanted: Wanted, state: State) -> None:
        if state.is_issued:
            CertificateWatch(self._context).look()
        elif not state.failures.count:
            log.info(
                "no certificate for %s yet: until the CA has issued it, one of the local authority is used (%s)",
                ", ".join(wanted.names), wanted.key,
            )  # fmt: skip
