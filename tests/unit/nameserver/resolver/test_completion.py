"""Replies that begin with aliases of ours and go on with records of resolvers."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_host
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.lookup import Records
from npserver.nameserver.resolver.completion import complete, query_for

TARGET = parse_host("www.elsewhere.net")
ALIASES = [
    Records(None, codes.CNAME, 300, (parse_host("ext.example.com"),)),
    Records(parse_host("ext.example.com"), codes.CNAME, 60, (TARGET,)),
]


def query(kind: str = "A", *, edns: bool = True) -> Query:
    found = parse_query(dns.message.make_query("Shop.example.com", kind, use_edns=edns, id=77).to_wire())
    assert isinstance(found, Query)
    return found


def resolved(further: Query, *records: tuple[str, str, str], rcode: int = 0, flags: int = 0) -> bytes:
    """Return a resolver's reply, whose names dnspython compresses."""
    reply = dns.message.make_response(dns.message.from_wire(further.data), recursion_available=True)
    reply.set_rcode(dns.rcode.Rcode(rcode))
    reply.flags |= flags
    for owner, kind, data in records:
        section = reply.authority if kind in {"SOA", "NS"} else reply.answer
        section.append(dns.rrset.from_text(owner, 30, "IN", kind, data))
    return reply.to_wire()


def test_the_resolvers_are_asked_for_the_name_that_the_aliases_lead_to() -> None:
    asked = dns.message.from_wire(query_for(query("AAAA"), TARGET).data)
    assert asked.question[0].to_text() == "www.elsewhere.net. IN AAAA"
    assert asked.flags == dns.flags.RD


@pytest.mark.parametrize("edns", [False, True])
def test_their_records_follow_our_aliases(edns: bool) -> None:
    asked = query(edns=edns)
    found = resolved(
        query_for(asked, TARGET),
        ("www.elsewhere.net.", "CNAME", "cdn.elsewhere.net."),
        ("cdn.elsewhere.net.", "A", "198.51.100.7"),
    )
    reply = dns.message.from_wire(complete(asked, ALIASES, found))
    assert (reply.id, reply.edns, reply.rcode()) == (77, 0 if edns else -1, 0)
    assert reply.question[0].name.to_text() == "Shop.example.com."
    assert [str(rrset) for rrset in reply.answer] == [
        "Shop.example.com. 300 IN CNAME ext.example.com.",
        "ext.example.com. 60 IN CNAME www.elsewhere.net.",
        "www.elsewhere.net. 30 IN CNAME cdn.elsewhere.net.",
        "cdn.elsewhere.net. 30 IN A 198.51.100.7",
    ]
    flags = {"QR", "AA", "RD", "RA"}
    assert set(dns.flags.to_text(reply.flags).split()) == flags


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("MX", "10 mail.elsewhere.net."),
        ("SRV", "1 2 443 mail.elsewhere.net."),
        ("PTR", "mail.elsewhere.net."),
        ("RP", "me.elsewhere.net. txt.elsewhere.net."),
        ("AFSDB", "1 mail.elsewhere.net."),
        ("DNAME", "mail.elsewhere.net."),
        ("TXT", '"v=spf1" "-all"'),
        ("CAA", '0 issue "ca.example"'),
        ("HTTPS", "1 . alpn=h2"),
    ],
)
def test_names_within_data_are_kept_whole(kind: str, data: str) -> None:
    asked = query(kind)
    found = resolved(query_for(asked, TARGET), ("www.elsewhere.net.", kind, data))
    reply = dns.message.from_wire(complete(asked, ALIASES, found))
    assert reply.answer[-1] == dns.rrset.from_text("www.elsewhere.net.", 30, "IN", kind, data)


def test_a_name_that_does_not_exist_is_denied_with_the_soa() -> None:
    asked = query()
    soa = ("elsewhere.net.", "SOA", "ns.elsewhere.net. admin.elsewhere.net. 7 3600 600 604800 120")
    reply = dns.message.from_wire(complete(asked, ALIASES, resolved(query_for(asked, TARGET), soa, rcode=3)))
    assert reply.rcode() == dns.rcode.NXDOMAIN  # RFC 6604 §3
    assert len(reply.answer) == 2
    assert reply.authority == [dns.rrset.from_text("elsewhere.net.", 30, "IN", *soa[1:])]


def test_failures_and_truncation_are_told() -> None:
    asked = query()
    further = query_for(asked, TARGET)
    for rcode in (2, 5):
        assert dns.message.from_wire(complete(asked, ALIASES, resolved(further, rcode=rcode))).rcode() == 2
    reply = dns.message.from_wire(complete(asked, ALIASES, resolved(further, flags=dns.flags.TC)))
    assert reply.flags & dns.flags.TC
    assert reply.question[0].name.to_text() == "Shop.example.com."


def test_a_reply_that_is_too_long_with_our_aliases_fails() -> None:
    asked = query("TXT")
    message = dns.message.make_response(dns.message.from_wire(query_for(asked, TARGET).data))
    texts = [f'"{number:03}{"x" * 240}"' for number in range(255)] + ["x" * 180]
    message.answer.append(dns.rrset.from_text("www.elsewhere.net.", 30, "IN", "TXT", *texts))
    found = message.to_wire()
    assert len(found) + 40 > 65_535
    assert dns.message.from_wire(complete(asked, ALIASES * 2, found)).rcode() == 2


def test_any_cut_or_changed_reply_is_answered() -> None:
    asked = query("MX")
    good = resolved(
        query_for(asked, TARGET),
        ("www.elsewhere.net.", "MX", "10 mail.elsewhere.net."),
        ("elsewhere.net.", "NS", "ns.elsewhere.net."),
    )
    for end in range(12, len(good)):
        assert dns.message.from_wire(complete(asked, ALIASES, good[:end])).id == 77
    for at in range(12, len(good)):
        for value in (0, 1, 0x40, 0xC0, 0xFF):
            changed = complete(asked, ALIASES, good[:at] + bytes((value,)) + good[at + 1 :])
            assert changed[:2] == asked.data[:2]
            assert changed[12 : asked.end] == asked.question


def test_names_that_are_chains_of_pointers_fail() -> None:
    """A reply of 64 KiB full of records that lead into one chain took seconds."""
    asked = query("TXT")
    further = query_for(asked, TARGET).data
    start = len(further) + 11
    chain = b"\0\0" + b"".join((0xC000 | at).to_bytes(2, "big") for at in (start, *range(start + 2, start + 400, 2)))
    fixed = b"\0\x10\0\1\0\0\0\0"
    records = b"\0" + fixed + len(chain).to_bytes(2, "big") + chain
    records += (0xC000 | start + 400).to_bytes(2, "big") + fixed + b"\0\1\0"
    reply = further[:2] + b"\x81\x80\0\1\0\2\0\0\0\0" + further[12:] + records
    assert dns.message.from_wire(complete(asked, ALIASES, reply)).rcode() == dns.rcode.SERVFAIL
