"""`dnssec` of `dns_zones`: what is refused, and what a check says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check
from npserver.errors import ConfigError
from npserver.nameserver.dnssec.state import decode, encode, first_state

RECORDS = {"example.com": {"NS": "ns1.example.com"}, "ns1.example.com": {"A": "192.0.2.1"}}


def problems(directory: Path, dnssec: Any, records: dict[str, Any] = RECORDS, **parts: Any) -> list[str]:
    file = directory / "c.json"
    zone = {"name": "example.com", "dnssec": dnssec, **parts}
    config = {
        "store": str(directory / "store"),
        "listen": [{"name": "u", "uri": "udp://127.0.0.1:5300"}],
        "dispatch": [{"listener": "u", "handler": "dns"}],
        "dns_zones": [zone],
        "dns": records,
    }
    file.write_text(json.dumps(config))
    try:
        found, served = check(str(file))
    except ConfigError as error:
        found, served = list(error.problems), []
    return [*[one.message for one in found], *[what for _, what in served]]


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ({"signature_life": "1d"}, RECORDS, "expected 3d to 60d, got 1d"),
    ({"signature_life": "90d"}, RECORDS, "expected 3d to 60d, got 90d"),
    ({"roll": "1d"}, RECORDS, 'expected "manual" or the age of a key, at least 7d'),
    ({"roll": "often"}, RECORDS, 'expected "manual" or the age of a key, at least 7d'),
    ({"roll_zsk": "30d"}, RECORDS, "no effect: the zone has one key"),
    ({"parent": ["ns.example.net"]}, RECORDS, "expected the IP address of a name server"),
    ({"parent": ["192.0.2.1:0"]}, RECORDS, "expected a port from 1 to 65535"),
    ({"parent": []}, RECORDS, "expected the addresses of name servers"),
    ({"parent": "ask"}, RECORDS, "manual"),
    ({"keys": "zsk"}, RECORDS, "csk"),
    ({"algorithm": "rsa"}, RECORDS, "ecdsap256"),
    ({"denial": "nsec5"}, RECORDS, "nsec3"),
    (True, {"example.com": {"A": "192.0.2.1"}}, "has no NS records"),
    (True, {**RECORDS, "a.example.com": {"TYPE47": "\\# 1 00"}}, "a record of type NSEC, which signing makes"),
    (True, {"example.com": {**RECORDS["example.com"], "TYPE48": "\\# 1 00"}}, "type DNSKEY, which signing makes"),
    (
        True,
        {"example.com": {**RECORDS["example.com"], "DS": f"1 13 2 {'00' * 32}"}},
        "has a DS record, which belongs to the zone above",
    ),
]


@pytest.mark.parametrize(("dnssec", "records", "message"), WRONG, ids=[one[2][:30] for one in WRONG])
def test_what_is_wrong_is_told(tmp_path: Path, dnssec: Any, records: dict[str, Any], message: str) -> None:
    assert any(message in one for one in problems(tmp_path, dnssec, records)), problems(tmp_path, dnssec, records)


def test_a_zone_of_another_server_is_signed_there(tmp_path: Path) -> None:
    told = problems(tmp_path, True, {}, primary="192.0.2.53")
    assert any("the zone has a 'primary': it is signed there" in one for one in told), told


def test_a_check_makes_no_keys(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, True)
    assert "example.com (signed, keys are made at the start)" in told
    assert not (tmp_path / "store").exists()


def test_a_check_reads_the_keys_of_the_store(tmp_path: Path) -> None:
    file = tmp_path / "store" / "dnssec" / "example.com.zone"
    file.parent.mkdir(parents=True, mode=0o700)
    file.parent.parent.chmod(0o700)
    file.write_bytes(encode(first_state("csk", 13, 1.0)))
    before = file.read_bytes()
    (told,) = problems(tmp_path, True)
    assert "example.com (signed)" in told
    changed = problems(tmp_path, {"keys": "ksk-zsk", "algorithm": "ed25519"})
    assert any("the keys of the zone are csk" in one for one in changed)
    assert any("the keys of the zone are ecdsap256" in one for one in changed)
    assert file.read_bytes() == before
    decode(before)
    file.write_bytes(before[:-30])
    (told,) = problems(tmp_path, True)
    assert str(file) in told
    assert "restore the file" in told
