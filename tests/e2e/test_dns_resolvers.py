"""The whole program as the resolver of a home: unbound and dnsmasq behind it, dig and kdig before it."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import httpx
import pytest

from tests.stage.counting_resolver import CountingResolver
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.unbound import Dnsmasq, Unbound

Start = Callable[..., Program]
LONG = " ".join(f'"{number:03}{"x" * 240}"' for number in range(30))  # 7 KB
DATA = [
    'local-zone: "example.net." static',
    'local-data: "example.net. 60 IN SOA ns.example.net. admin.example.net. 1 2 3 4 50"',
    'local-data: "www.example.net. 60 IN A 198.51.100.7"',
    f"local-data: 'long.example.net. 60 IN TXT {LONG}'",
]


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def config(port: int, forward: Any, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "dns_forward": forward,
        "dispatch": [{"handler": "dns"}],
        **parts,
    }


def ask(port: int, name: str, kind: str = "A", *, by_tcp: bool = False, **options: Any) -> dns.message.Message:
    asking = dns.query.tcp if by_tcp else dns.query.udp
    return asking(dns.message.make_query(name, kind, **options), "127.0.0.1", port=port, timeout=20)


@pytest.fixture
def unbound(tmp_path: Path, certificates: Callable[..., Any]) -> Iterator[tuple[Unbound, Any]]:
    """Yield unbound and its certificate, which is for dns.example and 127.0.0.1."""
    certificate = certificates("dns.example", "127.0.0.1")
    with Unbound(tmp_path / "unbound", certificate, DATA) as running:
        yield running, certificate


@pytest.mark.parametrize("scheme", ["udp", "tcp", "tls", "https", "tls of an address"])
@needs("unbound", "kdig", "dig")
def test_unbound_is_asked_over_each_transport(
    program: Start, free_port: Callable[[], int], unbound: tuple[Unbound, Any], scheme: str
) -> None:
    resolver, certificate = unbound
    ca = {"ca": str(certificate.ca)}
    forms: dict[str, Any] = {
        "udp": f"127.0.0.1:{resolver.port}",
        "tcp": f"tcp://127.0.0.1:{resolver.port}",
        "tls": {"uri": f"tls://127.0.0.1:{resolver.tls}#dns.example", **ca},
        "https": {"uri": f"https://dns.example:{resolver.https}/dns-query", "address": "127.0.0.1", **ca},
        "tls of an address": {"uri": f"tls://127.0.0.1:{resolver.tls}", **ca},
    }
    port = free_port()
    program(config=config(port, [forms[scheme]]))
    server = ["@127.0.0.1", "-p", str(port)]
    for transport in ("+notcp", "+tcp"):
        assert run("kdig", *server, transport, "+short", "wWw.example.net", "A") == "198.51.100.7"
        assert "status: NXDOMAIN" in run("kdig", *server, transport, "none.example.net", "A")
    texts = run("kdig", *server, "+short", "long.example.net", "TXT")  # truncated, then over TCP
    assert texts.count("x" * 240) == 30
    assert "status: NOERROR" in run("dig", *server, "+dnssec", "www.example.net", "A")
    reply = ask(port, "none.example.net", use_edns=0)
    assert (reply.rcode(), reply.authority[0].ttl <= 50) == (dns.rcode.NXDOMAIN, True)


@needs("unbound")
def test_a_resolver_with_another_name_is_not_believed(
    program: Start, free_port: Callable[[], int], unbound: tuple[Unbound, Any]
) -> None:
    resolver, certificate = unbound
    port = free_port()
    uri = f"tls://127.0.0.1:{resolver.tls}#another.example"
    started = program(config=config(port, [{"uri": uri, "ca": str(certificate.ca)}]))
    reply = ask(port, "www.example.net", use_edns=0)
    assert reply.rcode() == dns.rcode.SERVFAIL
    assert [str(one) for one in reply.options] == ["EDE 23 (Network Error)"]
    started.wait_for(
        r"resolver tls://127.0.0.1:\d+#another.example is down \(dns_forward\[0\]\): certificate not accepted"
    )


@needs("unbound", "dnsmasq")
def test_domains_go_to_their_resolvers(
    program: Start, free_port: Callable[[], int], unbound: tuple[Unbound, Any], tmp_path: Path
) -> None:
    resolver, _ = unbound
    port = free_port()
    lines = ["address=/corp.example/10.0.0.5", "ptr-record=9.1.168.192.in-addr.arpa,nas.corp.example"]
    with Dnsmasq(tmp_path / "dnsmasq", lines) as office:
        local = f"127.0.0.1:{office.port}"
        zones = {"corp.example": [local], "168.192.in-addr.arpa": [local]}
        program(config=config(port, {"resolvers": [f"127.0.0.1:{resolver.port}"], "zones": zones}))
        for name in ("corp.example", "git.Corp.example"):
            assert str(ask(port, name).answer[0][0]) == "10.0.0.5"
        assert str(ask(port, "9.1.168.192.in-addr.arpa", "PTR").answer[0][0]) == "nas.corp.example."
        assert ask(port, "9.1.0.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN  # of nobody
        assert str(ask(port, "www.example.net").answer[0][0]) == "198.51.100.7"
        assert "corp.example" not in resolver.log.read_text().lower()


@needs("unbound")
@pytest.mark.parametrize("scheme", ["tls", "udp", "https"])
@pytest.mark.parametrize("hangs", [False, True], ids=["dies", "hangs"])
def test_a_resolver_that_dies_or_hangs_is_replaced_by_the_next_and_comes_back(
    program: Start,
    free_port: Callable[[], int],
    unbound: tuple[Unbound, Any],
    tmp_path: Path,
    hangs: bool,
    scheme: str,
) -> None:
    resolver, certificate = unbound
    port = free_port()
    second = ['local-zone: "example.net." redirect', 'local-data: "example.net. 60 IN A 198.51.100.8"']
    with Unbound(tmp_path / "second", certificate, second) as other:
        ca = {"ca": str(certificate.ca)}
        resolvers = [
            {
                "tls": {"uri": f"tls://127.0.0.1:{one.tls}#dns.example", **ca},
                "https": {"uri": f"https://127.0.0.1:{one.https}/dns-query#dns.example", **ca},
                "udp": f"127.0.0.1:{one.port}",
            }[scheme]
            for one in (resolver, other)
        ]
        started = program(config=config(port, resolvers, workers=1))
        assert str(ask(port, "www.example.net").answer[0][0]) == "198.51.100.7"
        if hangs:
            resolver.process.send_signal(signal.SIGSTOP)
        else:
            resolver.kill()
        for number in range(20):
            assert str(ask(port, f"n{number}.example.net").answer[0][0]) == "198.51.100.8"
        started.wait_for(rf"resolver {scheme}://127.0.0.1:\d+\S* is down \(dns_forward\[0\]\)")
        if hangs:
            resolver.process.send_signal(signal.SIGCONT)
        else:
            resolver.start()
        numbers = iter(range(10_000))
        is_back = lambda: ask(port, f"again{next(numbers)}.example.net").rcode() == dns.rcode.NXDOMAIN  # noqa: E731
        started.wait_until(is_back, "question to the first resolver")
        started.wait_for("answers again")


@pytest.fixture
def counting() -> Iterator[Callable[..., CountingResolver]]:
    """Yield what starts counting resolvers, and end them."""
    started: list[CountingResolver] = []

    def start(*arguments: Any) -> CountingResolver:
        started.append(CountingResolver(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_all_workers_share_the_answers_and_a_reload_keeps_them(
    program: Start, free_port: Callable[[], int], counting: Callable[..., CountingResolver]
) -> None:
    """The kernel spreads the sockets of 60 clients over two workers; the resolver is asked once."""
    one, other = counting(), counting("198.51.100.8")
    port, page = free_port(), free_port()
    parts = config(port, {"resolvers": [one.address]})
    parts["listen"].append(f"http://127.0.0.1:{page}")
    parts["dispatch"].append({"handler": "status", "path": "/status"})
    started = program(config=parts)
    for _ in range(60):
        assert str(ask(port, "www.example.net").answer[0][0]) == "198.51.100.7"
    assert one.asked == ["www.example.net."]

    def metrics() -> str:
        return httpx.get(f"http://127.0.0.1:{page}/status?format=prometheus", timeout=20).text

    def is_counted() -> bool:
        text = metrics()
        shown = [
            'npserver_dns_cache_total{result="hits"} 59', 'npserver_dns_cache_total{result="misses"} 1',
            f'npserver_dns_resolver_questions_total{{resolver="udp://{one.address}"}} 1',
            f'npserver_dns_resolver_failures_total{{resolver="udp://{one.address}"}} 0',
        ]  # fmt: skip
        return all(line in text for line in shown)

    started.wait_until(is_counted, "counters on the status page")

    def reload(forward: Any) -> None:
        started.forget_errors()
        started.configure({**parts, "dns_forward": forward})
        started.send_signal(signal.SIGHUP)
        started.wait_for_new("reload")

    reload({"resolvers": [one.address], "timeout": "1s"})
    for _ in range(20):
        assert str(ask(port, "www.example.net").answer[0][0]) == "198.51.100.7"
    assert one.asked == ["www.example.net."]
    reload({"resolvers": [other.address]})
    started.wait_until(lambda: str(ask(port, "www.example.net").answer[0][0]) == "198.51.100.8", "the other answer")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_end_does_not_wait_for_resolvers(program: Start, free_port: Callable[[], int], workers: int) -> None:
    """A resolver that takes questions over TCP and says nothing; a client whose question it has."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        forward = {"resolvers": [uri], "total_timeout": "60s"}
        started = program(config=config(port, forward, workers=workers, timeouts={"shutdown": "1s"}))
        query = dns.message.make_query("www.example.net", "A").to_wire()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(len(query).to_bytes(2, "big") + query)
            accepted, _ = mute.accept()
            with accepted:
                accepted.settimeout(20)
                assert accepted.recv(2)
                started.stop()


