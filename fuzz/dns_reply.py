"""Fuzzes the reading of resolvers' replies: `make fuzz ARGS="dns_reply --seconds 60"`.

Oracle: any bytes are no reply, or are cached, passed on and appended to aliases as a well-formed message with the id
and question of the query, told to other processes as they are, and kept within the bounds of their time.
"""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rrset

from npserver.dns.message import codes
from npserver.dns.message.name import parse_host
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.lookup import Records
from npserver.nameserver.resolver.answer import Lifetimes, read_answer, unpack
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
    given = [answer.reply(FURTHER, now, is_stale=is_stale) for now in (100.0, 131.0) for is_stale in (False, True)]
    for query, message in [*[(FURTHER, one) for one in given], (QUERY, complete(QUERY, ALIASES, given[0]))]:
        assert message[:2] == query.data[:2]
        assert message[12 : query.end] == query.question
        assert ttl_offsets(message) is not None, "what clients get is malformed"


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
