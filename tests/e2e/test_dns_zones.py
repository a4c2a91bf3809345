"""The whole program with zones that are not in its config: zone files, by AXFR and UDP, with two workers.

Covers `nameserver.zones.messages`, `nameserver.zones.replica`, `nameserver.zones.service`, `runtime.zone_states`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.zone

from tests.conformance.test_dns_zone_files import ZONE
from tests.stage.program import Program

Start = Callable[..., Program]


def config(port: int, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [{"name": "u", "uri": f"udp://127.0.0.1:{port}"}, {"name": "t", "uri": f"tcp://127.0.0.1:{port}"}],
        "dispatch": [{"listener": ["u", "t"], "handler": "dns", "allow_transfer": "127.0.0.1"}],
        **parts,
    }


def records(zone: dns.zone.Zone) -> dict[str, list[str]]:
    return {f"{name} {one.ttl} {one.rdtype.name}": sorted(map(str, one)) for name, one in zone.iterate_rdatasets()}


def test_a_zone_file_is_served_whole(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(ZONE)
    port = free_port()
    program(config=config(port, dns_zones=[{"name": "example.com", "file": str(tmp_path / "example.com.zone")}]))
    expected = dns.zone.from_text(ZONE, "example.com", relativize=False)
    served = dns.zone.Zone("example.com", relativize=False)
    dns.query.inbound_xfr("127.0.0.1", served, port=port, lifetime=20)
    assert records(served) == records(expected)
    for name, kind in (("www.example.com", "A"), ("a.wild.example.com", "TXT"), ("_443._tcp.example.com", "TLSA")):
        reply = dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=20)
        assert reply.answer, name


def ask(port: int, name: str, kind: str) -> dns.message.Message:
    """Ask by UDP as resolvers do: again, if there is no answer, as a worker that is killed has not given one."""
    for _ in range(9):
        try:
            return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=2)
        except dns.exception.Timeout:
            continue
    return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=20)


def serial(port: int) -> int:
    return int(ask(port, "example.com", "SOA").answer[0][0].serial)


def addresses(port: int, name: str, times: int = 20) -> set[str]:
    """Return what several workers answer: each question comes from another port."""
    found = set()
    for _ in range(times):
        reply = ask(port, name, "A")
        found |= {str(one) for records in reply.answer for one in records} or {dns.rcode.to_text(reply.rcode())}
    return found


def test_a_zone_file_is_followed(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """By all workers, one that starts later and a restart too; the serial only grows, and a fault changes nothing."""
    file, included = tmp_path / "example.com.zone", tmp_path / "more"
    included.write_text("more A 10.1.1.1\n")
    text = ZONE.replace("2026010101", "{}") + "$INCLUDE more\nx A 10.0.0.{}\n"
    file.write_text(text.format(5, 1))
    port = free_port()
    parts = config(port, dns_zones=[{"name": "example.com", "file": str(file)}], store=str(tmp_path / "store"))
    one = program(config=parts)
    assert (serial(port), addresses(port, "x.example.com")) == (5, {"10.0.0.1"})

    file.write_text(text.format(9, 2))
    one.wait_until(lambda: addresses(port, "x.example.com") == {"10.0.0.2"}, "the new records")
    assert serial(port) == 9

    file.write_text(text.format(9, 3) + "y A 10.0.0.9\n")  # the serial stays
    one.wait_until(lambda: addresses(port, "x.example.com") == {"10.0.0.3"}, "the next records")
    assert (serial(port), addresses(port, "y.example.com")) == (10, {"10.0.0.9"})
    one.wait_until(lambda: "serial 10, as the file has 9, which is not newer: raise it there" in one.errors, "advice")

    file.write_text(text.format(20, 4) + "y A 10.0.0.x\n")
    line = len(text.splitlines()) + 1
    one.wait_until(
        lambda: f"{file}:{line}: Text input is malformed.; the zone example.com. stays" in one.errors, "fault"
    )
    assert (serial(port), addresses(port, "x.example.com")) == (10, {"10.0.0.3"})

    included.write_text("more A 10.1.1.2\n")
    file.write_text(text.format(11, 3))
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.1.1.2"}, "what is included")
    assert addresses(port, "y.example.com") == {"NXDOMAIN"}

    for killed in one.children():  # the controller, too
        os.kill(killed, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and killed not in one.children(), "its successor")  # noqa: B023
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.1.1.2"}, "its records")
    assert addresses(port, "x.example.com") == {"10.0.0.3"}

    included.write_text("more A 10.1.1.3\n")
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.1.1.3"}, "what is included")
    assert serial(port) == 12
    one.stop()
    one = program(config=parts)
    one.wait_until(lambda: serial(port) == 12, "the serial of the last run")
    assert addresses(port, "more.example.com") == {"10.1.1.3"}