@needs("dig")
def test_dig_shows_why_there_is_no_answer(program: Start, free_port: Callable[[], int]) -> None:
    port, nobody = free_port(), free_port()
    program(config=config(port, {"resolvers": [f"127.0.0.1:{nobody}"]}))
    assert "EDE: 23 (Network Error)" in run("dig", "@127.0.0.1", "-p", str(port), "www.example.net")


def test_we_ask_ourselves_over_tls_and_https(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any], tmp_path: Path
) -> None:
    """One npserver has the names, two others ask it, over TLS and HTTPS."""
    tls, https = free_port(), free_port()
    certificate = certificates("dns.example")
    (tmp_path / "names").mkdir()
    program(
        config={
            "workers": 1,
            "tls": certificate.config,
            "listen": [f"ssl://127.0.0.1:{tls}", f"https://127.0.0.1:{https}"],
            "dns": {"www.example.net": {"A": ["198.51.100.7", "198.51.100.8"]}},
            "dispatch": [
                {"listener": f"ssl://127.0.0.1:{tls}", "handler": "dns"},
                {"listener": f"https://127.0.0.1:{https}", "handler": "dns"},
            ],
        },
        cwd=tmp_path / "names",
    )
    port = free_port()
    for number, uri in enumerate((f"tls://127.0.0.1:{tls}#dns.example", f"https://dns.example:{https}#127.0.0.1")):
        (tmp_path / str(number)).mkdir()
        started = program(config=config(port, [{"uri": uri, "ca": str(certificate.ca)}]), cwd=tmp_path / str(number))
        for by_tcp in (False, True):
            reply = ask(port, "www.example.net", by_tcp=by_tcp)
            assert {str(one) for one in reply.answer[0]} == {"198.51.100.7", "198.51.100.8"}
            assert not reply.flags & dns.flags.AA
        assert ask(port, "none.www.example.net").rcode() == dns.rcode.NXDOMAIN
        started.stop()


