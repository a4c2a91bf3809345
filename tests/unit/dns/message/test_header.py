"""Error replies, which are a header alone (RFC 1035 §4.1.1)."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from npserver.dns.message import codes
from npserver.dns.message.header import HEADER_BYTES, error_reply


@pytest.mark.parametrize("rcode", [codes.FORMERR, codes.REFUSED, codes.NOTIMP])
def test_an_error_reply_copies_id_opcode_and_rd(rcode: int) -> None:
    query = dns.message.make_query("a.example", "A", id=0x1234)
    query.set_opcode(dns.opcode.NOTIFY)
    query.flags |= dns.flags.AD | dns.flags.CD
    reply = error_reply(query.to_wire(), rcode)
    assert len(reply) == HEADER_BYTES
    read = dns.message.from_wire(reply)
    assert (read.id, read.opcode(), read.rcode(), read.question) == (0x1234, dns.opcode.NOTIFY, rcode, [])
    assert read.flags & ~0x7800 & ~0xF == dns.flags.QR | dns.flags.RD


def test_an_error_reply_has_no_rd_unless_the_query_has() -> None:
    query = dns.message.make_query("a.example", "A", flags=0)
    assert not dns.message.from_wire(error_reply(query.to_wire(), codes.REFUSED)).flags & dns.flags.RD
