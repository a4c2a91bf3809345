"""Protection from DNS rebinding: which addresses are private, and in which answers they are refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import dns.edns
import dns.message
import dns.rrset
import pytest

from npserver.dns.message.sections import read_records
from npserver.nameserver.resolver.rebinding import is_private, leads_inside
from tests.stage.resolvers import Answer, Resolver, Stage, ask, query


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1",
     "172.31.255.255", "192.168.1.1", "255.255.255.255", "::", "::1", "fc00::1", "fd12::1", "fe80::1", "febf::1",
     "fec0::1", "::ffff:192.168.1.1", "::10.0.0.1", "64:ff9b::c0a8:101", "2002:c0a8:101::1"],
)  # fmt: skip
def test_private_addresses(text: str) -> None:
    assert is_private(ip_address(text).packed)


@pytest.mark.parametrize(
    "text",
    ["1.0.0.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
     "169.253.1.1", "169.255.1.1", "172.15.255.255", "172.32.0.0", "192.167.1.1", "192.169.0.1", "198.51.100.7",
     "2606:4700::1111", "fb00::1", "fe00::1", "fe7f::1", "ff02::1", "::ffff:9.9.9.9", "64:ff9b::808:808",
     "64:ff9b:1::c0a8:101", "2002:808:808::1"],
)  # fmt: skip
def test_other_addresses(text: str) -> None:
    assert not is_private(ip_address(text).packed)


@pytest.mark.parametrize(
    ("record", "is_inside"),
    [
        ("A 192.168.1.1", True),
        ("A 198.51.100.7", False),
        ("AAAA ::1", True),
        ("AAAA 2606:4700::1111", False),
        ("HTTPS 1 . alpn=h2 ipv4hint=198.51.100.7,10.0.0.1", True),
        ("HTTPS 1 . alpn=h2 ipv4hint=198.51.100.7 ipv6hint=2606:4700::1111", False),
        ("SVCB 1 a.example. ipv6hint=2606:4700::1111,fd00::1", True),
        ("HTTPS 0 b.example.", False),
        ("TXT 192.168.1.1", False),
        ("TYPE64 \\# 2 0001", False),  # cut off
        ("TYPE65 \\# 9 0001000004ffff0a00", False),
        ("TYPE65 \\# 11 0001000004ffff0a000001", True),  # its length is too great: a client may read it all the same
        ("TYPE1 \\# 3 0a0000", False),  # is not an address
    ],
)
def test_which_records_lead_inside(record: str, is_inside: bool) -> None:
    kind, data = record.split(" ", 1)
    message = dns.message.make_response(dns.message.make_query("www.example.net", "A"))
    if data.startswith("\\#"):
        raw = bytes.fromhex(data.split(" ")[-1])
        head = message.to_wire()
        wire = head[:6] + b"\0\1" + head[8:] + b"\xc0\x0c" + int(kind[4:]).to_bytes(2, "big") + b"\0\1\0\0\0\x3c"
        wire += len(raw).to_bytes(2, "big") + raw
    else:
        message.answer.append(dns.rrset.from_text("www.example.net.", 60, "IN", kind, data))
        wire = message.to_wire()
    assert leads_inside(read_records(wire)) is is_inside


def saying(*addresses: str, section: str = "answer") -> Answer:
    """Return what answers all questions with these addresses."""

    def answer(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(asked, recursion_available=True)
        name = asked.question[0].name if section == "answer" else "mail.example.net."
        getattr(reply, section).append(dns.rrset.from_text(name, 60, "IN", "A", *addresses))
        return [reply.to_wire()]

    return answer


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (saying("192.168.1.1"), 1),
        (saying("198.51.100.7", "127.0.0.1"), 1),
        (saying("10.0.0.1", section="additional"), 2),  # it is negative, and has no SOA to be cached by
    ],
    ids=["private", "among others", "additional"],
)
async def test_an_answer_with_a_private_address_is_empty_and_says_why(stage: Stage, answer: Answer, asked: int) -> None:
    client = await stage.client(answer, timeout_s=3, is_guarded=True)
    for _ in range(2):
        reply = await ask(client, query(use_edns=0))
        assert (reply.rcode(), reply.answer, reply.additional) == (0, [], [])
        (reason,) = reply.options
        assert isinstance(reason, dns.edns.EDEOption)
        assert (reason.code, reason.text) == (15, "private address (dns_forward.rebind_protection)")
    assert len(stage.resolvers[0].asked) == asked
    row = stage.context.row
    assert row.board.total(row.slot(f"dns.resolver.{stage.live[0].address}.private_addresses")) == asked


async def test_others_pass(stage: Stage) -> None:
    client = await stage.client(saying("198.51.100.7"), timeout_s=3, is_guarded=True)
    assert str((await ask(client, query())).answer[0][0]) == "198.51.100.7"


async def test_domains_that_are_allowed_have_private_addresses(stage: Stage) -> None:
    allowed = frozenset({b"\4home\7example\3net\0"})
    client = await stage.client(saying("192.168.1.1"), timeout_s=3, is_guarded=True, unguarded=allowed)
    for name, is_refused in (
        ("home.example.net", False),
        ("NAS.home.example.net", False),
        ("xhome.example.net", True),
        ("example.net", True),
    ):
        assert (not (await ask(client, query(name))).answer) is is_refused


async def test_resolvers_that_are_not_guarded_may_say_all(stage: Stage) -> None:
    client = await stage.client(saying("192.168.1.1"), timeout_s=3)
    assert str((await ask(client, query())).answer[0][0]) == "192.168.1.1"


async def test_the_log_names_the_resolver_and_the_key(stage: Stage, caplog: Any) -> None:
    client = await stage.client(saying("192.168.1.1"), timeout_s=3, is_guarded=True)
    with caplog.at_level("INFO", "npserver.dns"):
        await ask(client, query())
        await ask(client, query("other.example.net"))
    (line,) = (one.message for one in caplog.records)  # at most one in 10 s
    address = stage.live[0].address
    expected = f"www.example.net. has a private address, says resolver {address}: refused"
    assert line == f"{expected} (dns_forward.rebind_protection; rebind_allow names domains that may)"
