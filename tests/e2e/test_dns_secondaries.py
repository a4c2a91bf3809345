"""Zones that the program transfers from a primary, itself: two programs, with keys, under change, over restarts.

Covers `nameserver.transfers.secondary`, `nameserver.transfers.secondaries`, `nameserver.transfers.notifying`,
`nameserver.transfers.hearing`, `nameserver.transfers.client`, `nameserver.transfers.peers`,
`nameserver.transfers.kept`, `nameserver.zones.elsewhere`, `web.handlers.status.zones`.
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
import httpx

from npserver.dns.message.name import parse_owner
from npserver.nameserver.transfers.kept import KeptZone
from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles
from tests.e2e.test_dns_transfers import KEYS, Primary
from tests.e2e.test_dns_zones import addresses, config, records, serial
from tests.stage.program import Program

Start = Callable[..., Program]
APEX = parse_owner("example.com")


def transferred(port: int) -> dict[str, list[str]]:
    zone = dns.zone.Zone("example.com", relativize=False)
    dns.query.inbound_xfr("127.0.0.1", zone, port=port, lifetime=20)
    return records(zone)


def rcode(port: int, name: str = "x.example.com") -> str:
    reply = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=20)
    return dns.rcode.to_text(reply.rcode())


def _is_after_reload(port: int, address: str) -> bool:
    """Whether all workers have the new config; the zone is there all the time."""
    assert addresses(port, "x.example.com") == {address}
    return addresses(port, "nas.home") == {"10.0.0.10"}


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
    status = free_port()
    made["listen"].append({"name": "s", "uri": f"http://127.0.0.1:{status}"})
    made["dispatch"].append({"listener": "s", "handler": "status"})
    one = program(config=made)
    assert {rcode(ports[1]) for _ in range(10)} == {"SERVFAIL"}  # it was never there
    assert {rcode(ports[1], "nas.home") for _ in range(10)} == {"NOERROR"}
    one.wait_until(lambda: "zone example.com. is not transferred: 127.0.0.1" in one.errors, "what is wrong")

    notify = {"notify": {"address": f"127.0.0.1:{ports[1]}", "key": "xfr"}}
    primary = Primary(program, ports[0], tmp_path, **notify)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.1"}, "the first transfer")
    assert transferred(ports[1]) == primary.expected
    one.wait_for("zone example.com. has serial 1, before 0: the whole zone from 127.0.0.1")
    for number in range(2, 6):
        primary.change(number)
        one.wait_until(lambda: addresses(ports[1], "x.example.com") == {f"10.0.0.{number}"}, "the next records")  # noqa: B023
        assert serial(ports[1]) == number
    assert transferred(ports[1]) == primary.expected
    one.wait_for("zone example.com. has serial 5, before 4: its changes from 127.0.0.1")

    one.configure({**made, "dns": {"nas.home": {"A": "10.0.0.10"}}})
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: _is_after_reload(ports[1], "10.0.0.5"), "the reload")
    primary.change(6)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.6"}, "the next records")
    for killed in one.children():
        os.kill(killed, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and killed not in one.children(), "its successor")  # noqa: B023
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.6"}, "its records")
    primary.change(7)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.7"}, "the next records")
    shown = httpx.get(f"http://127.0.0.1:{status}/status?format=json", timeout=20).json()
    (zone,) = shown["zones"]
    assert (zone["name"], zone["source"], zone["serial"]) == ("example.com.", f"127.0.0.1:{ports[0]}", 7)
    assert zone["next_refresh"] > zone["confirmed"]
    assert {one["result"] for one in shown["metrics"]["npserver_dns_transfers_total"]} >= {"received", "failed", "sent"}
    notify = {one["result"]: one["value"] for one in shown["metrics"]["npserver_dns_notify_total"]}
    assert notify["received"] >= 6
    assert shown["metrics"]["npserver_dns_zone_serial"] == [{"zone": "example.com.", "value": 7}]
    page = httpx.get(f"http://127.0.0.1:{status}/status?format=html", timeout=20).text
    assert "<h2>Zones</h2>" in page


def test_a_zone_is_served_from_the_store_until_it_expires(
    program: Start, free_port: Callable[[], int], tmp_path: Path
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

    store, kept = DirectoryStore(StoreFiles(str(tmp_path / "secondary")), in_threads=False), KeptZone(APEX)
    assert kept.read(store.files.read) is not None
    finish(kept.confirm(store, 1_000_000_000.0))  # many years ago
    one = program(config=made)
    assert {rcode(ports[1]) for _ in range(10)} == {"SERVFAIL"}
    assert {rcode(ports[1], "nas.home") for _ in range(10)} == {"NOERROR"}


def test_a_zone_is_transferred_over_tls(
    program: Start, free_port: Callable[[], int], tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    """RFC 9103; a certificate of another name is refused."""
    ports, secure = (free_port(), free_port()), free_port()
    certificate = certificates("ns.example.com")
    primary = Primary(program, ports[0], tmp_path)
    primary.program.configure(
        {
            **primary.parts,
            "tls": certificate.config,
            "listen": [*primary.parts["listen"], {"name": "x", "uri": f"ssl://127.0.0.1:{secure}"}],
            "dispatch": [{**primary.parts["dispatch"][0], "listener": ["u", "t", "x"]}],
        }
    )
    primary.program.send_signal(signal.SIGHUP)
    tls = {"ca": str(certificate.ca), "server_name": "ns.example.com"}
    made = secondary(secure, ports[1], tmp_path)
    made["dns_zones"][0]["primary"]["tls"] = {**tls, "server_name": "other.example.com"}
    one = program(config=made)
    one.wait_until(lambda: "certificate verify failed" in one.errors, "the wrong name")
    assert rcode(ports[1]) == "SERVFAIL"
    made["dns_zones"][0]["primary"]["tls"] = tls
    one.configure(made)
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.1"}, "the transfer")
    assert transferred(ports[1]) == primary.expected


def test_two_primaries_are_asked_in_turn(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """One that is down, and one whose key is another, keep nobody from the third."""
    ports, wrong = (free_port(), free_port()), free_port()
    (tmp_path / "wrong").mkdir()
    Primary(program, wrong, tmp_path / "wrong", allow_transfer="key:long.example")
    primary = Primary(program, ports[0], tmp_path)
    made = secondary(ports[0], ports[1], tmp_path)
    zone = made["dns_zones"][0]
    zone["primary"] = [f"127.0.0.1:{free_port()}", {"address": f"127.0.0.1:{wrong}", "key": "xfr"}, zone["primary"]]
    one = program(config=made)
    one.wait_until(lambda: addresses(ports[1], "x.example.com") == {"10.0.0.1"}, "the transfer")
    assert transferred(ports[1]) == primary.expected
