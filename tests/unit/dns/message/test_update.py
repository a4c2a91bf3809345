"""Dynamic updates (RFC 2136), read by dnspython."""

from __future__ import annotations

import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.update
import pytest

from npserver.dns.message import codes
from npserver.dns.message.query import make_question
from npserver.dns.message.update import RCODE_NAMES, Change, make_update, rcode_name, reply_rcode

ZONE = b"\7example\0"
OWNER = b"\x0f_acme-challenge\7example\0"


def test_it_adds_and_removes_single_records() -> None:
    wire = make_update(7, ZONE, [Change(OWNER, codes.TXT, b"\3one", 60), Change(OWNER, codes.TXT, b"\3two", None)])
    expected = dns.update.UpdateMessage("example.", id=7)
    owner = dns.name.from_text("_acme-challenge.example.")
    expected.add(owner, 60, "TXT", "one")
    expected.delete(owner, "TXT", "two")
    read = dns.message.from_wire(wire)
    assert isinstance(read, dns.update.UpdateMessage)
    assert (read.id, read.zone, read.update) == (7, expected.zone, expected.update)
    assert wire[4:12] == b"\0\1\0\0\0\2\0\0"


def test_a_reply_has_the_id_and_the_opcode_of_the_request() -> None:
    sent = make_update(7, ZONE, [])
    reply = dns.message.make_response(dns.message.from_wire(sent))
    reply.set_rcode(dns.rcode.NOTZONE)
    wire = reply.to_wire()
    assert reply_rcode(sent, wire) == 10
    for wrong in (sent, b"\0\0" + wire[2:], wire[:11], b"", wire[:2] + b"\x80" + wire[3:]):
        with pytest.raises(ValueError, match="no reply"):
            reply_rcode(sent, wrong)


def test_the_reply_to_a_query_too() -> None:
    sent = make_question(7, OWNER, codes.TXT)
    read = dns.message.from_wire(sent)
    assert str(read.question[0]) == "_acme-challenge.example. IN TXT"
    assert not read.flags
    assert reply_rcode(sent, dns.message.make_response(read).to_wire()) == 0


@pytest.mark.parametrize(("number", "name"), sorted(RCODE_NAMES.items()))
def test_rcodes_have_their_iana_numbers(number: int, name: str) -> None:
    assert dns.rcode.from_text(name) == number
    assert rcode_name(number) == name


def test_others_have_no_name() -> None:
    assert rcode_name(11) == "RCODE11"
