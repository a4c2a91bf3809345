"""A zone with every kind of oddity, and helpers that query npserver's pure parts and a real NSD."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode

from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.name import to_text
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.responder import Responder
from npserver.dns.zone.tables import Tables
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.response_rate_limit import RateLimiter
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from npserver.runtime.scoreboard import Scoreboard
from tests.stage.programs import find
from tests.stage.waiting import wait_until

SOA = {
    "mname": "ns1.example.com",
    "rname": "hostmaster.example.com",
    "serial": 7,
    "refresh": 3600,
    "retry": 600,
    "expire": 604_800,
    "minimum": 120,
}

ODDITIES: dict[str, dict[str, Any]] = {
    "example.com": {
        "SOA": SOA,
        "NS": ["ns1.example.com", "ns2.example.com"],
        "MX": [{"priority": 10, "host": "mx1.example.com"}, "20 mx.elsewhere.net"],
        "A": "192.0.2.1",
        "TXT": ["v=spf1", "x" * 300],
        "CAA": '0 issue "ca.example"',
    },
    "ns1.example.com": {"A": "192.0.2.2", "AAAA": "2001:db8::2"},
    "ns2.example.com": {"A": "192.0.2.3"},
    "mx1.example.com": {"A": "192.0.2.4", "TTL": 60},
    "www.example.com": {"CNAME": "web.example.com"},
    "web.example.com": {"A": ["192.0.2.5", "192.0.2.6"], "AAAA": "2001:db8::5", "HTTPS": "1 . alpn=h2,h3"},
    "ext.example.com": {"CNAME": "www.elsewhere.net"},
    "dangling.example.com": {"CNAME": "missing.example.com"},
    "loop1.example.com": {"CNAME": "loop2.example.com"},
    "loop2.example.com": {"CNAME": "loop1.example.com"},
    "self.example.com": {"CNAME": "self.example.com"},
    "tosub.example.com": {"CNAME": "host.sub.example.com"},
    "toother.example.com": {"CNAME": "www.other.test"},
    "towild.example.com": {"CNAME": "any.wild.example.com"},
    "c1.example.com": {"CNAME": "c2.example.com"},
    "c2.example.com": {"CNAME": "c3.example.com"},
    "c3.example.com": {"CNAME": "web.example.com"},
    "a.b.c.example.com": {"TXT": "deep"},
    "*.wild.example.com": {"A": "192.0.2.7", "MX": "5 mx1.example.com"},
    "there.wild.example.com": {"TXT": "x"},
    "sub.ent.wild.example.com": {"A": "192.0.2.8"},
    "*.cwild.example.com": {"CNAME": "web.example.com"},
    "*.nwild.example.com": {"CNAME": "missing.example.com"},
    "sub.example.com": {"NS": ["ns.sub.example.com", "ns1.example.com"]},
    "ns.sub.example.com": {"A": "192.0.2.9", "AAAA": "2001:db8::9"},
    "host.sub.example.com": {"A": "192.0.2.10"},
    "noglue.example.com": {"NS": "ns.elsewhere.net"},
    "_sip._tcp.example.com": {
        "SRV": [
            {"priority": 0, "weight": 1, "port": 5060, "target": "web.example.com"},
            {"priority": 1, "weight": 1, "port": 5060, "target": "mx1.example.com"},
        ]
    },
    "ptr.example.com": {"PTR": "web.example.com"},
    "odd.example.com": {"TYPE65280": "\\# 4 0A000001"},
    "big.example.com": {"TXT": [f"{number:03}" + "y" * 90 for number in range(30)]},
    "middle.example.com": {"TXT": [f"{number:03}" + "y" * 90 for number in range(8)]},
    "many.example.com": {"MX": [f"{number} m{number}.example.com" for number in range(30)]},
    **{f"m{number}.example.com": {"A": f"192.0.2.{100 + number}"} for number in range(30)},
    "child.example.com": {"SOA": SOA, "NS": "ns1.example.com", "A": "192.0.2.20"},
    "www.child.example.com": {"A": "192.0.2.21"},
    "other.test": {"SOA": SOA, "NS": "ns.other.test"},
    "ns.other.test": {"A": "198.51.100.1"},
    "www.other.test": {"A": "198.51.100.2"},
}


def tables_of(records: Mapping[str, Mapping[str, object]], **settings: Any) -> Tables:
    """Compile records that must be free of errors."""
    problems: list[object] = []
    tables = compile_tables(
        records, Settings(**{"ttl": 300, **settings}), lambda path, message: problems.append((path, message))
    )
    assert problems == []
    return tables


def limiter_of(rate: int, slip: int, window_s: float = 1.0, *, keys: int = 1000) -> RateLimiter:
    """Return a limit of answers in a table of its own, which has place for so many keys."""
    return RateLimiter(Scoreboard(1, b"k" * 16, rate_limit_keys=keys).row(0), rate, slip, window_s)


def processor_of(tables: Tables, *, stream: bool = False, **settings: Any) -> QueryProcessor:
    """Return the query processor of these tables for UDP, or for a stream."""
    limiter = settings.pop("limiter", None) or (limiter_of(1000, 2) if settings.pop("public", False) else None)
    kind = QueryProcessor if stream else UdpQueryProcessor
    return kind(Responder(tables, {}), CookieJar(b"k" * 16), limiter=limiter, **settings)


def ask(processor: QueryProcessor, data: bytes, client: str = "192.0.2.77") -> bytes | None:
    """Return the reply's bytes."""
    reply = processor.respond(data, client, 0.0, 1_700_000_000.0)
    assert reply is None or isinstance(reply, bytes), reply
    return reply


