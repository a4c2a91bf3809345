"""NOTIFY (RFC 1996) as dnspython reads it."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.opcode

from npserver.dns.message import codes
from npserver.dns.message.notify import make_notify, notify_rcode
from npserver.dns.message.record import parse_data

APEX = b"\7example\3com\0"


def test_dnspython_reads_it_with_and_without_the_soa() -> None:
    soa = parse_data(codes.SOA, "ns.example.com host.example.com 7 3600 600 604800 300")
    for data in (None, soa):
        found = dns.message.from_wire(make_notify(77, APEX, data))
        assert (found.id, found.opcode(), found.flags & dns.flags.AA) == (77, dns.opcode.NOTIFY, dns.flags.AA)
        assert str(found.question[0]) == "example.com. IN SOA"
        assert [one[0].serial for one in found.answer] == ([] if data is None else [7])


def test_only_a_reply_to_it_is_one() -> None:
    sent = make_notify(77, APEX)
    reply = dns.message.make_response(dns.message.from_wire(sent))
    assert notify_rcode(sent, reply.to_wire()) == 0
    reply.set_rcode(5)
    assert notify_rcode(sent, reply.to_wire()) == 5
    assert notify_rcode(sent, sent) is None
    assert notify_rcode(sent, b"\0" + reply.to_wire()[1:]) in (None, 5)
    assert notify_rcode(sent, b"\1\2" + reply.to_wire()[2:]) is None
    assert notify_rcode(sent, reply.to_wire()[:11]) is None
    reply.set_opcode(dns.opcode.QUERY)
    assert notify_rcode(sent, reply.to_wire()) is None
