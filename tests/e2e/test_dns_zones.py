"""The whole program with zones that are not in its config: zone files, by AXFR and UDP, with two workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
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
