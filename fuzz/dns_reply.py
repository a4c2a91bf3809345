"""Fuzzes the reading of resolvers' replies: `make fuzz ARGS="dns_reply --seconds 60"`.

Oracle: any bytes are no reply, or are cached, passed on and appended to aliases as a well-formed message with the id
and question of the query, told to other processes as they are, and kept within the bounds of their time. Where they
must not lead into private networks, dnspython finds no address of one in what clients get.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import dns.exception
import dns.flags
import dns.message
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.svcbbase
import dns.rrset

from npserver.dns.message import codes
from npserver.dns.message.name import parse_host
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.lookup import Records
from npserver.nameserver.resolver.answer import Answer, Lifetimes, read_answer, unpack
from npserver.nameserver.resolver.completion import complete, query_for
from npserver.nameserver.resolver.messages import is_header_alone, make_query, match_reply, ttl_offsets

TARGET = parse_host("www.elsewhere.net")
ALIASES = [Records(None, codes.CNAME, 300, (TARGET,))]


def _query() -> Query:
    query = parse_query(dns.message.make_query("shop.example.com", "MX", use_edns=0, id=7).to_wire())
    assert isinstance(query, Query)
    return query


QUERY = _query()
FURTHER = query_for(QUERY, TARGET)
SENT = make_query(FURTHER, 0x1234)
LIFETIMES = Lifetimes()
PRIVATE = [
    ip_network(one) for one in ("10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7", "::1")
]


def check(data: bytes) -> None:
    """Take `data` for a resolver's reply and check what clients get."""
    reply = match_reply(SENT, data)
    is_header_alone(SENT, data)
    if reply is None:
        return
    assert data.startswith(reply)
    assert ttl_offsets(reply) is not None
    assert match_reply(SENT, reply) == reply
    answer = read_answer(FURTHER, reply, 100.0, LIFETIMES)
    if answer is None:
        return
    assert 100.0 <= answer.until <= 100.0 + LIFETIMES.max_s
    assert unpack(answer.pack(), FURTHER.question) == answer
    if answer.rcode > 0xF:
        return
    _check_guarded(reply, answer)
    given = [answer.reply(FURTHER, now, is_stale=is_stale) for now in (100.0, 131.0) for is_stale in (False, True)]
    for query, message in [*[(FURTHER, one) for one in given], (QUERY, complete(QUERY, ALIASES, given[0]))]:
        assert message[:2] == query.data[:2]
        assert message[12 : query.end] == query.question
        assert ttl_offsets(message) is not None, "what clients get is malformed"


def _check_guarded(reply: bytes, answer: Answer) -> None:
    """Check the same reply of a resolver that must not give private addresses."""
    guarded = read_answer(FURTHER, reply, 100.0, LIFETIMES, refuses_private=True)
    assert guarded is not None
    if guarded.is_refused:
        assert (guarded.until, guarded.records) == (answer.until, b"")
    else:
        assert guarded == answer
    try:
        message = dns.message.from_wire(guarded.reply(FURTHER, 100.0))
    except (dns.exception.DNSException, ValueError):
        return
    for one in _addresses(message):
        assert not any(ip_address(one) in network for network in PRIVATE), one


def _addresses(message: dns.message.Message) -> Iterator[str]:
    """Yield the addresses in a message, as dnspython reads them."""
    for rrset in (*message.answer, *message.authority, *message.additional):
        for record in rrset:
            if isinstance(record, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA):
                yield record.address
            elif isinstance(record, dns.rdtypes.svcbbase.SVCBBase):
                for key in (4, 6):
                    yield from getattr(record.params.get(key), "addresses", ())


def seeds() -> list[bytes]:
    """Return replies of all kinds, whose names dnspython compresses."""
    found = []
    asked = dns.message.from_wire(SENT)
    for records in (
        [],
        ["www.elsewhere.net. 60 IN MX 10 mail.elsewhere.net."],
        ["www.elsewhere.net. 60 IN CNAME cdn.elsewhere.net.", "cdn.elsewhere.net. 60 IN MX 10 mail.cdn.elsewhere.net."],
        ["www.elsewhere.net. 60 IN SOA ns.elsewhere.net. admin.elsewhere.net. 1 2 3 4 5"],
        ["www.elsewhere.net. 60 IN SRV 1 2 3 a.elsewhere.net.", "www.elsewhere.net. 60 IN RP a.b. c.elsewhere.net."],
        ["www.elsewhere.net. 60 IN A 10.0.0.1", "www.elsewhere.net. 60 IN AAAA 2606:4700::1"],
        ["www.elsewhere.net. 60 IN AAAA fd00::1"],
        ["www.elsewhere.net. 60 IN HTTPS 1 . alpn=h2 ipv4hint=198.51.100.7,192.168.1.1"],
        ["www.elsewhere.net. 60 IN HTTPS 1 . ipv4hint=198.51.100.7 ipv6hint=2606:4700::1,::1"],
        ["www.elsewhere.net. 60 IN SVCB 1 a.elsewhere.net. port=853 ipv4hint=198.51.100.7"],
        [
            "www.elsewhere.net. 60 IN RRSIG MX 13 3 60 20300101000000 20200101000000 1 elsewhere.net. c2ln",
            "www.elsewhere.net. 60 IN MX 10 mail.elsewhere.net.",
            "www.elsewhere.net. 60 IN SOA ns.elsewhere.net. admin.elsewhere.net. 1 2 3 4 5",
        ],
        ["www.elsewhere.net. 60 IN TXT 'one' 'two'", "www.elsewhere.net. 60 IN PTR www.elsewhere.net."],
    ):
        for rcode in (0, 2, 3):
            for flags in (0, dns.flags.TC):
                reply = dns.message.make_response(asked, recursion_available=True)
                reply.set_rcode(rcode)
                reply.flags |= flags
                for record in records:
                    owner, ttl, _, kind, data = record.split(" ", 4)
                    section = reply.authority if kind == "SOA" else reply.answer
                    section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
                found += [reply.to_wire(), reply.to_wire() + b"trailing"]
    return found


if __name__ == "__main__":
    from fuzz.driver import run

    run(check, seeds())
