"""Tables that lookups read: all names that exist, their record sets, zones and cuts. Made by `dns.zone.compile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, parent

#: TTL in seconds, and data in wire form, of all records of one name and type.
RecordSet = tuple[int, tuple[bytes, ...]]
RecordSets = Mapping[int, RecordSet]  # by type

NO_SETS: RecordSets = {}


class Node:
    """A name that exists, with its record sets."""

    __slots__ = ("cut", "is_attached", "key", "sets", "wildcard", "zone")

    zone: Zone

    def __init__(self, key: bytes, sets: RecordSets) -> None:
        self.key = key
        self.sets = sets
        self.wildcard: Node | None = None  # the `*` directly below
        self.cut: Node | None = None  # the cut at or above this name, if it is delegated
        self.is_attached = False  # whether zone and cut are set

    def __repr__(self) -> str:
        return f"<Node {self.key!r} {[codes.type_name(rtype) for rtype in self.sets]}>"


class Zone:
    """A zone: its apex and SOA. Its nodes refer to it."""

    __slots__ = ("apex", "has_generated_soa", "key", "parent", "soa")

    def __init__(self, apex: Node, soa: RecordSet) -> None:
        self.apex = apex
        self.key = apex.key
        self.soa = soa
        self.has_generated_soa = codes.SOA not in apex.sets  # the config gives none
        self.parent: Zone | None = None  # the zone above, if it is ours too

    def __repr__(self) -> str:
        return f"<Zone {self.key!r}>"

    @property
    def is_served(self) -> bool:
        """Whether it has records: a zone of another server may not have been transferred yet, or have expired."""
        return codes.SOA in self.apex.sets

    def set_serial(self, serial: int) -> None:
        """Set the serial of the SOA record."""
        ttl, (soa,) = self.soa
        self.soa = (ttl, (soa[:-20] + serial.to_bytes(4, "big") + soa[-16:],))
        self.apex.sets = {
            codes.SOA: self.soa,
            **{rtype: one for rtype, one in self.apex.sets.items() if rtype != codes.SOA},
        }

    @property
    def negative_ttl(self) -> int:
        """TTL of negative answers in seconds: the smaller of the SOA's TTL and its minimum (RFC 2308 §5)."""
        ttl, data = self.soa
        return min(ttl, int.from_bytes(data[0][-4:], "big"))


@dataclass(slots=True)
class UpstreamSet:
    """A record set whose addresses are those of an upstream's healthy targets."""

    node: Node
    rtype: int
    ttl: int
    upstream: str


#: Returns the current addresses of the named upstream for a record type, 4 or 16 bytes each.
FindAddresses = Callable[[str, int], Sequence[bytes]]


@dataclass(slots=True)
class Tables:
    """All names and zones that the clients of one view see."""

    nodes: dict[bytes, Node] = field(default_factory=dict)
    zones: dict[bytes, Zone] = field(default_factory=dict)
    upstream_sets: list[UpstreamSet] = field(default_factory=list)
    longest_key: int = 1  # bytes of the longest name
    derived: set[bytes] = field(default_factory=set)  # apexes of the zones that the config does not name

    def refresh(self, find_addresses: FindAddresses) -> bool:
        """Update the addresses from upstreams; return whether any changed, so that cached answers are outdated."""
        changed = False
        for one in self.upstream_sets:
            data = tuple(find_addresses(one.upstream, one.rtype))
            old = one.node.sets.get(one.rtype)
            if (old[1] if old else ()) == data:
                continue
            sets = dict(one.node.sets)
            if data:
                sets[one.rtype] = (one.ttl, data)
            else:
                sets.pop(one.rtype, None)
            one.node.sets = sets
            changed = True
        return changed

    def zone_nodes(self, zone: Zone) -> Iterator[Node]:
        """Yield the nodes of a zone, the apex first, then by name, including those at and below its cuts."""
        keys = sorted(node.key for node in self.nodes.values() if node.zone is zone and node is not zone.apex)
        yield zone.apex
        for key in keys:
            yield self.nodes[key]


def ancestors(key: bytes) -> Iterator[bytes]:
    """Yield the name itself and all names above it, the root last."""
    while key != ROOT:
        yield key
        key = parent(key)
    yield ROOT
