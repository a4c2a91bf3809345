"""The whole program as a name server: dig, kdig over TCP, TLS and HTTPS, dnspython, a stub resolver, a reload."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.resolver
import dns.rrset
import dns.xfr
import dns.zone
import httpx
import pytest

from tests.stage.backends import Backends
from tests.stage.counting_resolver import CountingResolver
from tests.stage.program import Program
from tests.stage.programs import needs, needs_localhost

Start = Callable[..., Program]
SOA = "ns1.example.com hostmaster.example.com 7 3600 600 604800 120"


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def config(port: int, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 1,
        "listen": [{"name": "u", "uri": f"udp://127.0.0.1:{port}"}, {"name": "t", "uri": f"tcp://127.0.0.1:{port}"}],
        "dns": {"redis.local": {"A": "192.168.11.2", "AAAA": "fd00::2"}, "app.local": {"CNAME": "redis.local"}},
        "dispatch": [{"listener": ["u", "t"], "handler": "dns"}],
        **parts,
    }


@needs("dig")
def test_the_records_of_the_full_example(program: Start, free_port: Callable[[], int]) -> None:
    """Every record of `examples/full.json`, queried by dig."""
    port = free_port()
    records = {
        "redis.local": {"A": "192.168.11.2", "AAAA": "fd00::2"},
        "postgres.local": {"A": "192.168.11.3"},
        "web.local": {"A": ["10.0.0.10", "10.0.0.11"], "AAAA": "fd00::10"},
        "app.local": {"CNAME": "web.local"},
        "cache.local": {"A": "192.168.11.4", "TTL": 60},
        "example.com": {
            "A": "93.184.216.34",
            "MX": [{"priority": 10, "host": "mx1.example.com"}, {"priority": 20, "host": "mx2.example.com"}],
            "TXT": ["v=spf1 include:example.com ~all"],
            "NS": ["ns1.example.com", "ns2.example.com"],
        },
        "_http._tcp.web.local": {"SRV": {"priority": 0, "weight": 100, "port": 8080, "target": "web.local"}},
    }
    program(config=config(port, dns=records))

    def dig(*question: str) -> list[str]:
        return sorted(run("dig", "@127.0.0.1", "-p", str(port), "+short", "+tries=1", *question).splitlines())

    assert dig("redis.local", "A") == ["192.168.11.2"]
    assert dig("REDIS.local", "AAAA") == ["fd00::2"]
    assert dig("web.local", "A") == ["10.0.0.10", "10.0.0.11"]
    assert dig("app.local", "A") == ["10.0.0.10", "10.0.0.11", "web.local."]
    assert dig("app.local", "CNAME") == ["web.local."]
    assert dig("example.com", "MX") == ["10 mx1.example.com.", "20 mx2.example.com."]
    assert dig("example.com", "TXT") == ['"v=spf1 include:example.com ~all"']
    assert dig("example.com", "NS") == ["ns1.example.com.", "ns2.example.com."]
    assert dig("_http._tcp.web.local", "SRV") == ["0 100 8080 web.local."]
    assert dig("+notcp", "web.local", "ANY") == dig("+tcp", "web.local", "ANY")
    assert len(dig("+notcp", "example.com", "ANY")) == 7
    everything = run("dig", "@127.0.0.1", "-p", str(port), "cache.local")
    assert "cache.local.\t\t60\tIN\tA\t192.168.11.4" in everything
    assert "flags: qr aa rd;" in everything
    assert "(good)" in everything  # the cookie
    assert "status: NXDOMAIN" in run("dig", "@127.0.0.1", "-p", str(port), "none.local")
    assert "status: REFUSED" in run("dig", "@127.0.0.1", "-p", str(port), "example.org")


@pytest.mark.parametrize("workers", [0, 2])
@needs("kdig")
def test_every_transport_answers_alike(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], workers: int
) -> None:
    plain, tls, https, quic = free_port(), free_port(), free_port(), free_port()
    certificate = certificates()
    parts = config(plain, tls=certificate.config, workers=workers)
    parts["listen"] += [
        {"name": "s", "uri": f"ssl://127.0.0.1:{tls}"},
        {"name": "q", "uri": f"quic://127.0.0.1:{quic}"},
        {"name": "h", "uri": f"https://127.0.0.1:{https}"},
    ]
    parts["dispatch"] += [{"listener": ["s", "q"], "handler": "dns"}, {"listener": "h", "handler": "dns"}]
    program(config=parts)
    ca = f"+tls-ca={certificate.ca}"
    for transport, port in (
        (["+notcp"], plain),
        (["+tcp"], plain),
        (["+tls", ca, "+tls-hostname=localhost"], tls),
        ([ca, "+tls-hostname=localhost", "+quic"], quic),  # the last option names the transport
        (["+https", ca, "+tls-hostname=localhost"], https),  # RFC 8484 over HTTP/2, by POST
        (["+https=/dns-query", "+https-get", ca, "+tls-hostname=localhost"], https),
    ):
        asked = run("kdig", "@127.0.0.1", "-p", str(port), *transport, "+short", "app.local", "AAAA")
        assert asked.splitlines() == ["redis.local.", "fd00::2"], transport
    query = dns.message.make_query("app.local", "A")
    wire, media_type = query.to_wire(), "application/dns-message"
    with httpx.Client(base_url=f"https://127.0.0.1:{https}", verify=certificate.client()) as client:
        asked = base64.urlsafe_b64encode(wire).rstrip(b"=").decode()
        for response in (
            client.get("/dns-query", params={"dns": asked}),
            client.post("/dns-query", content=wire, headers={"Content-Type": media_type}),
        ):
            assert response.headers["Content-Type"] == media_type
            reply = dns.message.from_wire(response.content)
            assert [str(rrset[0]) for rrset in reply.answer] == ["redis.local.", "192.168.11.2"]
    reply = dns.query.tls(query, "127.0.0.1", port=tls, ssl_context=certificate.client(), server_hostname="localhost")
    assert [str(rrset[0]) for rrset in reply.answer] == ["redis.local.", "192.168.11.2"]


@needs("curl")
def test_curl_resolves_over_https(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], backends: Backends
) -> None:
    https, app = free_port(), backends.http("found")
    parts = {
        "workers": 1,
        "tls": certificates().config,
        "listen": [f"https://127.0.0.1:{https}"],
        "dns": {"shop.test": {"A": "127.0.0.1"}},
        "dispatch": [{"listener": f"https://127.0.0.1:{https}", "handler": "dns"}],
    }
    program(config=parts)
    doh = ["--doh-url", f"https://127.0.0.1:{https}/dns-query", "--doh-insecure"]
    assert "found" in run("curl", "-sS", "--max-time", "10", *doh, f"http://shop.test:{app}/")


@needs("curl", "dig")
def test_names_beyond_ascii_are_those_that_clients_ask_for(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    """curl and dig encode the names themselves (IDNA 2008)."""
    port, https = free_port(), free_port()
    certificate = certificates("xn--strae-oqa.home")
    parts = config(port, tls=certificate.config, dns={"straße.home": {"A": "192.168.1.10"}})
    parts["listen"].append({"name": "h", "uri": f"https://127.0.0.1:{https}"})
    parts["dispatch"].append({"listener": "h", "host": "straße.home", "handler": "respond", "body": "found"})
    program(config=parts)
    utf8 = {**os.environ, "LC_ALL": "C.UTF-8"}

    def run_in_utf8(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=utf8).stdout.strip()

    assert run_in_utf8("dig", "@127.0.0.1", "-p", str(port), "+idnin", "+short", "straße.home") == "192.168.1.10"
    url = ["--connect-to", f"::127.0.0.1:{https}", "--cacert", certificate.ca, "https://straße.home/"]
    assert run_in_utf8("curl", "-sS", "--max-time", "10", *url) == "found"


def test_a_stub_resolver_finds_names(program: Start, free_port: Callable[[], int]) -> None:
    """A stub resolver with a search list finds addresses of both families, reverse names."""
    port = free_port()
    program(config=config(port, dns_auto_ptr=True))
    stub = dns.resolver.Resolver(configure=False)
    stub.nameservers, stub.port = ["127.0.0.1"], port
    stub.search = [dns.name.from_text("local")]
    assert {str(one) for one in stub.resolve("redis", "A", search=True)} == {"192.168.11.2"}
    assert set(stub.resolve_name("app.local").addresses()) == {"192.168.11.2", "fd00::2"}
    assert str(stub.resolve_address("192.168.11.2")[0]) == "redis.local."
    assert str(stub.resolve_address("fd00::2")[0]) == "redis.local."
    with pytest.raises(dns.resolver.NXDOMAIN):
        stub.resolve("none.local", "A")


def test_views_transfers_and_resolvers_together(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    elsewhere, port = free_port(), free_port()
    zone_records = {"example.com": {"SOA": SOA, "NS": "a.example.com"}}
    (tmp_path / "elsewhere").mkdir()
    program(
        config=config(elsewhere, dns={"www.elsewhere.net": {"A": "198.51.100.7"}}),
        cwd=tmp_path / "elsewhere",
    )
    parts = config(
        port,
        networks={"home": ["127.0.0.0/8"], "office": ["127.0.0.2"]},
        dns={"www.example.com": {"A": "192.0.2.1"}},
        dns_views=[
            {"from": "office", "dns": {"www.example.com": {"A": "10.0.0.1"}}},
            {"from": "home", "dns": {**zone_records, "www.example.com": {"A": "127.0.0.9"}}},
        ],
        dns_forward={"resolvers": [f"127.0.0.1:{elsewhere}"], "allow": "127.0.0.1"},
    )
    parts["dispatch"][0]["allow_transfer"] = "127.0.0.1"
    program(config=parts)

    def ask(name: str, source: str, *, by_tcp: bool = False) -> str:
        asking = dns.query.tcp if by_tcp else dns.query.udp
        reply = asking(dns.message.make_query(name, "A"), "127.0.0.1", port=port, source=source, timeout=20)
        return str(reply.answer[-1][0]) if reply.answer else dns.rcode.to_text(reply.rcode())

    for by_tcp in (False, True):
        assert ask("www.example.com", "127.0.0.1", by_tcp=by_tcp) == "127.0.0.9"
        assert ask("www.example.com", "127.0.0.2", by_tcp=by_tcp) == "10.0.0.1"
        assert ask("www.elsewhere.net", "127.0.0.1", by_tcp=by_tcp) == "198.51.100.7"
        assert ask("none.elsewhere.net", "127.0.0.1", by_tcp=by_tcp) == "NXDOMAIN"
        assert ask("www.elsewhere.net", "127.0.0.2", by_tcp=by_tcp) == "REFUSED"
    zone = dns.zone.Zone("example.com")
    dns.query.inbound_xfr("127.0.0.1", zone, port=port, source="127.0.0.1", timeout=20)
    assert {str(name) for name in zone} == {"@", "www"}
    with pytest.raises(dns.xfr.TransferError, match="REFUSED"):
        dns.query.inbound_xfr("127.0.0.1", dns.zone.Zone("example.com"), port=port, source="127.0.0.2", timeout=20)


@pytest.mark.parametrize("is_tls", [False, True], ids=["tcp", "tls"])
def test_a_large_transfer_to_a_slow_reader_is_whole(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], is_tls: bool
) -> None:
    """The whole takes longer than a connection may be idle. The client ends its side at once."""
    port, tls = free_port(), free_port()
    certificate = certificates()
    parts = config(port, tls=certificate.config, dns={f"n{n}.home": {"TXT": "x" * 200} for n in range(26_000)})
    parts["listen"].append({"name": "s", "uri": f"ssl://127.0.0.1:{tls}"})
    parts["dispatch"] = [{"listener": ["t", "s"], "handler": "dns", "allow_transfer": "127.0.0.1", "timeout": "300ms"}]
    parts["listen"] = parts["listen"][1:]
    program(config=parts)
    query = dns.message.make_query("home", "AXFR").to_wire()
    data = bytearray()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", tls if is_tls else port))
        client = certificate.client().wrap_socket(plain, server_hostname="localhost") if is_tls else plain
        with client:
            client.sendall(len(query).to_bytes(2, "big") + query)
            if not is_tls:
                client.shutdown(socket.SHUT_WR)
            for _ in range(2):
                data += client.recv(32_768)
                with socket.create_connection(("127.0.0.1", port), 20) as idle:
                    assert idle.recv(1) == b""  # as long as a connection may be idle
            while piece := client.recv(32_768):
                data += piece
    records = 0
    while data:
        size = int.from_bytes(data[:2], "big")
        records += int.from_bytes(data[8:10], "big")
        del data[: 2 + size]
    assert records == 26_002


def test_an_alias_to_a_name_of_others_is_followed_for_those_who_may_recurse(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    elsewhere, port = free_port(), free_port()
    (tmp_path / "elsewhere").mkdir()
    program(
        config=config(
            elsewhere,
            dns={"www.elsewhere.net": {"CNAME": "cdn.elsewhere.net"}, "cdn.elsewhere.net": {"A": "198.51.100.7"}},
        ),
        cwd=tmp_path / "elsewhere",
    )
    records = {
        "shop.home": {"CNAME": "www.elsewhere.net"},
        "*.wild.home": {"CNAME": "shop.home"},
        "gone.home": {"CNAME": "none.elsewhere.net"},
        "me.home": {"CNAME": "localhost"},
        "lost.home": {"CNAME": "printer.local"},
    }
    forward = {"resolvers": [f"127.0.0.1:{elsewhere}"], "allow": "127.0.0.1"}
    program(config=config(port, dns=records, dns_forward=forward))

    def ask(name: str, source: str = "127.0.0.1", *, by_tcp: bool = False) -> tuple[str, list[str]]:
        asking = dns.query.tcp if by_tcp else dns.query.udp
        reply = asking(dns.message.make_query(name, "A"), "127.0.0.1", port=port, source=source, timeout=20)
        return dns.rcode.to_text(reply.rcode()), [str(one) for rrset in reply.answer for one in rrset]

    chain = ["www.elsewhere.net.", "cdn.elsewhere.net.", "198.51.100.7"]
    for by_tcp in (False, True):
        for _ in range(2):  # the second time from the cache
            assert ask("shop.home", by_tcp=by_tcp) == ("NOERROR", chain)
        assert ask("any.wild.home", by_tcp=by_tcp) == ("NOERROR", ["shop.home.", *chain])
        assert ask("gone.home", by_tcp=by_tcp) == ("NXDOMAIN", ["none.elsewhere.net."])
        assert ask("me.home", by_tcp=by_tcp) == ("NOERROR", ["localhost.", "127.0.0.1"])
        assert ask("lost.home", by_tcp=by_tcp) == ("NXDOMAIN", ["printer.local."])
        assert ask("shop.home", "127.0.0.2", by_tcp=by_tcp) == ("NOERROR", ["www.elsewhere.net."])


def test_lost_datagrams_are_no_lost_names_and_local_names_stay(program: Start, free_port: Callable[[], int]) -> None:
    resolver, port = CountingResolver(is_forgetful=True), free_port()
    try:
        program(config=config(port, dns_forward=[resolver.address]))

        def ask(name: str) -> dns.message.Message:
            return dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=30)

        for number in range(3):
            assert str(ask(f"n{number}.elsewhere.net").answer[0][0]) == "198.51.100.7"
        asked = len(resolver.asked)
        assert asked >= 6
        assert str(ask("db.localhost").answer[0][0]) == "127.0.0.1"
        for name in ("1.0.0.10.in-addr.arpa", "x.test", "printer.home.arpa"):
            assert ask(name).rcode() == dns.rcode.NXDOMAIN
        assert len(resolver.asked) == asked
    finally:
        resolver.close()


@needs_localhost
def test_addresses_of_healthy_targets_only(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    port, good, bad = free_port(), backends.http("one"), free_port()
    parts = config(
        port,
        dns={"app.local": {"A": "upstream://app"}},
        upstreams={
            "app": {
                "targets": [f"http://localhost:{good}", f"http://127.0.0.2:{bad}"],
                "health_check": {"interval": 0.2, "fall": 1, "rise": 1, "timeout": 1},
            }
        },
    )
    running = program(config=parts)
    query = dns.message.make_query("app.local", "A")

    def addresses() -> set[str]:
        reply = dns.query.udp(query, "127.0.0.1", port=port, timeout=20)
        assert reply.answer[0].ttl == 5
        return {str(one) for one in reply.answer[0]}

    running.wait_until(lambda: addresses() == {"127.0.0.1"}, "answer without the target that is down")


def test_a_reload_changes_the_answers(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    running = program(config=config(port))
    query = dns.message.make_query("redis.local", "A")

    def answer() -> str:
        return str(dns.query.udp(query, "127.0.0.1", port=port, timeout=20).answer[0][0])

    assert answer() == "192.168.11.2"
    running.configure(config(port, dns={"redis.local": {"A": "192.168.11.99"}}))
    running.send_signal(signal.SIGHUP)
    running.wait_until(lambda: answer() == "192.168.11.99", "answer of the new config")
    running.configure(config(port, dns={"redis.local": {"A": "192.168.11.x"}}))
    running.send_signal(signal.SIGHUP)
    running.wait_for("expected an IPv4 address, got '192.168.11.x'")
    assert answer() == "192.168.11.99"


def test_queries_are_logged_when_asked_for(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    running = program(config=config(port, logging={"dns_queries": True, "access_log": "stdout"}))
    dns.query.udp(dns.message.make_query("redis.local", "AAAA"), "127.0.0.1", port=port, timeout=20)
    line = running.wait_for("redis.local.*").group()
    assert "AAAA" in line
    assert "NOERROR" in line
