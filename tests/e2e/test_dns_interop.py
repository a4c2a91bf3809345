"""Zones between npserver and NSD, Knot and BIND, in both directions, under a storm of changes: all records are equal.

Transfers are signed, whole at first and then of what has changed, and follow each other by NOTIFY.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import dns.zone
import pytest

from tests.e2e.test_dns_secondaries import secondary
from tests.e2e.test_dns_transfers import SECRET, TEXT, Primary
from tests.e2e.test_dns_zones import serial
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.zone_servers import running

Start = Callable[..., Program]
STORM = 25
PROGRAMS = [pytest.param(name, marks=needs(name)) for name in ("nsd", "knotd", "named")]


def records(port: int) -> list[str]:
    zone = dns.zone.Zone("example.com", relativize=False)
    dns.query.inbound_xfr("127.0.0.1", zone, port=port, lifetime=20)
    return sorted(f"{name} {ttl} {rdata.rdtype.name} {rdata}".lower() for name, ttl, rdata in zone.iterate_rdatas())


def update(port: int, number: int) -> None:
    message = dns.update.UpdateMessage("example.com", keyring=dns.tsig.Key("xfr", SECRET, "hmac-sha256"))
    message.replace("x", 60, "A", f"10.1.{number // 250}.{number % 250}")
    message.add(f"host{number}", 300, "TXT", f'"number {number}"')
    message.add("many", 300 + number % 3, "A", f"10.2.0.{number % 250}")
    if number > 5:
        message.delete(f"host{number - 5}")
    reply = dns.query.tcp(message, "127.0.0.1", port=port, timeout=20)
    assert reply.rcode() == dns.rcode.NOERROR


@pytest.mark.parametrize("name", PROGRAMS)
def test_they_follow_our_zone(name: str, program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    ports = free_port(), free_port()
    more = {
        "allow_transfer": ["key:xfr", "127.0.0.1"],
        "notify": {"address": f"127.0.0.1:{ports[1]}", "key": "xfr"},
        "updates": [{"key": "xfr", "types": "any"}],
    }
    primary = Primary(program, ports[0], tmp_path, **more)
    with running(name, tmp_path / name, ports[1], ports[0], SECRET) as other:
        other.wait_for(1)
        other.wait_until(lambda: other.records() == records(ports[0]), "the same records")
        for number in range(STORM):
            update(ports[0], number)
        last = serial(ports[0])
        assert last == 1 + STORM
        other.wait_for(last)
        other.wait_until(lambda: other.records() == records(ports[0]), "the same records")
        primary.write(100)
        primary.program.wait_until(lambda: serial(ports[0]) == 100, "the change of the file")
        other.wait_for(100)
        other.wait_until(lambda: other.records() == records(ports[0]), "the same records")
        primary.program.wait_for("sending changes of zone example.com. to 127.0.0.1, key xfr")


def text(number: int) -> str:
    """A zone file of many records, of which some come, go and change with each number."""
    hosts = [*range(40), 100 + number, 200 + number % 3]
    lines = [f"host{one} {number if one >= 200 else 300} A 10.2.{one}.1" for one in hosts]
    return TEXT.format(number, number) + "\n".join([*lines, f"many TXT {'a' * 200} {number}", ""])


@pytest.mark.parametrize("name", PROGRAMS)
def test_we_follow_their_zone(name: str, program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    ports = free_port(), free_port()
    with running(name, tmp_path / name, ports[0], ports[1], SECRET, text(1)) as other:
        other.wait_for(1)
        one = program(config=secondary(*ports, tmp_path))
        one.wait_until(lambda: _serial(ports[1]) == 1, "the first transfer")
        other.wait_until(lambda: records(ports[1]) == other.records(), "the same records")
        for number in range(2, 2 + STORM):
            other.reload(text(number))
            if number % 4 == 0:
                other.wait_for(number)
        other.wait_for(1 + STORM)
        one.wait_until(lambda: _serial(ports[1]) == 1 + STORM, "the last change")
        other.wait_until(lambda: records(ports[1]) == other.records(), "the same records")
        other.reload(text(2 + STORM))
        one.wait_until(lambda: _serial(ports[1]) == 2 + STORM, "one more change")
        assert records(ports[1]) == other.records()
        if name != "nsd":  # which makes no differences of zone files that it reads again on a signal
            one.wait_for("its changes from 127.0.0.1")


def _serial(port: int) -> int:
    reply = dns.query.udp(dns.message.make_query("example.com", "SOA"), "127.0.0.1", port=port, timeout=20)
    return reply.answer[0][0].serial if reply.answer else 0
