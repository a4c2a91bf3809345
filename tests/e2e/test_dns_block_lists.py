"""Block lists in the real program: all transports and workers, files and URLs, reloads and restarts, hostile lists.

Covers `nameserver.blocking.service` and what the status page shows of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.edns
import dns.message
import dns.query
import httpx
import pytest
from dns.query import HTTPVersion

from tests.stage.asking import get, worker_pids
from tests.stage.block_lists import ADDRESS, AnyResolver, ListServer, result_of
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
PORTS = 12  # that many clients reach each of two workers, as the kernel chooses by the client's port


@pytest.fixture
def resolver() -> Iterator[AnyResolver]:
    with AnyResolver({"www.shop.example.": "shop.cdn.example.", "shop.cdn.example.": "x.Ads.example."}) as one:
        yield one


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as one:
        yield one


class Setup:
    """A name server with two workers and block lists."""

    def __init__(self, port: int, resolver: AnyResolver, tmp_path: Path, status_port: int) -> None:
        self.port, self.status_port = port, status_port
        self.parts: dict[str, Any] = {
            "workers": 2,
            "store": str(tmp_path / "store"),
            "listen": [
                {"name": "u", "uri": f"udp://127.0.0.1:{port}"},
                {"name": "t", "uri": f"tcp://127.0.0.1:{port}"},
                {"name": "status", "uri": f"http://127.0.0.1:{status_port}"},
            ],
            "dns": {"nas.home": {"A": "192.0.2.1"}},
            "dns_forward": [resolver.address],
            "dispatch": [
                {"listener": ["u", "t"], "handler": "dns"},
                {"listener": "status", "handler": "status"},
            ],
        }

    def config(self, entry: Any, **parts: Any) -> dict[str, Any]:
        return {**self.parts, "dns_block": entry, **parts}

    def ask(self, name: str, source: str = "127.0.0.1", *, by_tcp: bool = False) -> str:
        asking = dns.query.tcp if by_tcp else dns.query.udp
        query = dns.message.make_query(name, "A")
        return result_of(asking(query, "127.0.0.1", port=self.port, source=source, timeout=20))

    def ask_all(self, name: str) -> set[str]:
        """Return the different answers of all workers."""
        return {self.ask(name, by_tcp=number % 2 == 0) for number in range(PORTS)}

    def until(self, program: Program, name: str, expected: str) -> None:
        program.wait_until(lambda: self.ask_all(name) == {expected}, f"{expected} for {name}")

    def lists(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(get(self.status_port, "/status?format=json")[1])["block_lists"]
        return found

    def metric(self, name: str) -> int:
        lines = get(self.status_port, "/status?format=prometheus")[1].decode().splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture
def setup(free_port: Callable[[], int], resolver: AnyResolver, tmp_path: Path) -> Setup:
    return Setup(free_port(), resolver, tmp_path, free_port())


def test_a_blocked_name_is_blocked_over_every_transport(
    program: Start, free_port: Callable[[], int], setup: Setup, resolver: AnyResolver, certificates: Callable[..., Any]
) -> None:
    tls, https, quic = free_port(), free_port(), free_port()
    certificate = certificates("localhost")
    config = setup.config({"block": "ads.example"}, tls=certificate.config)
    config["listen"] += [
        {"name": "s", "uri": f"ssl://127.0.0.1:{tls}"},
        {"name": "h", "uri": f"https://127.0.0.1:{https}", "http3": True},
        {"name": "q", "uri": f"quic://127.0.0.1:{quic}"},
    ]
    config["dispatch"] = [{"listener": ["u", "t", "s", "h", "q"], "handler": "dns"}]
    program(config=config).wait_ready()
    url, ca = f"https://localhost:{https}/dns-query", str(certificate.ca)
    how: dict[str, Any] = {"port": quic, "verify": ca, "server_hostname": "localhost", "timeout": 20}
    trust = ssl.create_default_context(cafile=ca)
    query = dns.message.make_query("X.ads.Example", "A", use_edns=0, pad=128)
    passed = dns.message.make_query("fine.example", "A", use_edns=0)
    asking: list[Callable[[dns.message.Message], dns.message.Message]] = [
        lambda one: dns.query.udp(one, "127.0.0.1", port=setup.port, timeout=20),
        lambda one: dns.query.tcp(one, "127.0.0.1", port=setup.port, timeout=20),
        lambda one: dns.query.tls(one, "127.0.0.1", 20, tls, ssl_context=trust, server_hostname="localhost"),
        *[partial(ask_over_https, url, trust, version) for version in ("HTTP/1.1", "HTTP/2")],
        partial(ask_over_http3, url, ca),
        lambda one: asyncio.run(dns.asyncquery.quic(one, "127.0.0.1", **how)),
    ]
    for ask in asking:
        for _ in range(4):
            reply = ask(query)
            assert result_of(reply) == "NXDOMAIN"
            assert [one.code for one in reply.options if isinstance(one, dns.edns.EDEOption)] == [15]
            assert reply.authority[0].ttl == 10
            assert result_of(ask(passed)) == ADDRESS
    assert set(resolver.asked) == {"fine.example."}


def ask_over_https(url: str, trust: ssl.SSLContext, version: str, query: dns.message.Message) -> dns.message.Message:
    kind = {"Content-Type": "application/dns-message"}
    with httpx.Client(verify=trust, timeout=20, http1=version == "HTTP/1.1", http2=version == "HTTP/2") as client:
        response = client.post(url, content=query.to_wire(), headers=kind)
    assert response.http_version == version
    return dns.message.from_wire(response.content)


def ask_over_http3(url: str, ca: str, query: dns.message.Message) -> dns.message.Message:
    asking = dns.asyncquery.https(
        query, url, verify=ca, http_version=HTTPVersion.H3, timeout=20, bootstrap_address="127.0.0.1"
    )
    return asyncio.run(asking)


@needs("dig")
def test_dig_shows_why(program: Start, setup: Setup) -> None:
    running = program(config=setup.config({"block": "ads.example"}, logging={"dns_queries": True, "dns": "debug"}))
    running.wait_ready()
    words = ["dig", "@127.0.0.1", "-p", str(setup.port), "+tries=1", "+time=20", "WWW.shop.example"]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout
    assert "status: NXDOMAIN" in shown
    assert "EDE: 15 (Blocked): (dns_block.block)" in shown
    running.wait_for(r"127\.0\.0\.1 dns udp WWW\.shop\.example\. A NXDOMAIN blocked by dns_block\.block$")
    running.wait_for(r"www\.shop\.example\. A, which leads to x\.ads\.example\., is blocked by ads\.example\. \(dns_b")


@pytest.mark.parametrize("blocked_first", [False, True])
def test_what_one_client_is_told_is_not_told_to_another(
    program: Start, setup: Setup, resolver: AnyResolver, blocked_first: bool
) -> None:
    entries = [{"from": "kids", "block": "ads.example", "answer": "zero"}, {"block": "other.example"}]
    views = [{"from": "127.0.0.3", "dns": {"in.ads.example": {"A": "192.0.2.9"}}}]
    program(
        config=setup.config(entries, networks={"kids": ["127.0.0.2", "127.0.0.3"]}, workers=1, dns_views=views)
    ).wait_ready()
    for name in ("a.ads.example", "www.shop.example"):
        for source in ("127.0.0.2", "127.0.0.1", "127.0.0.2") if blocked_first else ("127.0.0.1", "127.0.0.2") * 2:
            assert setup.ask(name, source) == ("0.0.0.0" if source == "127.0.0.2" else ADDRESS)
    assert resolver.asked.count("a.ads.example.") == 1
    assert setup.ask("in.ads.example", "127.0.0.3") == "192.0.2.9"  # a zone of ours, in their view
    assert setup.ask("www.ads.example", "127.0.0.2") == "0.0.0.0"
    assert setup.ask("other.example", "127.0.0.2") == ADDRESS


def test_files_are_followed_by_all_workers_and_bad_ones_change_nothing(
    program: Start, setup: Setup, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("0.0.0.0 localhost\n0.0.0.0 one.example\n")
    entry = {"lists": [str(hosts), "none.txt"], "allow": "fine.one.example"}
    running = program(config=setup.config(entry))
    running.wait_for(r"dns_block\.lists\[1\]: .*no such file or directory; it blocks nothing yet")
    setup.until(running, "one.example", "NXDOMAIN")
    assert setup.ask_all("x.one.example") == {ADDRESS}
    fresh = tmp_path / "new"
    fresh.write_text("||one.example^\n||nas.home^\n||com^\n")
    fresh.rename(hosts)
    setup.until(running, "x.one.example", "NXDOMAIN")
    running.wait_for("left out is what would block too much: com")
    assert setup.ask_all("fine.one.example") == setup.ask_all("any.com") == {ADDRESS}
    assert setup.ask_all("nas.home") == {"192.0.2.1"}
    hosts.write_bytes(b"\0\1")
    running.wait_for(r"dns_block\.lists\[0\]: the list is not used: it is not text.* stay in force")
    assert setup.ask_all("one.example") == {"NXDOMAIN"}
    first, second = setup.lists()
    assert (first["size"], second["size"]) == (2, 0)
    assert "not text" in first["error"]
    assert "no such file" in second["error"]
    assert setup.metric("npserver_dns_block_list_names") == 2
    assert setup.metric("npserver_dns_block_list_failed") == 2
    assert setup.metric("npserver_dns_blocked_total") == setup.metric("npserver_dns_block_list_hits_total") > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_only_root_may_read_is_that_of_the_start(
    program: Start, setup: Setup, server: ListServer, tmp_path: Path, socket_dir: Path
) -> None:
    socket_dir.chmod(0o755)
    hosts = tmp_path / "hosts.txt"  # in a directory of root's alone
    hosts.write_text("one.example\n")
    server.lists["/a"] = b"||a.example^\n||com^\n"
    entry = {"lists": [str(hosts), f"{server.url}/a"]}
    running = program(config=setup.config(entry, user="nobody", store=str(socket_dir / "store")))
    setup.until(running, "one.example", "NXDOMAIN")
    setup.until(running, "a.example", "NXDOMAIN")
    hosts.write_text("two.example\n")
    running.send_signal(signal.SIGHUP)
    running.wait_for(
        r"dns_block\.lists\[0\]: cannot read .*permission denied: let the user of the server read it; .* stay"
    )
    assert setup.ask_all("one.example") == {"NXDOMAIN"}


def test_a_url_is_fetched_and_its_last_good_list_outlives_a_restart(
    program: Start, setup: Setup, server: ListServer
) -> None:
    server.lists["/hosts"] = b"".join(b"0.0.0.0 n%d.example\n" % number for number in range(100_000))
    config = setup.config({"lists": [f"{server.url}/hosts"], "refresh": "1s"})
    running = program(config=config)
    setup.until(running, "n99999.example", "NXDOMAIN")
    server.lists["/hosts"] = b"<html>sign in to the network</html>\n"
    running.wait_for("the list is not used: it has no names to block: line 1 is not understood: .* stay in force")
    assert setup.ask_all("n7.example") == {"NXDOMAIN"}
    server.lists["/hosts"] = b"0.0.0.0 other.example\n"
    setup.until(running, "other.example", "NXDOMAIN")
    assert setup.ask_all("n7.example") == {ADDRESS}
    running.stop()
    server.close()
    again = program(config=config)
    again.wait_for("npserver 1")
    setup.until(again, "other.example", "NXDOMAIN")
    again.wait_for(r"dns_block\.lists\[0\]: http://127\.0\.0\.1:\d+: .*refused; those of .* stay in force")


def test_a_reload_fetches_only_what_is_new(program: Start, setup: Setup, server: ListServer) -> None:
    server.lists.update({"/a": b"a.example\n", "/b": b"b.example\n"})
    running = program(config=setup.config({"lists": [f"{server.url}/a"]}))
    setup.until(running, "a.example", "NXDOMAIN")
    running.configure(setup.config({"lists": [f"{server.url}/b", f"{server.url}/a"], "answer": "refused"}))
    running.send_signal(signal.SIGHUP)
    setup.until(running, "b.example", "REFUSED")
    assert setup.ask_all("a.example") == {"REFUSED"}
    assert sorted(server.asked) == ["/a", "/b"]
    running.configure(setup.config({"lists": [f"{server.url}/b"]}))
    running.send_signal(signal.SIGHUP)
    setup.until(running, "a.example", ADDRESS)
    assert setup.ask_all("b.example") == {"NXDOMAIN"}
    running.configure(setup.parts)
    running.send_signal(signal.SIGHUP)
    setup.until(running, "b.example", ADDRESS)
    running.wait_until(lambda: setup.lists() == [], "a status page without lists")
    assert sorted(server.asked) == ["/a", "/b"]


def test_processes_that_are_replaced_have_the_lists(program: Start, setup: Setup, server: ListServer) -> None:
    server.lists["/a"] = b"a.example\n"
    running = program(config=setup.config({"lists": [f"{server.url}/a"]}))
    setup.until(running, "a.example", "NXDOMAIN")
    controller = next(pid for pid in running.children() if pid not in worker_pids(running))
    for pid in (*worker_pids(running), controller):
        os.kill(pid, signal.SIGKILL)
        running.wait_until(lambda pid=pid: pid not in running.children() and len(running.children()) == 3, "another")
        assert setup.ask_all("a.example") == {"NXDOMAIN"}
    server.lists["/b"] = b"b.example\n"
    running.configure(setup.config({"lists": [f"{server.url}/a", f"{server.url}/b"]}))
    running.send_signal(signal.SIGHUP)
    setup.until(running, "b.example", "NXDOMAIN")
    assert setup.ask_all("a.example") == {"NXDOMAIN"}
    assert server.asked.count("/a") <= 2  # a controller that is new in a config may ask at once


def endless(piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        while True:
            yield piece * (65536 // len(piece))

    return pieces


def many_lines() -> Iterator[bytes]:
    """Ten million names."""
    for number in range(10_000):
        yield b"".join([b"n%d.x\n" % one for one in range(number * 1000, number * 1000 + 1000)])


def test_hostile_lists_are_refused_and_the_others_go_on(program: Start, setup: Setup, server: ListServer) -> None:
    refused = {
        "/binary": (os.urandom(1 << 16), "not text|not a list|no names|is longer"),
        "/line": (b"a" * (1 << 20), "line 1 is longer than 65536 bytes"),
        "/endless": (endless(b"x.example\n"), r"longer than 1048576 bytes \(dns_block\[?.*max_size\)"),
        "/endless-line": (endless(b"x"), "longer than 1048576 bytes"),
        "/many": (many_lines, "longer than 1048576 bytes"),
        "/names": (b"".join(b"a%x.b\n" % number for number in range(60_000)), "more than 50000 names"),
        "/zip": (b"\x1f\x8b\x08" + bytes(1000), "it is compressed"),
        "/zeros": (b"a.example\n\0\0\n", "it is not text"),
        "/long": ((b"a" * 64 + b".example\n" + b"b." * 130 + b"example\n") * 1000, "no names|not a list"),
        "/everything": (b"||com^\n*\n.\n*.net\n@@||com^\n0.0.0.0 *\n", "no names to block"),
        "/gone": (None, "status 404 instead of 200"),
        "/empty": (b"", "no names to block"),
    }
    for path, (content, _) in refused.items():
        if content is not None:
            server.lists[path] = content
    server.lists["/good"] = b"good.example\n" * 1000
    urls = [server.url + path for path in (*refused, "/good")]
    entry = {"lists": urls, "max_size": "1m", "max_names": 50_000, "timeout": "20s"}
    running = program(config=setup.config(entry))
    for number, (_, message) in enumerate(refused.values()):
        running.wait_for(rf"dns_block\.lists\[{number}\]: .*(?:{message})")
    setup.until(running, "good.example", "NXDOMAIN")
    assert setup.ask_all("any.com") == setup.ask_all("x.example") == setup.ask_all("any.net") == {ADDRESS}
    assert [bool(one["error"]) for one in setup.lists()] == [True] * len(refused) + [False]


def test_a_storm_of_reloads_ends_with_the_last_config(
    program: Start, setup: Setup, server: ListServer, tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("".join(f"0.0.0.0 n{number}.example\n" for number in range(100_000)))
    server.lists.update({f"/{number}": b"u%d.example\n" % number for number in range(3)})
    running = program(config=setup.config({"lists": [str(hosts)]}))
    for number in range(30):
        lists = [f"{server.url}/{number % 3}", *[str(hosts)] * (number % 2)]
        running.configure(setup.config({"lists": lists}))
        running.send_signal(signal.SIGHUP)
        assert setup.ask("nas.home") == "192.0.2.1"
    setup.until(running, "n99999.example", "NXDOMAIN")
    setup.until(running, "u2.example", "NXDOMAIN")
    setup.until(running, "u1.example", ADDRESS)
    assert len(running.children()) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_does_not_wait_for_a_list(
    program: Start, setup: Setup, server: ListServer, tmp_path: Path, workers: int
) -> None:
    server.lists["/slow"] = endless(b"\n")
    (tmp_path / "hosts").write_text("a.example\n")
    entry = {"lists": [f"{server.url}/slow", str(tmp_path / "hosts")], "max_size": "256m", "timeout": "1h"}
    running = program(config=setup.config(entry, workers=workers))
    setup.until(running, "a.example", "NXDOMAIN")
    running.wait_until(lambda: server.asked == ["/slow"], "a list that is fetched")
    running.stop()