@needs("dnsmasq", "kdig")
def test_no_name_of_the_internet_leads_into_the_network(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    lines = ["address=/evil.example/192.168.1.1", "address=/home.example/192.168.1.2", "address=/good.example/9.9.9.9"]
    server = ["@127.0.0.1", "-p", str(port)]
    with Dnsmasq(tmp_path / "dnsmasq", lines) as upstream:
        resolvers = {"resolvers": [f"127.0.0.1:{upstream.port}"], "rebind_allow": ["home.example"]}
        started = program(config=config(port, {**resolvers, "rebind_protection": "all"}))
        shown = run("kdig", *server, "+edns", "www.evil.example", "A")
        assert "status: NOERROR" in shown
        assert "ANSWER: 0" in shown
        assert "15 (Blocked): 'private address (dns_forward.rebind_protection)'" in shown
        assert run("kdig", *server, "+short", "nas.home.example", "A") == "192.168.1.2"
        assert run("kdig", *server, "+short", "www.good.example", "A") == "9.9.9.9"
        started.wait_for(
            r"www.evil.example. has a private address, says resolver .*: refused \(dns_forward.rebind_protection; "
        )


@needs("unbound")
def test_clients_of_glibc_and_systemd_get_their_answers(
    program: Start, free_port: Callable[[], int], unbound: tuple[Unbound, Any]
) -> None:
    """The queries of stub resolvers, as they send them.

    glibc sends A and AAAA from one socket at once, without EDNS. systemd-resolved asks with DO and for datagrams of
    64 KiB, goes over to TCP where they are truncated, and pipelines there.
    """
    resolver, _ = unbound
    port = free_port()
    program(config=config(port, [f"127.0.0.1:{resolver.port}"]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as glibc:
        glibc.settimeout(20)
        glibc.connect(("127.0.0.1", port))
        for name, rcode in (("www.example.net", 0), ("none.example.net", 3)) * 2:
            asked = {one.id: one for one in (dns.message.make_query(name, kind) for kind in ("A", "AAAA"))}
            for one in asked.values():
                glibc.send(one.to_wire())
            for _ in range(2):
                reply = dns.message.from_wire(glibc.recv(2048))
                query = asked.pop(reply.id)
                assert query.is_response(reply)
                assert (reply.rcode(), reply.edns) == (rcode, -1)
                kind = query.question[0].rdtype
                assert bool(reply.answer) is (rcode == 0 and kind == dns.rdatatype.A)
    large = dns.message.make_query("long.example.net", "TXT", want_dnssec=True, payload=65_494)
    reply = dns.query.udp(large, "127.0.0.1", port=port, timeout=20)
    assert reply.flags & dns.flags.TC
    assert (reply.edns, reply.ednsflags & dns.flags.DO) == (0, dns.flags.DO)
    queries = [large, *[dns.message.make_query(f"{name}.example.net", "A", want_dnssec=True) for name in ("www", "no")]]
    with socket.create_connection(("127.0.0.1", port), 20) as resolved:
        wires = [one.to_wire() for one in queries]
        resolved.sendall(b"".join([len(wire).to_bytes(2, "big") + wire for wire in wires]))
        found = {reply.id: reply for reply, _ in (dns.query.receive_tcp(resolved, 20) for _ in queries)}
    assert [found[one.id].rcode() for one in queries] == [0, 0, 3]
    assert len(found[large.id].answer[0][0].strings) == 30
