"""Tables that lookups read: all names that exist, their record sets, zones and cuts. Made by `dns.zone.compile`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, parent

#: TTL in seconds, and data in wire form, of all records of one name and type.
RecordSet = tuple[int, tuple[bytes, ...]]
RecordSets = Mapping[int, RecordSet]  # by type

NO_SETS: RecordSets = {}


def soa_serial(data: bytes) -> int:
    """Return the serial in the data of an SOA record."""
    return int.from_bytes(data[-20:-16], "big")


def with_soa_serial(data: bytes, serial: int) -> bytes:
    """Return the data of an SOA record with another serial."""
    return data[:-20] + serial.to_bytes(4, "big") + data[-16:]


class Node:
    """A name that exists, with its record sets."""

    __slots__ = ("cut", "is_attached", "key", "sets", "wildcard", "zone")

    zone: Zone

    def __init__(self, key: bytes, sets: RecordSets) -> None:
        self.key = key
        self.sets = sets
        #: What stands for missing names below: the `*` directly below, or this node itself, if it has a DNAME.
        self.wildcard: Node | None = None
        #: The cut that this name is of: the delegation at or above it, or the DNAME above it.
        self.cut: Node | None = None
        self.is_attached = False  # whether zone and cut are set

    def __repr__(self) -> str:
        return f"<Node {self.key!r} {[codes.type_name(rtype) for rtype in self.sets]}>"

    @property
    def cut_below(self) -> Node | None:
        """The cut that the names below this one are of, in its zone."""
        return self.cut or (self if self.wildcard is self else None)

    @property
    def is_delegated(self) -> bool:
        """Whether this node, which is a cut, is a delegation; else it has a DNAME."""
        return self.cut is self


class Zone:
    """A zone: its apex and SOA. Its nodes refer to it."""

    __slots__ = ("_serial_offset", "apex", "ds", "has_generated_soa", "key", "parent", "signing", "soa")

    def __init__(self, apex: Node, soa: RecordSet) -> None:
        self.apex = apex
        self.key = apex.key
        self.soa = soa
        self.has_generated_soa = codes.SOA not in apex.sets  # the config gives none
        self.parent: Zone | None = None  # the zone above, if it is ours too
        self.signing: Signing | None = None  # if the zone is signed
        self.ds: RecordSet | None = None  # the DS records that the zone above has of this one, if both are ours
        self._serial_offset = 0

    def __repr__(self) -> str:
        return f"<Zone {self.key!r}>"

    @property
    def is_served(self) -> bool:
        """Whether it has records: a zone of another server may not have been transferred yet, or have expired."""
        return codes.SOA in self.apex.sets

    @property
    def serial(self) -> int:
        """The serial of the zone's content. That of the SOA record is larger in a signed zone."""
        return self.shown_serial - self._serial_offset & 0xFFFFFFFF

    @property
    def shown_serial(self) -> int:
        """The serial of the SOA record."""
        return soa_serial(self.soa[1][0])

    def set_serial_offset(self, offset: int) -> None:
        """Set what the serial of the SOA record is larger by: it rises when the zone is signed anew."""
        serial = self.serial
        self._serial_offset = offset
        self.set_serial(serial)

    def set_soa(self, records: RecordSet) -> None:
        """Set the SOA record of the zone's content, which has one from now on."""
        self.soa = records
        self.has_generated_soa = False
        self.set_serial(soa_serial(records[1][0]))

    def set_serial(self, serial: int) -> None:
        """Set the serial of the zone's content."""
        ttl, (soa,) = self.soa
        shown = serial + self._serial_offset & 0xFFFFFFFF
        self.soa = (ttl, (with_soa_serial(soa, shown),))
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


@dataclass(slots=True)
class AliasSet:
    """A name that has the addresses of another one: see `dns.zone.aliases`."""

    node: Node
    target: bytes  # in lower case
    ttl: int  # at most


#: Returns the current addresses of the named upstream for a record type, 4 or 16 bytes each.
FindAddresses = Callable[[str, int], Sequence[bytes]]


@dataclass(slots=True)
class Tables:
    """All names and zones that the clients of one view see."""

    nodes: dict[bytes, Node] = field(default_factory=dict)
    zones: dict[bytes, Zone] = field(default_factory=dict)
    upstream_sets: list[UpstreamSet] = field(default_factory=list)
    alias_sets: list[AliasSet] = field(default_factory=list)
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
            if one.node.is_attached and (signing := one.node.zone.signing) is not None:
                signing.untrack()
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


# ── signed zones ──

#: The owner and the data of an NSEC or NSEC3 record.
Denial = tuple[bytes, bytes]


class Denials(Protocol):
    """The chain of a zone's NSEC or NSEC3 records."""

    rtype: int

    def place(self, name: bytes, encloser: bytes) -> int:
        """Return a number that is equal for all missing names with that closest encloser and the same proof."""

    def of_name(self, name: bytes) -> list[Denial]:
        """Return the records that tell the types of a name that exists, or that it has none."""

    def no_closer(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the records that prove that no name between a missing one and its closest encloser exists."""

    def missing(self, name: bytes, encloser: bytes) -> list[Denial]:
        """Return the records that prove that neither a name nor a wildcard for it exists (RFC 4035 §3.1.3.2)."""

    def wildcard_without_type(self, name: bytes, wildcard: bytes) -> list[Denial]:
        """Return the records that prove that a wildcard stands for a name, and tell its types (§3.1.3.4)."""

    def every(self) -> Iterator[Denial]:
        """Yield all records."""


class Signing(Protocol):
    """What signs a zone: `dns.zone.signing.ZoneSigning`, or `dns.zone.presigned.PresignedZone`."""

    @property
    def is_given(self) -> bool:
        """Whether another server has signed it."""

    @property
    def chain(self) -> Denials:
        """The NSEC or NSEC3 records."""

    @property
    def own_types(self) -> Collection[int]:
        """The types that each name has by being signed, beside a CNAME too (RFC 4034 §3, §4)."""

    def sign(self, owner: bytes, rtype: int, records: RecordSet) -> tuple[bytes, ...]:
        """Return the data of the RRSIG records of a record set, which has the TTL that it has in the zone."""

    def sign_apex(self) -> None:
        """Put what is published of the keys at the apex; again after a change of the zone's records."""

    def denial_set(self, denial: Denial) -> RecordSet:
        """Return an NSEC or NSEC3 record as a record set."""

    def own_denial(self, name: bytes) -> RecordSet | None:
        """Return the NSEC record of a name that exists, if it has one."""

    def signatures_at(self, node: Node) -> list[RecordSet]:
        """Return the RRSIG records of all record sets of a name, by the TTLs of these."""

    def untrack(self) -> None:
        """Note that the zone changes without a new serial."""

    def add(self, node: Node) -> None:
        """Note a name that was added to the tables."""

    def remove(self, node: Node) -> None:
        """Note a name that was removed from the tables."""

    def forget_names(self) -> None:
        """Note that names are delegated which were not, or the reverse."""
