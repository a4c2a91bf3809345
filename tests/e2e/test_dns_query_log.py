"""The query log of the whole program: zones, block lists, cache, resolvers, over all transports; rotation and reload.

Covers `nameserver.query_logging`.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import httpx
import pytest

from npserver.cli.check import main as check
from tests.stage.counting_resolver import CountingResolver
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.syslog import read_journal
from tests.stage.syslog import text_of as message_text
from tests.stage.waiting import wait_until

Start = Callable[..., Program]


def config(port: int, resolver: CountingResolver, file: str, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "logging": {"query_log": file, "access_log": "off", "format": "json"},
        "dns_zones": ["example.com"],
        "dns": {"www.example.com": {"A": "192.0.2.1"}},
        "dns_forward": [resolver.address],
        "dns_block": {"block": "ads.example"},
        "dispatch": [{"handler": "dns", "allow_transfer": "127.0.0.1"}],
        **parts,
    }


def ask(port: int, name: str, *, by_tcp: bool = False, kind: str = "A", **options: Any) -> dns.message.Message:
    asking = dns.query.tcp if by_tcp else dns.query.udp
    return asking(dns.message.make_query(name, kind, **options), "127.0.0.1", port=port, timeout=20)


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def decided(file: Path, count: int) -> list[tuple[str, str, str, str, str]]:
    """Wait until so many queries are logged; return what is said of each, in any order."""
    wait_until(lambda: len(entries(file)) >= count, f"{count} lines", 30)
    return sorted(
        (one["transport"], one["name"], one["qtype"], one["rcode"], one["decided_by"]) for one in entries(file)
    )


def test_each_query_has_a_line_that_says_what_decided(
    program: Start, tmp_path: Path, resolver: CountingResolver
) -> None:
    port, file = free_port(), tmp_path / "queries.log"
    program(config=config(port, resolver, str(file)))
    for by_tcp in (False, True):
        ask(port, "www.example.com", by_tcp=by_tcp)
        ask(port, "missing.example.com", by_tcp=by_tcp, want_dnssec=True)
        ask(port, "x.ads.example", by_tcp=by_tcp)
        ask(port, "localhost", by_tcp=by_tcp)
    ask(port, "elsewhere.example")
    wanted = [
        (transport, *rest)
        for transport in ("udp", "tcp")
        for rest in (
            ("www.example.com.", "A", "NOERROR", "zone example.com"),
            ("missing.example.com.", "A", "NXDOMAIN", "zone example.com"),
            ("x.ads.example.", "A", "NXDOMAIN", "dns_block.block"),
            ("localhost.", "A", "NOERROR", "local names"),
        )
    ]
    wanted.append(("udp", "elsewhere.example.", "A", "NOERROR", "resolvers"))
    assert decided(file, len(wanted)) == sorted(wanted)
    by_name = {one["name"]: one for one in entries(file) if one["transport"] == "udp"}
    assert by_name["www.example.com."]["flags"] == ["aa", "rd", "ra"]
    assert by_name["missing.example.com."]["flags"] == ["aa", "rd", "ra", "do"]
    assert by_name["elsewhere.example."]["sent_bytes"] > 40
    assert by_name["elsewhere.example."]["duration_ms"] > 0
    assert dns.rcode.from_text("BADVERS") == ask(port, "www.example.com", use_edns=1).rcode()
    assert ("udp", "www.example.com.", "A", "BADVERS", "zone example.com") in decided(file, len(wanted) + 1)
    before = len(entries(file))
    for _ in range(20):  # past what the kernel gives to either worker
        ask(port, "elsewhere.example")
    assert {one[4] for one in decided(file, before + 20)} >= {"cache"}
    dns.message.make_query("example.com", "AXFR")
    list(dns.query.xfr("127.0.0.1", "example.com", port=port, lifetime=20))
    assert ("tcp", "example.com.", "AXFR", "NOERROR", "dispatch[0].allow_transfer") in decided(file, before + 21)


def test_the_file_is_rotated_and_a_reload_switches_it(
    program: Start, tmp_path: Path, resolver: CountingResolver
) -> None:
    port, file = free_port(), tmp_path / "queries.log"
    wanted = config(port, resolver, "queries.log")
    running = program(config=wanted)
    ask(port, "www.example.com")
    assert len(decided(file, 1)) == 1
    file.rename(tmp_path / "old")
    running.send_signal(signal.SIGUSR1)

    def is_reopened() -> bool:
        ask(port, "www.example.com", by_tcp=True)
        return bool(entries(file))

    wait_until(is_reopened, "the new file", 30, running.errors)
    running.configure({**wanted, "logging": {"access_log": "off"}, "dns": {"www.example.com": {"A": "192.0.2.2"}}})
    running.send_signal(signal.SIGHUP)
    wait_until(
        lambda: all(str(ask(port, "www.example.com", by_tcp=True).answer[0][0]) == "192.0.2.2" for _ in range(6)),
        "the next config", 30, running.errors,
    )  # fmt: skip
    size = file.stat().st_size
    for _ in range(20):
        ask(port, "www.example.com")
    running.stop()
    assert file.stat().st_size == size


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_sent_to_the_journal_and_to_syslog(
    program: Start, tmp_path: Path, socket_dir: Path, resolver: CountingResolver, workers: int
) -> None:
    """A reload switches the destination; what waits is sent before, and at a shutdown."""
    port, count = free_port(), 12
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog,
    ):
        journal.bind(str(socket_dir / "journal"))
        syslog.bind(("127.0.0.1", 0))
        for one in (journal, syslog):
            one.settimeout(20)
        to = {"to": f"journald://{socket_dir}/journal", "format": "json", "hide": ["client_ip"]}
        wanted = config(port, resolver, "", workers=workers)
        wanted["logging"] = {"query_log": to, "access_log": "off"}
        running = program(config=wanted)
        for _ in range(count):
            ask(port, "www.example.com")
        found = [read_journal(journal.recv(65536)) for _ in range(count)]
        assert {(one["NPSERVER_NAME"], one["NPSERVER_CLIENT_IP"]) for one in found} == {
            ("www.example.com.", "127.0.0.0")
        }
        assert json.loads(found[0]["MESSAGE"])["decided_by"] == "zone example.com"
        wanted["logging"]["query_log"] = f"syslog://127.0.0.1:{syslog.getsockname()[1]}"
        running.configure(wanted)
        assert running.command("reload")[0] == 0, running.errors
        for _ in range(count):
            ask(port, "x.ads.example", by_tcp=True)
        running.stop()
        assert all(" tcp x.ads.example. A NXDOMAIN " in message_text(syslog.recv(65536)) for _ in range(count))


@needs("kdig")
def test_https_and_tls(
    program: Start, tmp_path: Path, resolver: CountingResolver, certificates: Callable[..., Any]
) -> None:
    certificate = certificates("127.0.0.1")
    tls, web, file = free_port(), free_port(), tmp_path / "queries.log"
    program(
        config=config(
            0, resolver, str(file),
            listen=[f"ssl://127.0.0.1:{tls}", f"https://127.0.0.1:{web}"],
            tls={"cert": str(certificate.cert), "key": str(certificate.key)},
            dispatch=[
                {"listener": f"ssl://127.0.0.1:{tls}", "handler": "dns", "deny": "127.0.0.2"},
                {"listener": f"https://127.0.0.1:{web}", "handler": "dns"},
            ],
        )
    )  # fmt: skip
    words = ["kdig", "@127.0.0.1", "-p", str(tls), "+tls", "+short", "www.example.com"]
    assert subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout.strip() == "192.0.2.1"
    query = dns.message.make_query("elsewhere.example", "A", id=0).to_wire()
    with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate.ca))) as client:
        reply = client.post(
            f"https://127.0.0.1:{web}/dns-query", content=query, headers={"Content-Type": "application/dns-message"}
        )
    assert dns.message.from_wire(reply.content).rcode() == dns.rcode.NOERROR
    assert decided(file, 2) == [
        ("https", "elsewhere.example.", "A", "NOERROR", "resolvers"),
        ("tls", "www.example.com.", "A", "NOERROR", "zone example.com"),
    ]


@needs("kdig")
def test_rules_without_a_log(
    program: Start, tmp_path: Path, resolver: CountingResolver, certificates: Callable[..., Any]
) -> None:
    """Over UDP, TCP and HTTPS, whether zones, the cache or resolvers answer: not in the access log either."""
    certificate = certificates("127.0.0.1")
    quiet, told, web = free_port(), free_port(), free_port()
    queries, access = tmp_path / "queries.log", tmp_path / "access.log"
    listeners = {port: [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"] for port in (quiet, told)}
    secure = f"https://127.0.0.1:{web}"
    running = program(
        config=config(
            0, resolver, str(queries),
            workers=1,
            listen=[*listeners[quiet], *listeners[told], secure],
            logging={"query_log": str(queries), "access_log": str(access), "format": "json", "dns_queries": True},
            tls={"cert": str(certificate.cert), "key": str(certificate.key)},
            dispatch=[
                {"listener": [*listeners[quiet], secure], "handler": "dns", "log": False},
                {"listener": listeners[told], "handler": "dns"},
            ],
        )
    )  # fmt: skip
    for port in (quiet, told):
        for by_tcp in (False, True):
            for name in ("www.example.com", "elsewhere.example", "elsewhere.example", "x.ads.example"):
                ask(port, name, by_tcp=by_tcp)
    words = ["kdig", "@127.0.0.1", "-p", str(web), "+https", "+tls-ca=" + str(certificate.ca), "www.example.com"]
    subprocess.run(words, capture_output=True, timeout=30, check=True)
    running.stop()  # writes what waits
    assert len(entries(queries)) == 8
    assert [one["type"] for one in entries(access)] == ["query"] * 8


def test_a_file_that_cannot_be_written_has_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "npserver.json"
    file.write_text('{ "listen": ["http://127.0.0.1:8080"],\n  "logging": { "query_log": "./none/queries.log" } }')
    assert check(["-config", str(file)]) == 2
    assert ":2:29: no directory" in (said := capsys.readouterr().err)
    assert "to write the query log to" in said
    assert ":2:29: warning: no effect: no rule has handler 'dns', so there are no queries" in said
