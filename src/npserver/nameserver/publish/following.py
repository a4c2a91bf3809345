"""Keeps the zones of a process at the addresses that the controller publishes, without a reload."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

from npserver.nameserver.publish.serials import serials_of
from npserver.nameserver.publish.state import STATE
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.nameserver.name_server import NameServer
    from npserver.nameserver.publish.state import Published
    from npserver.nameserver.publish.zones import BuiltZones, Publication
    from npserver.runtime.context import Context


class Following:
    """Replaces the zones of a name server after each change of an address; the server keeps it."""

    __slots__ = ("__weakref__", "_applied", "_context", "_digests", "_is_busy", "_numbers", "_publication", "_server")

    def __init__(
        self, context: Context, server: NameServer, publication: Publication, state: Published, built: BuiltZones
    ) -> None:
        """Begin with a server whose zones were `built` of `state`."""
        self._context = context
        self._server = weakref.ref(server)
        self._publication = publication
        self._applied = state
        self._digests = built.digests
        self._numbers = built.numbers
        self._is_busy = False
        STATE.of(context).follow(self._changed)

    def __repr__(self) -> str:
        return f"<Following {self._publication!r}>"

    def _changed(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            spawn(self._apply(), "publishing addresses (public_address)", None)

    async def _apply(self) -> None:
        try:
            while (state := STATE.of(self._context).value) is not None and state != self._applied:
                if state.has_addresses_of(self._applied):
                    numbers, tables = serials_of(self._digests, state.serials, self._numbers), None
                else:
                    built = await asyncio.to_thread(self._publication.build, state, self._numbers)
                    self._digests, numbers, tables = built.digests, built.numbers, built.tables
                if (server := self._server()) is None:
                    return
                if tables is not None:
                    server.replace_tables(tables)
                elif numbers != self._numbers:
                    server.set_serials(numbers)
                self._applied, self._numbers = state, numbers
        finally:
            self._is_busy = False