Shown = tuple[str, str, list[str], list[str], list[str]]


def show(message: dns.message.Message) -> Shown:
    """Return rcode, flags, and the three sections as sorted lines."""

    def lines(section: Iterable[Any]) -> list[str]:
        return sorted(f"{rrset.name} {rrset.ttl} {rdata.rdtype.name} {rdata}" for rrset in section for rdata in rrset)

    flags = dns.flags.to_text(dns.flags.Flag(message.flags))
    sections = lines(message.answer), lines(message.authority), lines(message.additional)
    return dns.rcode.to_text(message.rcode()), flags, *sections


class Nsd:
    """A real NSD on a free port of 127.0.0.1 that serves the zones of `tables`, and those of zone files, by name."""

    def __init__(self, tables: Tables, directory: Path, port: int, files: Mapping[str, Path] = {}) -> None:
        self.port = port
        config = f"""server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: ""
  xfrdfile: "{directory}/xfrd"
  zonelistfile: "{directory}/zones"
  xfrdir: "{directory}"
  logfile: "{directory}/log"
  rrl-ratelimit: 0
  ipv4-edns-size: 1232
remote-control:
  control-enable: no
"""
        for key, zone in tables.zones.items():
            name = to_text(key)
            lines = [
                f"{to_text(node.key)} {ttl} IN TYPE{kind} \\# {len(one)} {one.hex()}\n"
                for node in tables.zone_nodes(zone)
                for kind, (ttl, data) in node.sets.items()
                for one in data
            ]
            # What a parent says about a child zone beside it: NSD takes every zone for itself.
            lines += [
                f"{to_text(below)} 300 IN NS ns1.example.com.\n"
                for below, child in tables.zones.items()
                if child.parent is zone
            ]
            (directory / f"{name}zone").write_text("".join(lines))
            config += f'zone:\n  name: "{name}"\n  zonefile: "{name}zone"\n'
        for name, file in files.items():
            config += f'zone:\n  name: "{name}"\n  zonefile: "{file}"\n'
        (directory / "nsd.conf").write_text(config)
        self._process = subprocess.Popen(
            [find("nsd") or "nsd", "-d", "-c", str(directory / "nsd.conf")], stderr=subprocess.PIPE
        )
        self._probe = dns.message.make_query("example.com", "SOA", id=0xFFFF).to_wire()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(30)
        self._wait()

    def ask(self, data: bytes) -> bytes | None:
        """Return the reply's bytes; None if NSD answers the next question before this one."""
        reply = None
        self._socket.send(data)
        self._socket.send(self._probe)
        while (received := self._socket.recv(65_535))[:2] != self._probe[:2]:
            reply = received
        return reply

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.terminate()
        self._process.communicate(timeout=30)

    def _wait(self) -> None:
        wait_until(self._answers, "answer of nsd", process=self._process.pid)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "nsd did not start"
        try:
            self._socket.send(self._probe)
            self._socket.recv(65_535)
        except ConnectionRefusedError:
            return False
        return True
