"""`dns_zones` compiled: names and objects, and the messages about what is wrong, each with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.nameserver.test_compile import LISTEN, check, config

HEAD = "$TTL 300\n@ SOA ns hostmaster 5 3600 600 604800 300\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.zone"
    path.write_text(HEAD + "www A 10.0.0.1\n")
    return path


def of_file(file: Path, **parts: Any) -> dict[str, Any]:
    return config(**{"dns": {}, "dns_zones": [{"name": "example.test", "file": str(file)}], **parts})


def test_names_and_objects_may_stand_together(file: Path) -> None:
    zones = ["a.test", {"name": "b.test"}, {"name": "example.test", "file": str(file)}]
    assert check(of_file(file, dns_zones=zones, dns={"x.a.test": {"A": "10.0.0.1"}})) == []


@pytest.mark.parametrize(
    ("zones", "message"),
    [
        ([{"name": "a b"}], "expected a domain name, got 'a b'"),
        (["lan", {"name": "LAN."}], "'LAN.' is given twice"),
        ([{"file": "x"}], "name"),
        ([{"name": "a.test", "fil": "x"}], "did you mean 'file'"),
        ([{"name": "a.test", "file": "gone.zone"}], "gone.zone': no such file or directory"),
        ([7], "'dns_zones': expected a string or an object, got 7"),
    ],
)
def test_what_is_wrong_is_said(zones: Any, message: str) -> None:
    assert any(message in one for one in check(config(dns_zones=zones))), check(config(dns_zones=zones))


def test_faults_of_a_file_have_their_place_in_it(file: Path) -> None:
    file.write_text(HEAD + "www A 10.0.0.x\n")
    (said,) = check(of_file(file))
    assert f"{file}:3: malformed: 'www A 10.0.0.x'" in said


def test_nothing_else_is_said_of_a_file_that_is_missing(tmp_path: Path) -> None:
    zones = [{"name": "example.test", "file": "gone"}]
    (said,) = check(config(dns_zones=zones, store=str(tmp_path / "store")))
    assert "no such file or directory" in said


def test_records_of_the_zone_stand_in_its_file_alone(file: Path) -> None:
    records = {"www.example.test": {"A": "10.0.0.9"}, "other.test": {"A": "10.0.0.9"}}
    views = [{"from": "10.0.0.0/8", "dns": {"a.b.example.test": {"A": "10.0.0.9"}}}]
    said = check(of_file(file, dns=records, dns_views=views))
    assert len(said) == 2
    for one in said:
        assert "the records of its zone are in the file" in one
        assert "(dns_zones[0].file): write it there" in one


def test_a_zone_of_its_own_below_may_be_in_the_config(file: Path) -> None:
    zones = [{"name": "example.test", "file": str(file)}, "sub.example.test"]
    assert check(of_file(file, dns_zones=zones, dns={"x.sub.example.test": {"A": "10.0.0.9"}})) == []


def test_a_set_that_fits_no_message(file: Path) -> None:
    file.write_text(HEAD + "".join(f"big TXT {number:04}{'x' * 200}\n" for number in range(400)))
    (said,) = check(of_file(file))
    assert "big.example.test.: more records than a message can hold (60000 bytes)" in said


def test_what_is_left_out_is_a_warning(file: Path) -> None:
    file.write_text(HEAD + "a.elsewhere. A 10.0.0.1\n")
    (said,) = check(of_file(file))
    assert f"{file}:3: 'a.elsewhere.' is not in the zone, and left out" in said


def test_names_of_such_a_zone_are_not_published(file: Path) -> None:
    parts = of_file(file, listen=[*LISTEN, {"name": "w", "uri": "http://127.0.0.1:8080"}])
    parts["dispatch"].append({"listener": "w", "host": "web.example.test", "handler": "respond", "publish": True})
    said = check(parts)
    assert any(
        "'publish': 'web.example.test' cannot be published, as the records of its zone are in the file" in one
        for one in said
    ), said


KEYS = {"dhcp": {"secret": "c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmctZW5vdWdo"}}


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ([{"key": "dhpc"}], "unknown key 'dhpc', did you mean 'dhcp'?"),
        ([{"key": []}], "expected the name of a key, got an empty list: nobody could update the zone"),
        ([{"key": "dhcp", "names": ["a.example.test", "b.test"]}], "'b.test' is not in the zone example.test"),
        (
            [{"key": "dhcp", "names": "*.dyn"}],
            "is not in the zone example.test: write the whole name, such as '*.dyn.ex",
        ),
        ([{"key": "dhcp", "types": "AAAAA"}], "unknown record type 'AAAAA', did you mean 'AAAA'?"),
        ([{"key": "dhcp", "types": "DHCDI"}], "unknown record type 'DHCDI', did you mean 'DHCID'?"),
        ([{"names": "self"}], "'updates' needs \"key\""),
        ({"key": "dhcp"}, "expected a list"),
    ],
)
def test_what_is_wrong_with_updates_is_said(tmp_path: Path, updates: Any, message: str) -> None:
    zones = [{"name": "example.test", "updates": updates}]
    said = check(config(dns_zones=zones, dns_keys=KEYS, store=str(tmp_path / "store")))
    assert any(message in one for one in said), said


def test_a_zone_that_is_updated_is_not_published(tmp_path: Path) -> None:
    zones = [{"name": "example.test", "updates": [{"key": "dhcp"}]}]
    listen = [*LISTEN, {"name": "w", "uri": "http://127.0.0.1:8080"}]
    parts = config(dns_zones=zones, dns_keys=KEYS, listen=listen, store=str(tmp_path / "store"))
    parts["dispatch"].append({"listener": "w", "host": "web.example.test", "handler": "respond", "publish": True})
    assert any("as the records of its zone are in the config and updates of it" in one for one in check(parts))


@pytest.mark.parametrize("key", ["dnssec", "updates"])
def test_a_signed_file_is_served_as_it_is(file: Path, key: str) -> None:
    signature = "SOA 13 2 300 20370101000000 20260101000000 7 example.test. c2lnbmF0dXJl"
    file.write_text(HEAD + f"@ RRSIG {signature}\n@ NS ns.elsewhere.net.\n@ NSEC @ SOA NS RRSIG NSEC\n")
    zone = {"name": "example.test", "file": str(file)}
    keys = {"k": {"secret": "MDEyMzQ1Njc4OWFiY2RlZg=="}}
    assert check(of_file(file, dns_zones=[zone])) == []
    zone[key] = True if key == "dnssec" else [{"key": "k"}]  # type: ignore[assignment]
    (said,) = check(of_file(file, dns_zones=[zone], dns_keys=keys))
    assert f"is signed already (RRSIG records): leave {key!r} out, as its records are served as they are" in said
