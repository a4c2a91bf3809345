"""Zones that the program transfers from a primary, itself: two programs, with keys, under change, over restarts.

Covers `nameserver.transfers.secondary`, `nameserver.transfers.secondaries`, `nameserver.transfers.notifying`,
`nameserver.transfers.hearing`, `nameserver.transfers.client`, `nameserver.transfers.peers`,
`nameserver.transfers.kept`, `nameserver.zones.elsewhere`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.zone
import pytest

from tests.e2e.test_dns_transfers import KEYS, Primary
from tests.e2e.test_dns_zones import addresses, config, records, serial
from tests.stage.program import Program

Start = Callable[..., Program]


def transferred(port: int) -> dict[str, list[str]]:
    zone = dns.zone.Zone("example.com", relativize=False)
    dns.query.inbound_xfr("127.0.0.1", zone, port=port, lifetime=20)
    return records(zone)


def rcode(port: int, name: str = "x.example.com") -> str:
    reply = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=20)
    return dns.rcode.to_text(reply.rcode())


def secondary(primary_port: int, port: int, directory: Path, **parts: Any) -> dict[str, Any]:
    zone = {"name": "example.com", "primary": {"address": f"127.0.0.1:{primary_port}", "key": "xfr"}}
    return config(
        port,
        dns_zones=[{**zone, **parts}],
        dns_keys=KEYS,
        store=str(directory / "secondary"),
        dns={"nas.home": {"A": "10.0.0.9"}},
    )


def test_a_zone_is_transferred_and_followed(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    ports = free_port(), free_port()
    made = secondary(*ports, tmp_path)
    one = program(config=made)
    assert {rcode(ports[1]) for _ in range(10)} == {"SERVFAIL"}  # it was never there
    assert {rcode(ports[1], "nas.home") for _ in range(10)} == {"NOERROR"}
    one.wait_until(lambda: "zone example.com. is not transferred: 127.0.0.1" in one.errors, "what is wrong")

    notify = {"notify": {"address": f"127.0.0.1:{ports[1]}", "key": "xfr"}}
    primary = Primary(program, ports[0], tmp_path, **notify)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.1"}, "the first transfer")
    assert transferred(ports[1]) == primary.expected
    assert "zone example.com. has serial 1, before 0: the whole zone from 127.0.0.1" in one.errors
    for number in range(2, 6):
        primary.change(number)
        one.wait_until(lambda: addresses(ports[1], "x.example.com") == {f"10.0.0.{number}"}, "the next records")  # noqa: B023
        assert serial(ports[1]) == number
    assert transferred(ports[1]) == primary.expected
    assert "zone example.com. has serial 5, before 4: its changes from 127.0.0.1" in one.errors

    one.configure({**made, "dns": {"nas.home": {"A": "10.0.0.10"}}})
    assert addresses(ports[1], "x.example.com") == {"10.0.0.5"}
    for killed in one.children():
        os.kill(killed, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and killed not in one.children(), "its successor")  # noqa: B023
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.5"}, "its records")
    primary.change(6)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.6"}, "the next records")
    store = tmp_path / "secondary"
    one.wait_until(lambda: "dns" in os.listdir(store), "the store")


def test_a_zone_is_served_from_the_store_until_it_expires(
    program: Start, free_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = free_port(), free_port()
    primary = Primary(program, ports[0], tmp_path)
    made = secondary(*ports, tmp_path)
    one = program(config=made)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.1"}, "the first transfer")
    one.stop()
    primary.program.stop()
    one = program(config=made)
    assert addresses(ports[1], "x.example.com") == {"10.0.0.1"}  # from the store, at once
    assert transferred(ports[1]) == primary.expected
    one.stop()
