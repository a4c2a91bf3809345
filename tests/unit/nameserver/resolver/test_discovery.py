"""Discovery of our own encrypted listeners (RFC 9462)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dns.message
import dns.rcode
import pytest

from npserver.config.load import load_text
from npserver.nameserver.udp import DnsOverUdp
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

LISTEN = [
    {"name": "u", "uri": "udp://127.0.0.1:5300"},
    {"name": "s", "uri": "ssl://127.0.0.1:853"},
    {"name": "h", "uri": "https://127.0.0.1:8443"},
]


def ask(parts: dict[str, Any], kind: str = "SVCB", name: str = "_dns.resolver.arpa") -> dns.message.Message:
    """Ask the name server of a config over UDP, as a client that may use the resolvers."""
    runtime = dry_run(load_text(json.dumps(parts), "file"), Directory())
    front = next(one for one in runtime.fronts.values() if isinstance(one, DnsOverUdp))
    processor = front.policy.choose("127.0.0.1")
    reply = processor.respond(dns.message.make_query(name, kind).to_wire(), "127.0.0.1", 0.0, 0.0)
    assert isinstance(reply, bytes)
    return dns.message.from_wire(reply)


def config(certificate: Any, *rules: dict[str, Any], **tls: Any) -> dict[str, Any]:
    return {
        "listen": LISTEN,
        "tls": {**certificate.config, **tls},
        "dns_forward": ["9.9.9.9"],
        "dispatch": [{"listener": "u", "handler": "dns"}, *[{"handler": "dns", **rule} for rule in rules]],
    }


def texts(reply: dns.message.Message) -> list[str]:
    return [str(one) for rrset in reply.answer for one in rrset]


def test_encrypted_listeners_are_told_of_by_the_names_of_their_rules(certificates: Callable[..., Any]) -> None:
    certificate = certificates("dns.example", "doh.example")
    reply = ask(
        config(
            certificate,
            {"listener": "s", "host": "dns.example"},
            {"listener": "h", "host": ["doh.example", "*.example"], "path": "/q"},
        )
    )
    assert texts(reply) == [
        '1 dns.example. alpn="dot" port="853"',
        '2 doh.example. alpn="h2" port="8443" dohpath="/q{?dns}"',
    ]
    assert reply.question[0].name.to_text() == "_dns.resolver.arpa."


def test_names_of_the_certificates_stand_in_for_those_of_rules(certificates: Callable[..., Any]) -> None:
    names = ["dns.example", "*.dns.example", "127.0.0.1"]
    reply = ask(config(certificates("dns.example"), {"listener": ["s", "h"]}, names=names))
    assert texts(reply) == [
        '1 dns.example. alpn="dot" port="853"',
        '2 dns.example. alpn="h2" port="8443" dohpath="/dns-query{?dns}"',
    ]


@pytest.mark.parametrize("rules", [[{"listener": "s"}], [{"listener": "s", "host": "*.dns.example"}]])
def test_without_a_name_there_are_no_records(certificates: Callable[..., Any], rules: list[dict[str, Any]]) -> None:
    """The name exists, so that clients ask for nothing else (RFC 9462 §6.4)."""
    for kind in ("SVCB", "A"):
        reply = ask(config(certificates("dns.example"), *rules), kind)
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
        assert reply.authority[0].rdtype == dns.rdatatype.SOA
    assert ask(config(certificates("dns.example"), *rules), "A", "x.resolver.arpa").rcode() == dns.rcode.NXDOMAIN
