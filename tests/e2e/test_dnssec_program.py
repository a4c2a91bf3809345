"""The whole program with signed zones, as real validators see it: unbound in front, ldns-verify-zone on transfers.

Covers `dns.zone.signed_transfer`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.message
import dns.name
import dns.query
import pytest

from npserver.cli.dns import main
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import find, needs
from tests.stage.signing import SIGNED_ODDITIES, SIGNED_ZONES, UNREACHABLE, Unbound, questions
from tests.stage.waiting import wait_until

Start = Callable[..., Program]
ALIASES = ("toplain.example.com", "ext.example.com")  # that lead to zones that are not signed
ZONES = (*SIGNED_ZONES, "plain.example.com", "elsewhere.net")


def config(port: int, store: Path, zones: list[Any], records: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "store": str(store),
        "listen": [{"name": "u", "uri": f"udp://127.0.0.1:{port}"}, {"name": "t", "uri": f"tcp://127.0.0.1:{port}"}],
        "dispatch": [{"listener": ["u", "t"], "handler": "dns", "allow_transfer": "127.0.0.1"}],
        "dns_zones": zones,
        "dns": records,
        **parts,
    }


def anchors(port: int, zones: tuple[str, ...]) -> list[str]:
    """Return the DS record of each zone, in the form of a zone file."""
    found = []
    for zone in zones:
        reply = dns.query.udp(dns.message.make_query(zone, "DNSKEY"), "127.0.0.1", port=port, timeout=20)
        (entry,) = [one for one in reply.answer[0] if one.flags & 1]
        found.append(f"{zone}. DS {dns.dnssec.make_ds(dns.name.from_text(zone), entry, 'SHA256')}")
    return found


@pytest.fixture
def unbound(tmp_path: Path) -> Iterator[Callable[..., Unbound]]:
    started: list[Unbound] = []

    def start(zones: tuple[str, ...], trusted: list[str], server_port: int) -> Unbound:
        directory = tmp_path / f"unbound{len(started)}"
        directory.mkdir()
        started.append(Unbound(zones, trusted, server_port, free_port(), directory))
        return started[-1]

    yield start
    for one in started:
        one.close()


def transfer(port: int, zone: str, file: Path) -> str:
    """Write a zone as it is transferred to a file in the canonical form; return the text."""
    messages = dns.query.xfr("127.0.0.1", zone, port=port, relativize=False, lifetime=30)
    lines = [rrset.to_text() for message in messages for rrset in message.answer]
    text = "\n".join(lines[:-1]) + "\n"  # without the SOA at the end
    file.write_text(text)
    return text


def is_asked(name: str, kind: str) -> bool:
    """Whether unbound can find the answer: it reaches no server for others' names, and refuses aliases in a circle."""
    if name.startswith(("loop", "self", "tosub.")):
        return False
    if kind == "CNAME" and name.endswith((".dn.example.com", ".dn.other.test")):
        return False  # it takes the CNAME that is made of a DNAME, which is not signed, for a forgery
    if kind == "DS":
        return not name.endswith(tuple(f".{one}" for one in UNREACHABLE)) and name.count(".") > 1
    return not name.endswith(UNREACHABLE)


@needs("unbound", "ldns-verify-zone")
@pytest.mark.parametrize(
    ("denial", "keys", "algorithm"), [("nsec", "csk", "ecdsap256"), ("nsec3", "ksk-zsk", "ed25519")]
)
def test_unbound_finds_every_answer_secure(
    program: Start, unbound: Callable[..., Unbound], tmp_path: Path, denial: str, keys: str, algorithm: str
) -> None:
    port = free_port()
    dnssec = {"denial": denial, "keys": keys, "algorithm": algorithm}
    zones = [{"name": one, "dnssec": dnssec} if one in SIGNED_ZONES else one for one in ZONES]
    program(config=config(port, tmp_path / "store", zones, SIGNED_ODDITIES))
    # the zone above asks for the DS record of the child when all caches have its key: until then it needs an anchor
    validator = unbound(ZONES, anchors(port, SIGNED_ZONES), port)
    count = 0
    for name in questions(SIGNED_ODDITIES):
        insecure = f".{name}".endswith((".plain.example.com", ".elsewhere.net")) or name in ALIASES
        for kind in ("A", "TXT", "CNAME", "DS"):
            if name in ALIASES and kind in ("CNAME", "DS"):
                continue  # the alias is signed, what it leads to is not
            if is_asked(name, kind) and not (name.endswith("plain.example.com") and kind == "DS"):
                verdict = validator.verdict(name, kind)
                assert verdict.split()[0] == ("insecure" if insecure else "secure"), (name, kind, verdict)
                count += 1
    assert count > 400
    for zone in SIGNED_ZONES:
        file = tmp_path / f"{zone}.zone"
        whole = transfer(port, zone, file)
        verified = subprocess.run(
            [find("ldns-verify-zone") or "", str(file)], capture_output=True, text=True, timeout=60
        )
        assert verified.returncode == 0, verified.stderr
        for _ in range(4):  # by any of the workers, byte for byte
            assert transfer(port, zone, tmp_path / "again") == whole


@needs("unbound")
def test_unbound_refuses_a_zone_of_another_key(program: Start, unbound: Callable[..., Unbound], tmp_path: Path) -> None:
    port = free_port()
    records = {"example.com": {"NS": "ns1.example.com"}, "ns1.example.com": {"A": "192.0.2.1"}}
    program(config=config(port, tmp_path / "store", [{"name": "example.com", "dnssec": True}], records))
    (right,) = anchors(port, ("example.com",))
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    assert unbound(("example.com",), [right], port).verdict("ns1.example.com", "A") == "secure NOERROR"
    assert unbound(("example.com",), [wrong], port).verdict("ns1.example.com", "A").startswith("bogus")


def test_keys_stay_over_a_restart(program: Start, tmp_path: Path) -> None:
    port = free_port()
    wanted = config(
        port, tmp_path / "store", [{"name": "example.com", "dnssec": True}], {"example.com": {"A": "192.0.2.1"}}
    )
    first = program(config=wanted)
    before = anchors(port, ("example.com",))
    first.stop()
    program(config=wanted)
    assert anchors(port, ("example.com",)) == before


def test_all_workers_take_a_new_key(program: Start, tmp_path: Path) -> None:
    port = free_port()
    zones = [{"name": "example.com", "dnssec": {"keys": "ksk-zsk"}}]
    running = program(config=config(port, tmp_path / "store", zones, {"example.com": {"NS": "ns.elsewhere.net"}}))
    assert main(["roll", "example.com", "-zsk", "-config", str(running.config_file)]) == 0

    def keys() -> int:
        reply = dns.query.tcp(dns.message.make_query("example.com", "DNSKEY"), "127.0.0.1", port=port, timeout=20)
        return len(reply.answer[0])

    wait_until(lambda: all(keys() == 3 for _ in range(10)), "new key in all workers")
    assert main(["roll", "example.com", "-zsk", "-config", str(running.config_file)]) == 1
