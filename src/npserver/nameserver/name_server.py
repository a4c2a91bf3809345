"""The name server of a config: views, resolvers, cookies and counters that its fronts share.

`nameserver.compile` creates one per config. Each front gets a `nameserver.access_policy.AccessPolicy` of it,
which chooses the `nameserver.query_processor.QueryProcessor` of each client.
"""

from __future__ import annotations

import logging
import time
import weakref
from typing import TYPE_CHECKING, TypeVar

from npserver.dns.message import codes
from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.query import Query
from npserver.dns.zone.added_texts import AddedTexts
from npserver.dns.zone.aliases import refresh_aliases
from npserver.dns.zone.responder import Responder, Tallies
from npserver.dns.zone.signed_responder import secure
from npserver.dns.zone.tables import FindAddresses, Tables
from npserver.nameserver.query_processor import Peers, QueryProcessor
from npserver.nameserver.resolver.completion import complete, query_for
from npserver.nameserver.resolver.local_names import LocalNames
from npserver.nameserver.resolver.messages import fail
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from npserver.tls.acme.answering.answers import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from npserver.dns.message.tsig import TsigKey
    from npserver.dns.zone.changing import TableChanger
    from npserver.dns.zone.content import Content, SetChange
    from npserver.nameserver.aliases.addresses import AliasAddresses
    from npserver.nameserver.blocking.blocker import Blocker, Blocking
    from npserver.nameserver.dnssec.signer import Signer
    from npserver.nameserver.query_logging import QueryLogging
    from npserver.nameserver.query_processor import UpdateRequest
    from npserver.nameserver.resolver.client import ResolverClient
    from npserver.nameserver.response_rate_limit import RateLimiter
    from npserver.nameserver.transfers.access import TransferAccess
    from npserver.nameserver.updates.updater import Updater
    from npserver.nameserver.zones.replica import ZoneReplicas
    from npserver.networks import Networks
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

TICK_S = 0.5  # interval at which counters are written to the scoreboard and answers follow target health
TRANSPORTS = ("udp", "tcp", "tls", "https", "doq")

P = TypeVar("P", bound=QueryProcessor)


