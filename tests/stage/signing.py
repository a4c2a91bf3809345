"""Signed zones: npserver's pure parts that answer from them, and real validators that are asked about them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode

from npserver.dns.message.cookies import CookieJar
from npserver.dns.message.name import parse_owner
from npserver.dns.zone.responder import Responder
from npserver.dns.zone.signed_responder import SignedResponder
from npserver.dns.zone.signing import DAY_S, Signatures, ZoneSigning
from npserver.dns.zone.tables import Tables
from npserver.nameserver.dnssec.keys import ALGORITHMS
from npserver.nameserver.dnssec.state import first_state, zone_keys
from npserver.nameserver.query_processor import QueryProcessor
from tests.stage.nameserver import ODDITIES
from tests.stage.programs import find
from tests.stage.waiting import wait_until

NOW = 1_800_000_000.0

MANY = tuple([f"m{number}" for number in range(3, 30)])  # names that are all alike

#: Zones with oddities that are of interest where they are signed.
SIGNED_ODDITIES: dict[str, dict[str, Any]] = {
    **{name: records for name, records in ODDITIES.items() if name.partition(".")[0] not in MANY},
    "elsewhere.net": {"NS": "ns1.example.com"},
    "www.elsewhere.net": {"A": "192.0.2.30", "AAAA": "2001:db8::30"},
    "secure.example.com": {
        "NS": "ns.elsewhere.net",
        "DS": "12345 13 2 49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE5A3C2F3D2F1B0C7B9B5A1E2F",
    },
    "plain.example.com": {"SOA": ODDITIES["example.com"]["SOA"], "NS": "ns1.example.com", "A": "192.0.2.40"},
    "www.plain.example.com": {"A": "192.0.2.41"},
    "toplain.example.com": {"CNAME": "www.plain.example.com"},
    "tochild.example.com": {"CNAME": "www.child.example.com"},
    "intowild.other.test": {"CNAME": "some.wild.example.com"},
    "MiXed.example.com": {"MX": "5 Mail.ExAmPle.com", "SRV": "0 0 25 Mail.Example.com"},
    "naptr.example.com": {"NAPTR": '10 20 "u" "E2U+sip" "!^.*$!sip:a@Example.com!" Up.Example.COM.'},
    "a.*.star.example.com": {"TXT": "below a wildcard without records"},
    f"{'n' * 63}.{'o' * 63}.{'p' * 63}.{'q' * 49}.example.com": {"A": "192.0.2.50"},
    "dn.example.com": {"DNAME": "wild.example.com", "TXT": "beside it"},
    "dn.other.test": {"DNAME": "example.com"},
    "todn.example.com": {"CNAME": "x.dn.example.com"},
    "*.ent2.deep.example.com": {"TXT": "x"},
}
#: Delegated to servers that nobody runs.
UNREACHABLE = ("sub.example.com", "noglue.example.com", "secure.example.com")
SIGNED_ZONES = ("example.com", "child.example.com", "other.test")


def sign(tables: Tables, apexes: Iterable[str], *, keys: str = "csk", algorithm: str = "ecdsap256",
         denial: str = "nsec", now: float = NOW) -> None:  # fmt: skip
    """Have zones of these tables signed, the parents' DS records included."""
    for name in apexes:
        apex = parse_owner(name)
        state = first_state(keys, ALGORITHMS[algorithm], now)
        for one in state.entry_points():
            state = state.with_changed(one, published_at=now, ds_asked_at=now, ds_seen_at=now)
        zone = tables.zones[apex]
        made = zone_keys(apex, state)
        signing = zone.signing = ZoneSigning(tables, zone, made, Signatures(), denial=denial, life_days=14)
        signing.use(made, int(now // DAY_S))


def signed_processor(tables: Tables, kind: type[QueryProcessor] = QueryProcessor, **settings: Any) -> QueryProcessor:
    """Return a processor that answers from tables with signed zones."""
    responder = Responder(tables, {})
    responder.secure = SignedResponder(tables, {})
    return kind(responder, CookieJar(b"k" * 16), **settings)


def questions(records: Mapping[str, object]) -> list[str]:
    """Return the names of records, those above them, and names that are missing beside and below them."""
    found = set()
    for name in records:
        labels = name.lower().split(".")
        plain = name.lower().replace("*", "star")
        found |= {".".join(labels[at:]) for at in range(len(labels) - 1)}
        if len(name) < 230:
            found |= {f"x.{plain}", f"x.y.{plain}", f"{labels[0].replace('*', 'star')}0.{'.'.join(labels[1:])}"}
    return sorted(
        one for one in found if one == "other.test" or one.endswith((".example.com", ".other.test", ".elsewhere.net"))
    )


class Unbound:
    """A real unbound that validates: the zones of a name server on a port of 127.0.0.1, and nothing else."""

    def __init__(self, zones: Iterable[str], anchors: Iterable[str], server_port: int, port: int, directory: Path):
        self.port = port
        config = f"""server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  logfile: "{directory}/unbound.log"
  do-not-query-localhost: no
  module-config: "validator iterator"
  qname-minimisation: no
  val-log-level: 2
  num-threads: 1
  edns-buffer-size: 1232
  cache-max-ttl: 1
  cache-max-negative-ttl: 1
"""
        config += "".join([f'  trust-anchor: "{one}"\n' for one in anchors])
        config += "".join([f"  local-zone: {one}. nodefault\n" for one in ("test",)])
        config += "".join([f'stub-zone:\n  name: "{one}"\n  stub-addr: 127.0.0.1@{server_port}\n' for one in zones])
        config += "remote-control:\n  control-enable: no\n"
        (directory / "unbound.conf").write_text(config)
        self._log = directory / "unbound.log"
        self._process = subprocess.Popen([find("unbound") or "unbound", "-c", str(directory / "unbound.conf")])
        wait_until(self._listens, "unbound", process=self._process.pid)

    def ask(self, name: str, kind: str) -> dns.message.Message:
        """Return its answer. AD: secure; SERVFAIL: bogus."""
        query = dns.message.make_query(name, kind, want_dnssec=True)
        return dns.query.udp_with_fallback(query, "127.0.0.1", port=self.port, timeout=20)[0]

    def verdict(self, name: str, kind: str) -> str:
        """Return `secure`, `insecure` or `bogus`, and the rcode."""
        reply = self.ask(name, kind)
        if reply.rcode() == dns.rcode.SERVFAIL:
            return f"bogus {self._log.read_text()[-1500:]}"
        return f"{'secure' if reply.flags & dns.flags.AD else 'insecure'} {dns.rcode.to_text(reply.rcode())}"

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate(timeout=20)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
