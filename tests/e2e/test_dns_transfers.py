"""Zones that clients transfer from the program: dig, kdig and dnspython, with keys, and only what has changed."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.tsig
import dns.xfr
import dns.zone
import pytest

from tests.conformance.test_dns_zone_files import ZONE
from tests.e2e.test_dns_zones import config, records, serial
from tests.stage.program import Program
from tests.stage.programs import needs

SECRET = b64encode(b"0123456789abcdef0123456789abcdef").decode()
KEYS = {"xfr": {"secret": SECRET}, "long.example": {"secret": SECRET, "algorithm": "hmac-sha512"}}
TEXT = ZONE.replace("2026010101", "{}") + "x A 10.0.0.{}\n"


class Primary:
    """The program with a zone file that only requests signed by a key may transfer."""

    def __init__(self, start: Callable[..., Program], port: int, directory: Path, **zone: Any) -> None:
        self.port, self.file = port, directory / "example.com.zone"
        self.write(1)
        keys = ["key:xfr", "key:long.example"]
        entry = {"name": "example.com", "file": str(self.file), "allow_transfer": keys, **zone}
        self.parts = config(port, dns_zones=[entry], dns_keys=KEYS, store=str(directory / "store"))
        own = directory / "primary"
        own.mkdir()
        self.program = start(config=self.parts, cwd=own)

    def write(self, number: int) -> None:
        self.file.write_text(TEXT.format(number, number))

    def change(self, number: int) -> None:
        self.write(number)
        self.program.wait_until(lambda: serial(self.port) == number, "the change")

    @property
    def expected(self) -> dict[str, list[str]]:
        return records(dns.zone.from_text(self.file.read_text(), "example.com", relativize=False))

    def transfer(self, zone: dns.zone.Zone, key: str = "xfr", algorithm: str = "hmac-sha256", **options: Any) -> None:
        query, _ = dns.xfr.make_query(zone, keyring=dns.tsig.Key(key, SECRET, algorithm))
        dns.query.inbound_xfr("127.0.0.1", zone, query, port=self.port, lifetime=20, **options)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [*words[:1], "@127.0.0.1", "-p", str(self.port), *words[1:]], capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr


@pytest.fixture
def primary(program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path) -> Primary:
    return Primary(program, free_port(), tmp_path)


def test_signed_transfers_are_whole_and_then_only_what_has_changed(primary: Primary) -> None:
    zones = [dns.zone.Zone("example.com", relativize=False) for _ in range(4)]
    for zone in zones:
        primary.transfer(zone)
        assert records(zone) == primary.expected
    primary.change(2)
    primary.transfer(zones[0], "long.example.", "hmac-sha512")
    primary.transfer(zones[1], udp_mode=dns.query.UDPMode.ONLY)
    for number in range(3, 6):
        primary.change(number)
    for zone in zones:
        primary.transfer(zone, udp_mode=dns.query.UDPMode.TRY_FIRST)
        assert records(zone) == primary.expected
    assert "sending zone example.com. to 127.0.0.1, key xfr (dns_zones[0].allow_transfer)" in primary.program.errors
    assert "changes of zone example.com. to 127.0.0.1, key long.example (dns_zones" in primary.program.errors


def test_what_is_not_signed_by_the_key_is_refused(primary: Primary) -> None:
    for key, algorithm in (("xfr", "hmac-sha512"), ("other", "hmac-sha256")):
        with pytest.raises(dns.tsig.PeerBadKey):
            primary.transfer(dns.zone.Zone("example.com", relativize=False), key, algorithm)
    with pytest.raises(dns.xfr.TransferError, match="REFUSED"):
        dns.query.inbound_xfr("127.0.0.1", dns.zone.Zone("example.com"), port=primary.port, lifetime=20)


@needs("kdig")
def test_kdig_transfers(primary: Primary) -> None:
    signed = ("-y", f"hmac-sha256:xfr:{SECRET}")
    whole = primary.run("kdig", *signed, "example.com", "AXFR")
    assert "WARNING" not in whole
    assert "x.example.com." in whole
    primary.change(2)
    for transport in ("+tcp", "+notcp"):
        changed = primary.run("kdig", *signed, "+noall", "+answer", transport, "example.com", "IXFR=1")
        lines = [line.split() for line in changed.splitlines() if line and line[0] != ";"]
        kinds = [(line[0].partition(".")[0], line[3]) for line in lines]
        soa, x = ("example", "SOA"), ("x", "A")
        assert kinds == [soa, soa, x, soa, x, soa], changed
        assert [line[4] for line in lines if line[3] == "A"] == ["10.0.0.1", "10.0.0.2"]
    wrong = primary.run("kdig", "-y", "hmac-sha256:xfr:AAAA", "example.com", "AXFR")
    assert "BADSIG" in wrong or "NOTAUTH" in wrong


@needs("dig")
def test_dig_transfers(primary: Primary) -> None:
    signed = ("-y", f"hmac-sha512:long.example:{SECRET}")
    whole = primary.run("dig", *signed, "+tcp", "example.com", "AXFR")
    assert "XFR size: " in whole
    assert "x.example.com." in whole
    assert "Couldn't verify signature" not in whole
    assert "status: NOERROR" in primary.run("dig", *signed, "example.com", "SOA")
    assert "Transfer failed" in primary.run("dig", "+tcp", "example.com", "AXFR")
