"""Update messages that are out of grammar, and what they are answered with (RFC 2136 §2, §3)."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.record import parse_data
from npserver.dns.message.update import CLASS_NONE
from npserver.dns.zone.content import Content
from npserver.nameserver.updates.message import UpdateError, read_update
from npserver.nameserver.updates.zone import NOTZONE, NXRRSET, YXDOMAIN, YXRRSET, update

APEX, WWW, OTHER, OUTSIDE = map(parse_owner, ("example.com", "www.example.com", "x.example.com", "example.net"))
IN, ANY, NONE = codes.CLASS_IN, codes.CLASS_ANY, CLASS_NONE
ADDRESS = b"\xc0\0\2\1"
CONTENT: Content = {
    APEX: {codes.SOA: (300, (parse_data(codes.SOA, "ns.example.com h.example.com 7 1 1 1 1"),)),
           codes.NS: (300, (b"\2ns\7example\3com\0",))},
    WWW: {codes.A: (300, (ADDRESS,))},
}  # fmt: skip

Rr = tuple[bytes, int, int, int, bytes]


def message(
    prerequisites: list[Rr], changes: list[Rr], zone: bytes = APEX + pack("!HH", codes.SOA, IN), zones: int = 1
) -> bytes:
    def wire(records: list[Rr]) -> bytes:
        return b"".join(
            name + pack("!HHIH", rtype, rclass, ttl, len(data)) + data for name, rtype, rclass, ttl, data in records
        )

    head = pack("!HHHHHH", 1, codes.OPCODE_UPDATE << 11, zones, len(prerequisites), len(changes), 0)
    return head + zone + wire(prerequisites) + wire(changes)


def rcode(data: bytes) -> int:
    try:
        update(CONTENT, APEX, read_update(data), lambda name, rtype: True)
    except UpdateError as error:
        return error.rcode
    return codes.NOERROR


ADD: list[Rr] = [(WWW, codes.A, IN, 60, b"\1\2\3\4")]
REFUSED: dict[str, tuple[bytes, int]] = {
    "of another class": (message([], ADD, APEX + pack("!HH", codes.SOA, 3)), codes.NOTAUTH),
    "zone of another type": (message([], ADD, APEX + pack("!HH", codes.A, IN)), codes.FORMERR),
    "two zones": (message([], ADD, (APEX + pack("!HH", codes.SOA, IN)) * 2, 2), codes.FORMERR),
    "no zone": (message([], ADD, b"", 0), codes.FORMERR),
    "trailing bytes": (message([], ADD) + b"x", codes.FORMERR),
    "cut off": (message([], ADD)[:-1], codes.FORMERR),
    "data of another length": (message([], [(WWW, codes.A, IN, 60, b"\1\2\3")]), codes.FORMERR),
    "a name without an end": (message([], [(WWW, codes.NS, IN, 60, b"\5a")]), codes.FORMERR),
    "class CH": (message([], [(WWW, codes.A, 3, 60, ADDRESS)]), codes.FORMERR),
    "type ANY to add": (message([], [(WWW, codes.ANY, IN, 60, b"")]), codes.FORMERR),
    "type ANY of one record": (message([], [(WWW, codes.ANY, NONE, 0, b"")]), codes.FORMERR),
    "type AXFR": (message([], [(WWW, codes.AXFR, ANY, 0, b"")]), codes.FORMERR),
    "type OPT": (message([], [(b"\0", codes.OPT, 1232, 0, b"")]), codes.FORMERR),
    "a TTL of what is removed": (message([], [(WWW, codes.A, ANY, 60, b"")]), codes.FORMERR),
    "data of sets to remove": (message([], [(WWW, codes.A, ANY, 0, ADDRESS)]), codes.FORMERR),
    "no data to add": (message([], [(WWW, codes.A, IN, 60, b"")]), codes.FORMERR),
    "a TTL in a prerequisite": (message([(WWW, codes.A, ANY, 60, b"")], ADD), codes.FORMERR),
    "data in a prerequisite": (message([(WWW, codes.A, ANY, 0, ADDRESS)], ADD), codes.FORMERR),
    "outside the zone": (message([], [(OUTSIDE, codes.A, IN, 60, ADDRESS)]), NOTZONE),
    "a prerequisite outside the zone": (message([(OUTSIDE, codes.ANY, ANY, 0, b"")], ADD), NOTZONE),
    "a name that is not there": (message([(OTHER, codes.ANY, ANY, 0, b"")], ADD), codes.NXDOMAIN),
    "a name that is there": (message([(WWW, codes.ANY, NONE, 0, b"")], ADD), YXDOMAIN),
    "a set that is not there": (message([(WWW, codes.TXT, ANY, 0, b"")], ADD), NXRRSET),
    "a set that is there": (message([(WWW, codes.A, NONE, 0, b"")], ADD), YXRRSET),
    "another set": (message([(WWW, codes.A, IN, 0, b"\1\2\3\4")], ADD), NXRRSET),
    "signatures": (message([], [(WWW, codes.RRSIG, ANY, 0, b"")]), codes.REFUSED),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, expected = REFUSED[case]
    assert rcode(data) == expected


def test_one_that_is_good() -> None:
    assert rcode(message([(WWW, codes.A, IN, 0, ADDRESS)], ADD)) == codes.NOERROR


def test_all_or_nothing() -> None:
    """§3.4.1: what is refused at its end has changed nothing."""
    with pytest.raises(UpdateError):
        read = read_update(message([], [*ADD, (OUTSIDE, codes.A, IN, 60, ADDRESS)]))
        update(CONTENT, APEX, read, lambda name, rtype: True)
    assert CONTENT[WWW] == {codes.A: (300, (ADDRESS,))}


def test_what_a_key_may_not_change() -> None:
    read = read_update(message([], [*ADD, (WWW, codes.TXT, IN, 60, b"\1x")]))
    with pytest.raises(UpdateError) as error:
        update(CONTENT, APEX, read, lambda name, rtype: rtype == codes.A)
    assert error.value.rcode == codes.REFUSED


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda data: message([], ADD)[:-8] + data))
@settings(max_examples=500, deadline=None)
def test_any_bytes_are_an_update_or_refused(data: bytes) -> None:
    assert rcode(data) in (codes.NOERROR, codes.FORMERR, codes.NOTAUTH, codes.REFUSED, NOTZONE)