class NameServer:
    """The state shared by the DNS fronts of one config."""

    def __init__(
        self,
        context: Context,
        views: Sequence[tuple[Networks | None, Tables]],
        resolver_client: ResolverClient | None = None,
        recursion_clients: Networks | None = None,
        *,
        forwarded_local: frozenset[bytes] = frozenset(),
        discovery: Mapping[str, Mapping[str, object]] | None = None,
        find_addresses: FindAddresses = lambda upstream, kind: (),
        query_logging: QueryLogging | None = None,
        keys: Mapping[bytes, TsigKey] = {},
        blocking: Blocking | None = None,
        signer: Signer | None = None,
        aliases: AliasAddresses | None = None,
    ) -> None:
        self.context = context
        self.tallies: Tallies = {}
        self._signer = signer
        if signer is not None:
            signer.attach([tables for _, tables in views])
        #: The client networks and the responder of each view; the last view, without networks, is for all clients.
        self.views = [(networks, Responder(tables, self.tallies)) for networks, tables in views]
        #: The responders of clients that may recurse, by view.
        self._recursive = [
            Responder(tables, self.tallies, is_recursive=True) for _, tables in views if resolver_client is not None
        ]
        self.peers = Peers(keys)  # other name servers
        for responder in (*[one for _, one in self.views], *self._recursive):
            secure(responder)
        self._find_addresses = find_addresses
        self._aliases = aliases  # what ALIAS records lead to
        self.resolver_client = resolver_client
        self.blocking = blocking  # which names the resolvers are not asked for
        self.recursion_clients = recursion_clients  # who may query names outside our zones
        #: Answers for names that the resolvers are not asked for.
        self.local_names = None if resolver_client is None else LocalNames(forwarded_local, self.tallies, discovery)
        self.on_question: Callable[[str], None] | None = None  # called with who asks over a stream or HTTPS
        self.query_logging = query_logging
        self.jar = CookieJar(context.row.board.cells_seed)  # the same secret in all processes
        self.wall = time.time()  # time of day, updated every `TICK_S`, for cookies
        self.queries = {transport: [0] for transport in TRANSPORTS}
        row = context.row
        self._transport_slots = {name: row.slot(f"dns.queries.{name}") for name in TRANSPORTS}
        self._type_slots = {name: row.slot(f"dns.type.{name}") for name in (*codes.TYPES, "other")}
        self._rcode_slots = {name: row.slot(f"dns.rcode.{name}") for name in codes.RCODE_NAMES.values()}
        self._udp_processors: weakref.WeakSet[UdpQueryProcessor] = weakref.WeakSet()
        self._added_texts = [AddedTexts(tables) for _, tables in views]
        #: Replaces the tables when the addresses of published names change (`nameserver.publish`).
        self.following: object | None = None
        #: The zones that change, of those that serve them (`nameserver.zones`), and what changes the tables of views.
        self.replicas: ZoneReplicas | None = None
        self._changers: dict[int, TableChanger] = {}
        self.updater: Updater | None = None  # of zones with `updates`
        self._signatures_slot = row.slot("dns.signatures")
        self._signatures_counted = 0
        self._refresh()
        if aliases is not None:
            aliases.follow(self._refresh)
        ANSWERS.of(context).follow(self._answer_challenges)
        if signer is not None:
            signer.follow(self._sign_anew)
        context.sweeper.watched.add(_Ticker(self))

    def __repr__(self) -> str:
        return f"<NameServer {len(self.views)} views>"

    def tick(self) -> None:
        """Write the counters to the scoreboard and update answers that depend on target health."""
        self.wall = time.time()
        self.flush()
        if self.resolver_client is not None:
            self.resolver_client.heed_flush()
        for processor in self._udp_processors:
            processor.drop_passing()
        self._refresh()
        if self._signer is not None and self._signer.is_outdated():
            self._sign_anew()

    def flush(self) -> None:
        """Write the counters to the scoreboard."""
        slots = self.context.row.slots
        for (kind, rcode), tally in self.tallies.items():
            if count := tally[0]:
                tally[0] = 0
                slots[self._type_slots[kind]] += count
                slots[self._rcode_slots[rcode]] += count
        for transport, tally in self.queries.items():
            slots[self._transport_slots[transport]] += tally[0]
            tally[0] = 0
        if self.resolver_client is not None:
            self.resolver_client.flush()
        if self._signer is not None:
            made = self._signer.made
            slots[self._signatures_slot] += made - self._signatures_counted
            self._signatures_counted = made

    def replace_tables(self, tables: Sequence[Tables]) -> None:
        """Answer from other tables of the views from now on."""
        texts = ANSWERS.of(self.context).answers.dns
        if self._signer is not None:
            self._signer.attach(tables)
        for view, new in enumerate(tables):
            self._update_addresses(new)
            self._added_texts[view] = AddedTexts(new)
            self._added_texts[view].replace(texts)
            self.views[view][1].replace_tables(new)
            if self._recursive:
                self._recursive[view].replace_tables(new)
            self._forget(view)

    def change_zone(self, apex: bytes, changes: Sequence[SetChange], content: Content) -> None:
        """Change the records of a zone, in all views. `content`: that the changes lead to."""
        from npserver.dns.zone.changing import TableChanger  # few configs have zones that change

        texts = ANSWERS.of(self.context).answers.dns
        for view, (_, responder) in enumerate(self.views):
            if apex not in responder.tables.zones:
                continue
            self._added_texts[view].replace({})
            changer = self._changers.get(view)
            if changer is None or changer.tables is not responder.tables:
                changer = self._changers[view] = TableChanger(responder.tables)
            changer.apply(apex, changes, content)
            if (signing := responder.tables.zones[apex].signing) is not None:
                signing.sign_apex()
            self._added_texts[view].replace(texts)
            self._forget(view)

    def set_serials(self, numbers: Mapping[str, int]) -> None:
        """Set the serials of these zones, in all views."""
        from npserver.nameserver.publish.serials import set_serials  # few configs publish names

        texts = ANSWERS.of(self.context).answers.dns
        for view, added in enumerate(self._added_texts):
            added.replace({})
            set_serials([self.views[view][1].tables], numbers)
            added.replace(texts)
            self._forget(view)

    def _sign_anew(self) -> None:
        """Sign with the keys and the day of the moment."""
        assert self._signer is not None
        texts = ANSWERS.of(self.context).answers.dns
        for added in self._added_texts:
            added.replace({})
        self._signer.attach([responder.tables for _, responder in self.views])
        for view, added in enumerate(self._added_texts):
            added.replace(texts)
            self._forget(view)

    def _refresh(self) -> None:
        for view, (_, responder) in enumerate(self.views):
            if self._update_addresses(responder.tables):
                self._forget(view)

    def _update_addresses(self, tables: Tables) -> bool:
        """Update what upstreams and ALIAS records make; return whether anything has changed."""
        changed = bool(tables.upstream_sets) and tables.refresh(self._find_addresses)
        if tables.alias_sets:
            changed |= refresh_aliases(tables, {} if self._aliases is None else self._aliases.known)
        return changed

    def _answer_challenges(self) -> None:
        """Add the answers to a CA's challenges to the zones, in place of those before."""
        texts = ANSWERS.of(self.context).answers.dns
        for view, added in enumerate(self._added_texts):
            if added.replace(texts):
                self._forget(view)

    def _forget(self, view: int) -> None:
        """Drop the answers that were made of a view's tables as they were."""
        for responder in (self.views[view][1], *self._recursive[view : view + 1]):
            secure(responder)
            responder.clear()
        for processor in self._udp_processors:
            processor.forget()

    def responder(self, view: int, may_recurse: bool) -> Responder:
        """Return the responder of a view's clients."""
        return self._recursive[view] if may_recurse and self._recursive else self.views[view][1]

    def resolve(self, processor: QueryProcessor, query: Query, deliver: Callable[[bytes], None]) -> None:
        """Answer a query that leads outside our zones, and call `deliver` with the reply, now or later."""
        client = self.resolver_client
        if query.is_signed:
            unsigned = deliver
            deliver = lambda reply: unsigned(processor.sign(query, reply, self.wall))  # noqa: E731
        if client is None:
            deliver(fail(query, codes.REFUSED))
            return
        deliver = processor.options.adding(query, deliver)
        asked, finish = query, deliver
        sections = processor.look_up(query)
        if sections is not None and sections.outside:
            aliases = sections.answer
            asked = query_for(query, sections.outside)

            def finish(reply: bytes) -> None:
                deliver(complete(query, aliases, reply))

            local = self.local_names and self.local_names.answer(asked.key, asked.question[-4:])
            if local:
                reply = local.full_heads[query.head_index]
                finish(asked.data[:2] + reply + asked.question + local.bodies[0])
                return
        if processor.blocker is not None:
            guarded = processor.blocker.guard(query, asked.key, finish, deliver)
            if guarded is None:
                return
            finish = guarded
        client.ask(asked, finish)

    def update(self, request: UpdateRequest, client: str, deliver: Callable[[bytes], None]) -> None:
        """Have a zone updated, and call `deliver` with the reply."""
        assert self.updater is not None
        self.updater.ask(request, client, deliver)

    def make(
        self,
        kind: type[P],
        responder: Responder,
        limiter: RateLimiter | None,
        transfers: TransferAccess | None,
        may_recurse: bool,
        blocker: Blocker | None,
    ) -> P:
        """Create a query processor."""
        processor = kind(
            responder,
            self.jar,
            may_recurse=may_recurse,
            limiter=limiter,
            local_names=self.local_names if may_recurse else None,
            transfers=transfers,
            peers=self.peers,
        )
        processor.blocker = blocker
        processor.is_prohibited = self.resolver_client is not None and not may_recurse
        if isinstance(processor, UdpQueryProcessor):
            self._udp_processors.add(processor)
        return processor


class _Ticker:
    """Calls `NameServer.tick` periodically, without keeping the server of a former config alive."""

    __slots__ = ("__weakref__", "_server", "_watched", "deadline")

    def __init__(self, server: NameServer) -> None:
        self._server = weakref.ref(server)
        self._watched = server.context.sweeper.watched
        self.deadline = server.context.loop.time() + TICK_S

    def expire(self, now: float) -> None:
        """Tick the server, or stop if it is gone; called by the deadline sweeper."""
        server = self._server()
        if server is None:
            self._watched.discard(self)
            return
        self.deadline = now + TICK_S
        server.tick()
