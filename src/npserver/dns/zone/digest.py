"""A number that stands for the records of a zone, whatever its serial and their order are. Pure.

It is the sum of a hash of each record set, so that a change of a zone changes it without a look at the other records.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from msgspec.msgpack import encode as pack

from npserver.dns.message import codes
from npserver.dns.zone.content import Content, SetChange
from npserver.dns.zone.tables import RecordSet, with_soa_serial

BYTES = 16
_MASK = (1 << 8 * BYTES) - 1


def content_digest(content: Content, apex: bytes) -> int:
    """Return the digest of a zone."""
    return _MASK & sum([_hash(apex, name, rtype, one) for name, sets in content.items() for rtype, one in sets.items()])


def changed_digest(digest: int, apex: bytes, changes: Iterable[SetChange]) -> int:
    """Return the digest of a zone after changes."""
    for one in changes:
        digest -= 0 if one.before is None else _hash(apex, one.name, one.rtype, one.before)
        digest += 0 if one.after is None else _hash(apex, one.name, one.rtype, one.after)
    return digest & _MASK


def _hash(apex: bytes, name: bytes, rtype: int, records: RecordSet) -> int:
    ttl, data = records
    if rtype == codes.SOA and name == apex:
        data = tuple([with_soa_serial(one, 0) for one in data])
    return int.from_bytes(sha256(pack((name, rtype, ttl, sorted(data)))).digest()[:BYTES], "big")
