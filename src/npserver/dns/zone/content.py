"""The records of a zone that changes while it is served, and its changes from one serial to the next. Pure.

Everything that changes a zone (its file, its primary server, updates) gives `ZoneChange`s; tables take them in place
(`dns.zone.changing`), and transfers to secondaries are made of them (RFC 1995).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256

from msgspec import Struct
from msgspec.msgpack import decode as unpack
from msgspec.msgpack import encode as pack

from npserver.dns.message import codes
from npserver.dns.zone.tables import RecordSet, RecordSets, soa_serial, with_soa_serial

#: The record sets of a zone, by name in lower case, and by type; signatures are by `signature_type`.
Content = dict[bytes, dict[int, RecordSet]]

_HALF = 1 << 31


def signature_type(rtype: int) -> int:
    """Return the type by which a content has the signatures of record sets of a type: each has its own TTL."""
    return rtype << 16 | codes.RRSIG


def content_type(rtype: int, data: bytes) -> int:
    """Return the type by which a content has a record."""
    return signature_type(int.from_bytes(data[:2], "big")) if rtype == codes.RRSIG else rtype


def wire_type(rtype: int) -> int:
    """Return the type that records have in messages, by that of a content."""
    return rtype & 0xFFFF


class SetChange(Struct, frozen=True, array_like=True):
    """What becomes of one record set: `before` and `after` are None if it is not there."""

    name: bytes
    rtype: int
    before: RecordSet | None
    after: RecordSet | None


class ZoneChange(Struct, frozen=True, array_like=True):
    """A change of a zone. The SOA is one of the sets that change."""

    from_serial: int
    to_serial: int
    sets: tuple[SetChange, ...]

    @property
    def size(self) -> int:
        """About how many bytes its records take."""
        return sum([set_size(one.before) + set_size(one.after) + len(one.name) for one in self.sets])


def set_size(records: RecordSet | None) -> int:
    """Return about how many bytes a record set takes; 0 for None."""
    return 0 if records is None else sum([len(one) + 12 for one in records[1]])


def content_size(content: Content) -> int:
    """Return about how many bytes the records of a zone take."""
    return sum([len(name) + set_size(one) for name, sets in content.items() for one in sets.values()])


def serial_of(content: Mapping[bytes, RecordSets], apex: bytes) -> int:
    """Return the serial of a zone's SOA."""
    return soa_serial(content[apex][codes.SOA][1][0])


def with_serial(content: Content, apex: bytes, serial: int) -> Content:
    """Return the content with another serial in its SOA; the sets of other names are shared."""
    ttl, (soa,) = content[apex][codes.SOA]
    return {**content, apex: {**content[apex], codes.SOA: (ttl, (with_soa_serial(soa, serial),))}}


def is_newer(serial: int, than: int) -> bool:
    """Whether a serial comes after another one (RFC 1982 §3.2)."""
    return 0 < (serial - than) & 0xFFFFFFFF < _HALF


def next_serial(serial: int) -> int:
    """Return the serial after this one; 0 is left out, which some servers take for none."""
    return (serial + 1) & 0xFFFFFFFF or 1


def differences(before: Content, after: Content) -> tuple[SetChange, ...]:
    """Return what changes from one content to another."""
    found = []
    for name, sets in after.items():
        old = before.get(name, {})
        if old is sets:
            continue
        found += [
            SetChange(name, rtype, old.get(rtype), one)
            for rtype, one in sets.items()
            if not are_equal(old.get(rtype), one)
        ]
        found += [SetChange(name, rtype, one, None) for rtype, one in old.items() if rtype not in sets]
    for name, sets in before.items():
        if name not in after:
            found += [SetChange(name, rtype, one, None) for rtype, one in sets.items()]
    return tuple(found)


def are_equal(one: RecordSet | None, other: RecordSet | None) -> bool:
    """Whether two record sets are the same, in whatever order."""
    if one is None or other is None:
        return one is other
    return one[0] == other[0] and sorted(one[1]) == sorted(other[1])


def apply(content: Content, changes: Iterable[SetChange]) -> Content:
    """Return the content after changes; what does not change is shared with the former one."""
    changed = dict(content)
    apply_to(changed, changes)
    return changed


def apply_to(content: Content, changes: Iterable[SetChange]) -> None:
    """Make changes in the content itself; the sets of a name that changes are replaced, as others may share them."""
    copied: set[bytes] = set()
    for one in changes:
        if one.name not in copied:
            copied.add(one.name)
            content[one.name] = dict(content.get(one.name, {}))
        if one.after is None:
            content[one.name].pop(one.rtype, None)
        else:
            content[one.name][one.rtype] = one.after
    for name in copied:
        if not content[name]:
            del content[name]


def version_of(content: Content) -> int:
    """Return a number that equal contents have, and hardly any others."""
    return int.from_bytes(sha256(encode_content(content)).digest()[:6], "big")


def encode_content(content: Content) -> bytes:
    """Return the content as bytes, for the store and for other processes."""
    return pack([(name, list(sets.items())) for name, sets in content.items()])


def decode_content(data: bytes) -> Content:
    """Return what `encode_content` was given. Raises: msgspec.MsgspecError."""
    read = unpack(data, type=list[tuple[bytes, list[tuple[int, tuple[int, tuple[bytes, ...]]]]]])
    return {name: dict(sets) for name, sets in read}


def encode_change(change: ZoneChange) -> bytes:
    """Return the change as bytes, for the journal and for other processes."""
    return pack(change)


def decode_change(data: bytes) -> ZoneChange:
    """Return what `encode_change` was given. Raises: msgspec.MsgspecError."""
    return unpack(data, type=ZoneChange)


def chain(history: Iterable[ZoneChange], serial: int) -> Iterator[ZoneChange] | None:
    """Return the changes from a serial on, of those in order; None if it is not among them."""
    changes = list(history)
    for at, one in enumerate(changes):
        if one.from_serial == serial:
            return iter(changes[at:])
    return None
