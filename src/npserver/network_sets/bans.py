"""The networks that learn, in one process: who is banned, and how often clients have been noticed.

Events are counted in the table of rate limits, over all workers (`limits.table`). The worker that notices the last one
tells the controller, whose service (`network_sets.ban_service`) publishes all bans in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.http.memo import Memo
from npserver.network_sets.states import BAN_TOPICS
from npserver.networks import NetworkSet, client_network
from npserver.runtime.context import PerProcess
from npserver.runtime.pubsub import CONTROLLER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.limits.rate import Rate
    from npserver.limits.table import RateTable
    from npserver.networks import AddressSet
    from npserver.runtime.context import Context

NOTICED = "networks:noticed"  # the topic by which workers tell the controller
MAX_KNOWN_KEYS = 4096


class Ban(Struct, frozen=True):
    """A client that is banned. Times are in seconds since 1970."""

    client: str  # an IPv4 address, or an IPv6 network
    event: str  # why
    at: float
    until: float
    times: int = 1  # how often it has been banned


class Banned:
    """The set of all clients that are banned now, and that may be."""

    __slots__ = ("_client_of", "_context", "by_client", "excepted")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client_of: Memo[str, str] = Memo(client_network, MAX_KNOWN_KEYS)
        self.by_client: dict[str, Ban] = {}  # the oldest first
        self.excepted: tuple[AddressSet, ...] = ()  # never banned

    def __contains__(self, ip: str) -> bool:
        if not self.by_client:
            return False
        ban = self.by_client.get(self._client_of[ip])
        return ban is not None and self._context.wall_clock() < ban.until and not self.is_excepted(ip)

    def client_of(self, ip: str) -> str:
        """Return what is banned with an address."""
        return self._client_of[ip]

    def is_excepted(self, ip: str) -> bool:
        """Whether an address is never banned."""
        return any(ip in one for one in self.excepted)


class EventCounter:
    """How often each client did something, counted over all processes. A client is forgiven one each interval."""

    __slots__ = ("_identity", "_rate", "_table")

    def __init__(self, table: RateTable, rate: Rate, identity: str) -> None:
        self._table = table
        self._rate = rate
        self._identity = f"bans {identity} {rate.interval_ns} {rate.burst}\0"

    def is_last(self, client: str) -> bool:
        """Count one. Return whether the client has reached the number now; it begins again then."""
        rate = self._rate
        most_ns = rate.span_ns - rate.interval_ns
        return self._table.advance((self._identity + client).encode(), rate.interval_ns, most_ns) > most_ns


class LearntSet(NetworkSet):
    """The clients that are banned by one name. It lives on over reloads."""

    __slots__ = ("_context", "_counters", "banned", "doubling", "for_s", "is_loaded", "max_bans", "times")

    def __init__(self, name: str, context: Context) -> None:
        super().__init__(name)
        self._context = context
        self.banned = Banned(context)
        self.current = self.banned
        self._counters: dict[str, EventCounter] = {}
        self.for_s = 0.0
        self.doubling = False
        self.max_bans = 0
        self.times: dict[str, int] = {}  # how often each client has been banned, in the controller
        self.is_loaded = False  # whether what the store has is known
        context.pubsub.subscribe(BAN_TOPICS + name, self._take)

    def configure(
        self,
        rates: Mapping[str, Rate],
        excepted: tuple[AddressSet, ...],
        *,
        for_s: float,
        doubling: bool,
        max_bans: int,
    ) -> None:
        """Apply the settings of a config. Bans in force stay."""
        table = self._context.row.board.rates
        self._counters = {event: EventCounter(table, rate, f"{self.name} {event}") for event, rate in rates.items()}
        self.banned.excepted = excepted
        self.for_s, self.doubling, self.max_bans = for_s, doubling, max_bans

    def notice(self, event: str, ip: str) -> None:
        """Count what a client did; ban it if that was once too often."""
        banned, counter = self.banned, self._counters.get(event)
        client = banned.client_of(ip)
        if counter is None or not client or ip in banned or banned.is_excepted(ip) or not counter.is_last(client):
            return
        now = self._context.wall_clock()
        banned.by_client.pop(client, None)
        if len(banned.by_client) >= self.max_bans:
            del banned.by_client[next(iter(banned.by_client))]
        banned.by_client[client] = Ban(client, event, now, now + self.for_s)  # at once here; all others follow
        message = {"name": self.name, "ip": ip, "event": event}
        self._context.pubsub.tell(CONTROLLER, NOTICED, message)

    def _take(self, value: Any) -> None:
        """Use what the controller has published; None: the network is gone from the config."""
        self.is_loaded = True
        self.banned.by_client = {one["client"]: Ban(**one) for one in value or ()}


#: The networks that learn of a process, by name.
LEARNT: PerProcess[dict[str, LearntSet]] = PerProcess(lambda context: {})


def learnt_set(context: Context, name: str) -> LearntSet:
    """Return the network of a name in this process."""
    sets = LEARNT.of(context)
    if name not in sets:
        sets[name] = LearntSet(name, context)
    return sets[name]
