"""Update messages as a server reads them (RFC 2136 §2): prerequisites and changes, in order.

The grammar is dnspython's, off the query path; names in data are uncompressed, and data is checked by its type.
"""

from __future__ import annotations

from struct import unpack
from typing import Any

import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.update
from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.query import record_name_end
from npserver.dns.message.update import CLASS_NONE

#: Types that no record has: they are of questions and of messages.
_META_TYPES = frozenset({*range(128, 256), codes.OPT, 0}) - {codes.ANY}


class UpdateError(Exception):
    """An update is refused. `rcode`: what is answered."""

    def __init__(self, rcode: int, message: str) -> None:
        super().__init__(message)
        self.rcode = rcode


class Record(Struct, frozen=True):
    """A record of an update: its class says what is meant."""

    name: bytes  # in lower case
    rtype: int
    rclass: int
    ttl: int
    data: bytes | None  # None: it has none


class Update(Struct, frozen=True):
    """An update of a zone."""

    zone: bytes  # in lower case
    prerequisites: tuple[Record, ...]
    changes: tuple[Record, ...]


def read_update(data: bytes) -> Update:
    """Return what a message asks for, which has no TSIG record any more. Raises: UpdateError with FORMERR."""
    try:
        message = dns.message.from_wire(data, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise UpdateError(codes.FORMERR, str(error) or type(error).__name__) from None
    if not isinstance(message, dns.update.UpdateMessage) or len(message.zone) != 1:
        raise UpdateError(codes.FORMERR, "not one zone")
    (zone,) = message.zone
    if zone.rdtype != codes.SOA:
        raise UpdateError(codes.FORMERR, "the zone is not asked for by SOA")
    if zone.rdclass != codes.CLASS_IN:
        raise UpdateError(codes.NOTAUTH, "the zone is not of class IN")
    prerequisites = tuple([_record(one) for one in message.prerequisite])
    changes = tuple([_record(one) for one in message.update])
    for one in changes:
        if one.rtype in _META_TYPES or (one.rtype == codes.ANY and one.rclass != codes.CLASS_ANY):
            raise UpdateError(codes.FORMERR, f"type {codes.type_name(one.rtype)} in an update")  # §3.4.1.2
    for one in prerequisites:
        if one.rtype in _META_TYPES or (one.rtype == codes.ANY and one.rclass == codes.CLASS_IN):
            raise UpdateError(codes.FORMERR, f"type {codes.type_name(one.rtype)} in a prerequisite")
    _check_ttls(data)
    return Update(_key(zone.name), prerequisites, changes)


def _check_ttls(data: bytes) -> None:
    """Check that what is asked about or removed has no TTL (§3.2, §3.4.1.2), which dnspython does not tell."""
    at = 12
    for number, count in enumerate(unpack("!HHHH", data[4:12])):
        for _ in range(count):
            end = record_name_end(data, at)
            if end is None or end + (4 if not number else 10) > len(data):
                raise UpdateError(codes.FORMERR, "a name that points elsewhere")  # dnspython lets more of them pass
            at = end
            if not number:  # the zone
                at += 4
                continue
            _, rclass, ttl, length = unpack("!HHIH", data[at : at + 10])
            if ttl and (number == 1 or (number == 2 and rclass != codes.CLASS_IN)):
                raise UpdateError(codes.FORMERR, "a TTL of what is asked about, or removed")
            at += 10 + length


def _record(records: Any) -> Record:
    """Return one record, which dnspython has as a set of its own."""
    rclass = int(records.deleting if records.deleting is not None else records.rdclass)
    if rclass not in (codes.CLASS_IN, codes.CLASS_ANY, CLASS_NONE):
        raise UpdateError(codes.FORMERR, f"class {rclass} in an update")
    data = records[0].to_wire() if len(records) else None
    return Record(_key(records.name), int(records.rdtype), rclass, int(records.ttl), data)


def _key(name: dns.name.Name) -> bytes:
    return name.to_wire().lower()  # type: ignore[union-attr]
