"""Fuzzes updates of zones (RFC 2136): `make fuzz ARGS="dns_update --seconds 60"`.

Oracle: an update is refused with an rcode, or leaves a zone that can be served: one SOA with a serial that has not gone
back, no name with a CNAME and other records, nothing outside the zone; and its change can be kept and made again.
"""

from __future__ import annotations

import contextlib

import dns.update

from fuzz.driver import run
from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.record import parse_data
from npserver.dns.zone.content import Content, ZoneChange, apply, decode_change, differences, encode_change, serial_of
from npserver.dns.zone.tables import ancestors
from npserver.nameserver.updates.message import UpdateError, read_update
from npserver.nameserver.updates.zone import update
from npserver.nameserver.zones.overlay import changed_sets

APEX = parse_owner("example.com")
CONTENT: Content = {
    APEX: {
        codes.SOA: (300, (parse_data(codes.SOA, "ns.example.com h.example.com 7 1 1 1 1"),)),
        codes.NS: (300, (parse_data(codes.NS, "ns.example.com"),)),
    },
    parse_owner("www.example.com"): {codes.A: (300, (b"\xc0\0\2\1",)), codes.TXT: (60, (b"\1x",))},
    parse_owner("alias.example.com"): {codes.CNAME: (300, (parse_owner("www.example.com"),))},
}


def seeds() -> list[bytes]:
    """Return updates of all kinds."""
    one, two = dns.update.UpdateMessage("example.com"), dns.update.UpdateMessage("example.com")
    one.present("www", "A", "192.0.2.1")
    one.absent("new")
    one.add("new", 60, "MX", "10 www")
    one.replace("www", 60, "A", "192.0.2.9")
    two.delete("alias")
    two.add("alias", 60, "TXT", '"y"')
    two.delete("@", "NS", "ns")
    two.add("@", 60, "SOA", "ns h 9 1 1 1 1")
    return [one.to_wire(), two.to_wire()]


def target(data: bytes) -> None:
    """One input."""
    with contextlib.suppress(UpdateError):
        changes = changed_sets(CONTENT, update(CONTENT, APEX, read_update(data), lambda name, rtype: True))
        after = apply(CONTENT, changes)
        assert len(after[APEX][codes.SOA][1]) == 1
        assert (serial_of(after, APEX) - 7) & 0xFFFFFFFF < 1 << 31
        for name, sets in after.items():
            assert APEX in ancestors(name)
            assert codes.CNAME not in sets or len(sets) == 1
        assert {(one.name, one.rtype) for one in changes} == {
            (one.name, one.rtype) for one in differences(CONTENT, after)
        }
        change = ZoneChange(7, serial_of(after, APEX), changes)
        assert apply(CONTENT, decode_change(encode_change(change)).sets) == after


if __name__ == "__main__":
    run(target, seeds())
