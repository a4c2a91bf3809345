"""Databases in MaxMind's format, as another library writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from npserver.network_sets.database import Databases
from tests.stage.countries import write_countries

NONE: frozenset[Any] = frozenset()


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    path = tmp_path / "a.mmdb"
    write_countries(
        path,
        {
            "192.0.2.0/24": {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}},
            "198.51.100.0/24": {"country": "AT", "continent": "EU", "asn": "AS64500"},
            "203.0.113.0/24": {"country_code": "CH", "autonomous_system_number": 64501},
            "2001:db8::/32": {"country": {"iso_code": "DE"}},
        },
    )
    return path.read_bytes()


@pytest.mark.parametrize(
    ("countries", "continents", "asns", "inside"),
    [
        ({"DE"}, NONE, NONE, ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"]),
        ({"AT", "CH"}, NONE, NONE, ["198.51.100.1", "203.0.113.1"]),
        (NONE, {"EU"}, NONE, ["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1"]),
        (NONE, NONE, {64500, 64501}, ["198.51.100.1", "203.0.113.1"]),
    ],
)
def test_addresses_are_chosen_by_their_records(
    data: bytes, countries: frozenset[str], continents: frozenset[str], asns: frozenset[int], inside: list[str]
) -> None:
    found = Databases().choose(data, frozenset(countries), frozenset(continents), frozenset(asns))
    asked = ["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1", "203.0.113.1", "2001:db8::1", "10.0.0.1", "unix:", ""]
    assert [one for one in asked if one in found] == inside
    assert [one for one in asked if one in found] == inside  # from the cache


def test_ipv6_is_in_no_database_of_ipv4(tmp_path: Path) -> None:
    write_countries(tmp_path / "a.mmdb", {"192.0.2.0/24": {"country": "DE"}}, ip_version=4)
    found = Databases().choose((tmp_path / "a.mmdb").read_bytes(), frozenset({"DE"}), NONE, NONE)
    assert "192.0.2.1" in found
    assert "2001:db8::1" not in found


@pytest.mark.parametrize("cut", [0, 100, -10])
def test_what_is_no_database_says_so(data: bytes, cut: int) -> None:
    with pytest.raises(ValueError, match=r"MaxMind DB|tree"):
        Databases().choose(data[:cut], NONE, NONE, NONE)


@pytest.mark.parametrize("flip", [0xFF, 0x20, 0x01])
def test_damaged_data_is_no_database_or_gives_no_more_than_wrong_answers(data: bytes, flip: int) -> None:
    is_refused = set()
    for at in range(0, len(data), 3):
        broken = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
        try:
            found = Databases().choose(broken, frozenset({"DE"}), NONE, NONE)
        except ValueError:
            is_refused.add(True)
        else:
            is_refused.add(False)
            assert ("192.0.2.7" in found) in (True, False)
            assert 0 <= found.built_at < 1 << 40
    assert is_refused == {True, False}


def test_names_that_choose_from_one_database_share_it(data: bytes) -> None:
    databases = Databases()
    one = databases.choose(data, frozenset({"DE"}), NONE, NONE)
    other = databases.choose(bytes(bytearray(data)), frozenset({"AT"}), NONE, NONE)
    assert one._reader is other._reader
    assert ["192.0.2.7" in one, "192.0.2.7" in other] == [True, False]
