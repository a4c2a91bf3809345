"""ALIAS records in the whole program: two workers, a resolver that changes its mind, is late and fails; a signed zone.

Covers `nameserver.aliases.compile`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from npserver.cli.check import main as check
from tests.stage.counting_resolver import CountingResolver
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.waiting import wait_until

Start = Callable[..., Program]


def config(port: int, store: Path, resolver: CountingResolver, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "store": str(store),
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "dispatch": [{"handler": "dns"}],
        "dns_zones": ["example.com"],
        "dns": {"example.com": {"NS": "ns1.example.com", "ALIAS": "shops.example.net"},
                "ns1.example.com": {"A": "192.0.2.1"}},
        "dns_forward": {"resolvers": [resolver.address], "cache_size": 0, "timeout": "2s"},
        **parts,
    }  # fmt: skip


def ask(port: int, kind: str = "A", *, do: bool = False) -> dns.message.Message:
    query = dns.message.make_query("example.com", kind, want_dnssec=do)
    return dns.query.tcp(query, "127.0.0.1", port=port, timeout=20)


def addresses(port: int) -> set[str]:
    """Return what several connections, to any worker, are answered."""
    found = set()
    for _ in range(8):
        reply = ask(port)
        found |= {str(one) for one in reply.answer[0]} if reply.answer else {reply.rcode().name}
    return found


def test_all_workers_have_the_addresses_of_the_target(
    program: Start, tmp_path: Path, resolver: CountingResolver
) -> None:
    port = free_port()
    resolver.ttl = 5
    resolver.may_answer.clear()  # it is late: nobody waits for it
    running = program(config=config(port, tmp_path / "store", resolver, dns_alias_stale="2s"))
    assert addresses(port) == {"SERVFAIL"}
    assert ask(port, "NS").rcode() == dns.rcode.NOERROR
    resolver.may_answer.set()
    wait_until(lambda: addresses(port) == {"198.51.100.7"}, "addresses in all workers", 30, running.errors)
    assert ask(port).answer[0].ttl == 5
    resolver.answer = "198.51.100.8"
    wait_until(lambda: addresses(port) == {"198.51.100.8"}, "new address in all workers", 30, running.errors)
    resolver.is_failing = True
    running.wait_for(r"shops\.example\.net\. does not resolve: .*dns_alias_stale.*ALIAS of example\.com\.")
    assert addresses(port) == {"198.51.100.8"}
    wait_until(lambda: addresses(port) == {"SERVFAIL"}, "the end of the last addresses", 30, running.errors)
    resolver.is_failing = False
    wait_until(lambda: addresses(port) == {"198.51.100.8"}, "address", 30, running.errors)


def test_a_reload_keeps_the_addresses_or_asks_no_more(
    program: Start, tmp_path: Path, resolver: CountingResolver
) -> None:
    port = free_port()
    wanted = config(port, tmp_path / "store", resolver)
    running = program(config=wanted)
    wait_until(lambda: addresses(port) == {"198.51.100.7"}, "addresses in all workers", 30, running.errors)
    resolver.may_answer.clear()
    running.configure({**wanted, "dns_ttl": 50})
    running.send_signal(signal.SIGHUP)
    wait_until(lambda: ask(port, "NS").answer[0].ttl == 50, "the new config", 30, running.errors)
    assert addresses(port) == {"198.51.100.7"}, "those that were known"
    running.configure({**wanted, "dns": {"example.com": {"NS": "ns.example.net", "A": "192.0.2.9"}}})
    running.send_signal(signal.SIGHUP)
    wait_until(lambda: addresses(port) == {"192.0.2.9"}, "the next config", 30, running.errors)
    resolver.may_answer.set()


def test_without_dns_forward_the_system_is_asked(program: Start, tmp_path: Path, resolver: CountingResolver) -> None:
    port = free_port()
    parts = config(port, tmp_path / "store", resolver, dns={"example.com": {"ALIAS": "localhost"}})
    del parts["dns_forward"]
    running = program(config=parts)
    wait_until(lambda: addresses(port) == {"127.0.0.1"}, "the address of localhost", 30, running.errors)
    assert ask(port).answer[0].ttl == 30
    assert not resolver.asked


def test_a_time_limit_without_such_records_has_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "npserver.json"
    file.write_text(
        '{ "listen": ["udp://127.0.0.1:5353", "tcp://127.0.0.1:5353"], "dispatch": [{ "handler": "dns" }],\n'
        '  "dns_alias_stale": "5m", "dns": { "a.home": { "A": "10.0.0.1" } } }'
    )
    assert check(["-config", str(file)]) == 0
    assert ":2:22: warning: no effect: no name in 'dns' has an ALIAS record" in capsys.readouterr().err


def test_signed_zones_sign_what_they_get(program: Start, tmp_path: Path, resolver: CountingResolver) -> None:
    port = free_port()
    zones = [{"name": "example.com", "dnssec": True}]
    running = program(config=config(port, tmp_path / "store", resolver, dns_zones=zones))
    wait_until(lambda: addresses(port) == {"198.51.100.7"}, "addresses in all workers", 30, running.errors)
    reply = ask(port, do=True)
    keys = next(one for one in ask(port, "DNSKEY", do=True).answer if one.rdtype == dns.rdatatype.DNSKEY)
    (signature,) = [one for one in reply.answer if one.rdtype == dns.rdatatype.RRSIG]
    dns.dnssec.validate(reply.answer[0], signature, {keys.name: keys})
