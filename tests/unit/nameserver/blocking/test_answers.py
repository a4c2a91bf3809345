"""Answers for blocked names, read by dnspython, and the names that an answer leads to."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.blocking.answers import BlockedAnswer, make_reply, targets
from npserver.nameserver.blocking.list_format import Action

ZERO = {codes.A: (bytes(4),), codes.AAAA: (bytes(16),)}
PAGE = {codes.A: (b"\xc0\0\2\1", b"\xc0\0\2\2")}
SOA = "Ads.Example. 10 IN SOA blocked.invalid. nobody.invalid. 1 3600 600 86400 10"


def query(kind: str = "A", **options: object) -> Query:
    found = parse_query(dns.message.make_query("Ads.Example", kind, id=7, **options).to_wire())
    assert isinstance(found, Query)
    return found


def reply(asked: Query, action: Action, name: str, addresses: dict[int, tuple[bytes, ...]]) -> dns.message.Message:
    made = make_reply(asked, action, BlockedAnswer(name, 10, addresses), "hosts.txt (dns_block.lists[0])")
    message = dns.message.from_wire(made)
    assert dns.message.from_wire(asked.data).is_response(message)
    assert message.flags & 0xFFF0 & ~dns.flags.RD == dns.flags.QR | dns.flags.RA
    return message


@pytest.mark.parametrize(
    ("kind", "action", "name", "rcode", "answer", "authority"),
    [
        ("A", Action.BLOCK, "nxdomain", "NXDOMAIN", [], [SOA]),
        ("AAAA", Action.BLOCK, "nodata", "NOERROR", [], [SOA]),
        ("A", Action.BLOCK, "refused", "REFUSED", [], []),
        ("A", Action.BLOCK, "zero", "NOERROR", ["Ads.Example. 10 IN A 0.0.0.0"], []),
        ("AAAA", Action.BLOCK, "zero", "NOERROR", ["Ads.Example. 10 IN AAAA ::"], []),
        ("MX", Action.BLOCK, "zero", "NOERROR", [], [SOA]),
        (
            "A",
            Action.BLOCK,
            "address",
            "NOERROR",
            ["Ads.Example. 10 IN A 192.0.2.1\nAds.Example. 10 IN A 192.0.2.2"],
            [],
        ),
        ("AAAA", Action.BLOCK, "address", "NOERROR", [], [SOA]),
        ("A", Action.NXDOMAIN, "zero", "NXDOMAIN", [], [SOA]),
        ("A", Action.NODATA, "nxdomain", "NOERROR", [], [SOA]),
        ("A", Action.REFUSE, "zero", "REFUSED", [], []),
    ],
)
def test_each_answer(kind: str, action: Action, name: str, rcode: str, answer: list[str], authority: list[str]) -> None:
    addresses = {"zero": ZERO, "address": PAGE}.get(name, {})
    found = reply(query(kind), action, name, addresses)
    assert dns.rcode.to_text(found.rcode()) == rcode
    assert [one.to_text() for one in found.answer] == answer
    assert [one.to_text() for one in found.authority] == authority


@pytest.mark.parametrize("do", [False, True])
def test_with_edns_the_reply_says_that_the_name_is_blocked(do: bool) -> None:
    found = reply(query(use_edns=0, want_dnssec=do), Action.BLOCK, "nxdomain", {})
    (option,) = found.options
    assert isinstance(option, dns.edns.EDEOption)
    assert (option.code, option.text) == (dns.edns.EDECode.BLOCKED, "hosts.txt (dns_block.lists[0])")
    assert bool(found.ednsflags & dns.flags.DO) == do
    assert reply(query(), Action.BLOCK, "nxdomain", {}).edns == -1


def answer_with(*records: str, kind: str = "A") -> bytes:
    made = dns.message.make_response(dns.message.make_query("start.example", kind))
    for one in records:
        owner, rtype, data = one.split(" ", 2)
        made.answer.append(dns.rrset.from_text(owner, 60, "IN", rtype, data))
    return made.to_wire()


def test_the_names_that_an_answer_leads_to() -> None:
    chain = answer_with("start.example. CNAME A.Cdn.Example.", "a.cdn.example. CNAME b.other.", "b.other. A 192.0.2.1")
    assert [to_text(one) for one in targets(chain)] == ["a.cdn.example.", "b.other."]
    service = answer_with("start.example. HTTPS 0 svc.other.", kind="HTTPS")
    assert [to_text(one) for one in targets(service)] == ["svc.other."]
    assert list(targets(answer_with("start.example. A 192.0.2.1"))) == []
    assert list(targets(answer_with("example. DNAME other."))) == [b"\5other\0"]


def test_an_answer_whose_names_cannot_be_read_is_malformed() -> None:
    whole = answer_with("start.example. CNAME a.example.")
    loop = whole[:-2] + b"\xc0" + bytes([len(whole) - 2])
    for one in (loop, whole[:-1], whole[:-4]):
        with pytest.raises(ValueError, match=r"pointer|malformed|cut off"):
            list(targets(one))
