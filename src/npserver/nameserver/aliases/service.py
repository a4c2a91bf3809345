"""Asks for the addresses of others' names that ALIAS records lead to, in the controller, and tells all processes.

Each name is asked for again when its TTL has passed. When that fails, its last addresses are served for
`dns_alias_stale`. The resolvers of `dns_forward` are asked, or those of the system, which tell no TTLs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.query import Query, make_question, parse_query
from npserver.dns.message.sections import read_records
from npserver.dns.zone.aliases import ADDRESS_TYPES
from npserver.dns.zone.tables import ancestors
from npserver.nameserver.aliases.addresses import TOPIC, decode, encode
from npserver.nameserver.resolver.local_names import is_local
from npserver.nameserver.resolver.messages import shortest_ttl
from npserver.net.resolver import FRESH_S, GONE, explain, look_up

if TYPE_CHECKING:
    from npserver.dns.zone.tables import RecordSet
    from npserver.nameserver.resolver.client import ResolverClient
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MIN_PAUSE_S, MAX_PAUSE_S = 5.0, 3600.0  # between two questions for a name, whatever its TTL
RETRY_S, HALF_RETRY_S = 5.0, 60.0  # after a failure, and after one of A or AAAA alone
MAX_ADDRESSES = 100  # of one name and type; what a resolver sends beside them is left out

#: What was found of a name by type: its record set, or why there is none.
Found = dict[int, "RecordSet | str"]
#: Returns what resolvers say of a name.
Ask = Callable[[bytes], Awaitable[Found]]


class AliasService:
    """The service.

    Args:
        names: whom to ask for, with the place of an ALIAS in the config that leads there.
        ask: asks the resolvers.
        stale_s: for which the last addresses are served after a failure.
    """

    __slots__ = ("_ask", "_context", "_good_until", "_known", "_names", "_reasons", "_stale_s")

    def __init__(self, context: Context, names: Mapping[bytes, str], ask: Ask, stale_s: float) -> None:
        self._context = context
        self._names = names
        self._ask = ask
        self._stale_s = stale_s
        self._known: dict[tuple[bytes, int], RecordSet] = {}
        self._good_until: dict[tuple[bytes, int], float] = {}  # loop time at which to ask again
        self._reasons: dict[bytes, str] = {}

    def __repr__(self) -> str:
        return f"<AliasService of {len(self._names)} names>"

    async def run(self) -> None:
        """Run until cancelled."""
        now = self._context.loop.time()
        told = decode(self._context.pubsub.latest.get(TOPIC))  # by the config before: served until there is more
        self._known = {place: records for place, records in told.items() if place[0] in self._names}
        self._good_until = dict.fromkeys(self._known, now)
        if self._known != told:
            self._tell()
        async with asyncio.TaskGroup() as group:
            for name, place in self._names.items():
                group.create_task(self._keep(name, place))

    async def _keep(self, name: bytes, place: str) -> None:
        while True:
            found = await self._ask(name)
            pause_s = self._take(name, place, found)
            await asyncio.sleep(pause_s * random.uniform(1.0, 1.1))

    def _take(self, name: bytes, place: str, found: Found) -> float:
        """Note what was found, and tell of changes. Return after how many seconds to ask again."""
        now, before = self._context.loop.time(), dict(self._known)
        pause_s, reasons = MAX_PAUSE_S, []
        for rtype, records in found.items():
            at = (name, rtype)
            if isinstance(records, str):
                reasons.append(records)
                if at in self._known and now >= self._good_until[at] + self._stale_s:
                    del self._known[at]
                    kind, since = codes.type_name(rtype), f"{self._stale_s:g} s (dns_alias_stale)"
                    log.warning("%s addresses of %s are not served any more: no answer for %s (%s)",
                                kind, to_text(name), since, place)  # fmt: skip
            else:
                self._known[at] = records
                self._good_until[at] = now + max(MIN_PAUSE_S, float(records[0]))
                pause_s = min(pause_s, max(MIN_PAUSE_S, float(records[0])))
        if reasons:
            pause_s = min(pause_s, RETRY_S if len(reasons) == len(found) else HALF_RETRY_S)
        row = self._context.row
        row.slots[row.slot("dns.aliases.failed" if reasons else "dns.aliases.found")] += 1
        if before != self._known:
            self._tell()
        self._announce(name, place, reasons[0] if reasons else "")
        return pause_s

    def _announce(self, name: bytes, place: str, reason: str) -> None:
        """Log that a name does not resolve, or does again; once for each reason."""
        before, self._reasons[name] = self._reasons.get(name, ""), reason
        if reason == before:
            return
        if not reason:
            log.info("%s resolves again (%s)", to_text(name), place)
            return
        is_kept = any((name, rtype) in self._known for rtype in ADDRESS_TYPES)
        then = (
            f"its last addresses are served for {self._stale_s:g} s (dns_alias_stale)"
            if is_kept
            else "clients get SERVFAIL"
        )
        log.warning("%s does not resolve: %s; %s (%s)", to_text(name), reason, then, place)

    def _tell(self) -> None:
        self._context.pubsub.publish(TOPIC, encode(self._known))


# ── who is asked ──


async def ask_system(name: bytes) -> Found:
    """Return what the resolvers of the system say, and its file of hosts."""
    try:
        addresses = await look_up(to_text(name).removesuffix("."))
    except OSError as error:
        is_gone = isinstance(error, socket.gaierror) and error.errno in GONE
        return dict.fromkeys(ADDRESS_TYPES, (int(FRESH_S), ()) if is_gone else explain(error))
    packed = [ip_address(one.partition("%")[0]).packed for one in addresses]
    sizes = {codes.A: 4, codes.AAAA: 16}
    return {rtype: _records(int(FRESH_S), [one for one in packed if len(one) == sizes[rtype]]) for rtype in sizes}


def asking(client: ResolverClient, forwarded: Collection[bytes] = ()) -> Ask:
    """Return what asks the resolvers of `dns_forward`; the system is asked for local names, which stay in the network.

    `forwarded`: the local names that the resolvers are asked for.
    """

    async def ask(name: bytes) -> Found:
        if is_local(name) and not any(above in forwarded for above in ancestors(name)):
            return await ask_system(name)
        found = await asyncio.gather(*[_ask_client(client, name, rtype) for rtype in ADDRESS_TYPES])
        return dict(zip(ADDRESS_TYPES, found, strict=True))

    return ask


async def _ask_client(client: ResolverClient, name: bytes, rtype: int) -> RecordSet | str:
    query = parse_query(make_question(secrets.randbits(16), name, rtype, is_for_resolver=True))
    assert isinstance(query, Query)
    answered: asyncio.Future[bytes] = client.loop.create_future()
    client.ask(query, partial(_deliver, answered))
    reply = await answered
    rcode = reply[3] & 0xF
    if rcode not in (codes.NOERROR, codes.NXDOMAIN):
        return f"the resolvers answer {codes.rcode_name(rcode)} for {codes.type_name(rtype)}"
    try:
        data_of = [one.data for one in read_records(reply, 1) if one.rtype == rtype]
    except ValueError as error:
        return f"malformed answer: {error}"
    return _records(shortest_ttl(reply), data_of)


def _deliver(answered: asyncio.Future[bytes], reply: bytes) -> None:
    if not answered.done():
        answered.set_result(reply)


def _records(ttl: int, data: list[bytes]) -> RecordSet:
    """Return addresses in an order that is always the same: what changes is told to all workers."""
    return ttl, tuple(sorted(dict.fromkeys(data))[:MAX_ADDRESSES])
