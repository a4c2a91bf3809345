"""Chooses the query processor of each client of a front: by view, and by what the client may ask for.

Made by `nameserver.compile` for each front of a listener.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Generic, TypeVar

from npserver.dns.zone.responder import Responder
from npserver.dns.zone.tables import Tables
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.reply_options import ReplyOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.nameserver.blocking.blocker import Blocker
    from npserver.nameserver.name_server import NameServer
    from npserver.nameserver.response_rate_limit import RateLimiter
    from npserver.nameserver.transfers.access import TransferAccess
    from npserver.networks import Networks

log = logging.getLogger("npserver.dns")

MAX_CHOSEN = 4096  # clients whose processors are remembered

P = TypeVar("P", bound=QueryProcessor)


class AccessPolicy(Generic[P]):
    """The rights of the clients of one front."""

    def __init__(
        self,
        server: NameServer,
        kind: type[P],
        *,
        allow: Networks | None = None,
        deny: Networks | None = None,
        transfers: TransferAccess | None = None,
        limiter: RateLimiter | None = None,
        key: str = "dispatch",
        is_logged: bool = True,
    ) -> None:
        """Create it. `limiter` is used over UDP. `key`: the config key of the rule, for the log.

        `is_logged`: whether its queries are in the access log and the query log, if these have queries.
        """
        self.server = server
        self.query_logging = server.query_logging if is_logged else None
        self.key = key
        self._allow = allow
        self._deny = deny
        self._make: Callable[[Responder, bool, Blocker | None], P] = lambda responder, may_recurse, blocker: (
            server.make(kind, responder, limiter, transfers, may_recurse, blocker)
        )
        self.options = ReplyOptions()
        self._refusing = server.make(kind, Responder(Tables(), server.tallies), limiter, None, False, None)
        self._refusing.is_prohibited, self._refusing.options = True, self.options
        self._processors: dict[tuple[int, bool, Blocker | None], P] = {}
        asked = [allow, deny, server.recursion_clients, *[networks for networks, _ in server.views]]
        if server.blocking is not None:
            asked += [networks for networks, _ in server.blocking.entries]
        #: The processors of clients that are not refused; None: networks that change decide, at each query.
        self._chosen: dict[str, P] | None = None if any(one is not None and one.sets for one in asked) else {}
        is_same_for_all = len(server.views) == 1 and server.recursion_clients is None and allow is None and deny is None
        #: The processor of all clients, if all have the same view and rights.
        self.only: P | None = self.choose("") if is_same_for_all else None

    def choose(self, client: str) -> P:
        """Return the processor of a client."""
        # hot: dns-forward-hit
        chosen = self._chosen
        if chosen is None:
            return self._choose(client)
        found = chosen.get(client)
        if found is None:
            found = self._choose(client)
            if found is not self._refusing:
                if len(chosen) >= MAX_CHOSEN:
                    chosen.clear()
                chosen[client] = found
        return found

    def _choose(self, client: str) -> P:
        if self._deny is not None and client in self._deny:
            return self._refuse(client, "deny")
        if self._allow is not None and client not in self._allow:
            return self._refuse(client, "allow")
        server = self.server
        may_recurse = server.recursion_clients is not None and client in server.recursion_clients
        view = 0
        for networks, _ in server.views:
            if networks is None or client in networks:
                break
            view += 1
        blocker = server.blocking.choose(client) if may_recurse and server.blocking is not None else None
        key = (view, may_recurse, blocker)
        processor = self._processors.get(key)
        if processor is None:
            processor = self._processors[key] = self._make(server.responder(view, may_recurse), may_recurse, blocker)
            processor.options = self.options
        return processor

    def refuses(self, processor: QueryProcessor) -> bool:
        """Return whether a processor is that of clients which `allow` and `deny` keep out."""
        return processor is self._refusing

    def log(
        self, transport: str, client: str, data: bytes, reply: bytes | None, processor: QueryProcessor | None = None,
        *, started: float = 0.0, source: str = "",
    ) -> None:  # fmt: skip
        """Log a query and its answer, if queries are logged: see `nameserver.query_logging`."""
        if self.query_logging is not None:
            self.query_logging.log(transport, client, data, reply, processor, started, source)

    def started(self) -> float:
        """Return when a query has come, for `log`; 0 if queries are not logged."""
        return 0.0 if self.query_logging is None else perf_counter()

    def _refuse(self, client: str, name: str) -> P:
        log.debug("query of client %s refused (%s.%s)", client, self.key, name)
        return self._refusing
