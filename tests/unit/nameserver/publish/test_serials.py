"""Serials that rise with each change of a zone."""

from __future__ import annotations

from typing import Any

from npserver.dns.message.name import parse_owner
from npserver.dns.zone.tables import Tables
from npserver.nameserver.publish.serials import (
    FIRST,
    digests,
    given_serials,
    next_serials,
    serials_of,
    set_serials,
)
from npserver.nameserver.publish.state import Serial
from tests.stage.nameserver import SOA, tables_of

KEY = parse_owner("example.com")
NAME = "example.com."
NOW = 1_700_000_000.5


def zone(address: str = "192.0.2.1", **apex: Any) -> Tables:
    return tables_of({"example.com": {"MX": "mail.example.com", **apex}, "www.example.com": {"A": address}})


def serial_of(tables: Tables) -> int:
    (soa,) = tables.zones[KEY].apex.sets[6][1]
    assert tables.zones[KEY].soa[1] == (soa,)
    return int.from_bytes(soa[-20:-16], "big")


class TestDecidedByTheController:
    def test_the_first_is_the_time(self) -> None:
        assert next_serials({}, {NAME: 7}, {}, NOW) == {NAME: Serial(1_700_000_000, 7)}

    def test_it_rises_with_the_content_alone(self) -> None:
        before = {NAME: Serial(1_700_000_000, 7)}
        assert next_serials(before, {NAME: 7}, {}, NOW + 99) == before
        assert next_serials(before, {NAME: 8}, {}, NOW + 99) == {NAME: Serial(1_700_000_001, 8)}

    def test_it_rises_when_the_clock_was_set_back(self) -> None:
        assert next_serials({NAME: Serial(1_700_000_000, 7)}, {NAME: 8}, {}, 0.0)[NAME].number == 1_700_000_001

    def test_that_of_the_config_counts_until_something_changes(self) -> None:
        first = next_serials({}, {NAME: 7}, {NAME: 2026112201}, NOW)
        assert first == {NAME: Serial(2026112201, 7)}
        changed = next_serials(first, {NAME: 8}, {NAME: 2026112201}, NOW)
        assert changed == {NAME: Serial(2026112202, 8)}
        assert next_serials(changed, {NAME: 9}, {NAME: 2026112301}, NOW) == {NAME: Serial(2026112301, 9)}

    def test_after_the_largest_comes_one(self) -> None:
        """0 is less than 4294967295 and more than it (RFC 1982 §3.2); 0 is a number that some programs do not take."""
        assert next_serials({NAME: Serial(0xFFFFFFFF, 7)}, {NAME: 8}, {}, NOW)[NAME].number == 1

    def test_zones_that_are_gone_are_forgotten(self) -> None:
        assert next_serials({"gone.": Serial(1, 1)}, {}, {}, NOW) == {}


TOLD = {NAME: Serial(20, 8)}


class TestUsedByAProcess:
    def test_content_has_the_serial_told_of_it(self) -> None:
        assert serials_of({NAME: 8}, TOLD, {NAME: 19}) == {NAME: 20}
        assert serials_of({NAME: 8}, TOLD, {}) == {NAME: 20}

    def test_old_content_never_has_the_serial_of_newer(self) -> None:
        """During a reload, what the controller tells of the new config reaches processes that have the old one."""
        assert serials_of({NAME: 7}, TOLD, {NAME: 19}) == {NAME: 19}

    def test_new_content_has_the_serial_of_older_for_a_moment(self) -> None:
        assert serials_of({NAME: 9}, TOLD, {}) == {NAME: 20}

    def test_one_that_was_never_told_of_is_below_all_others(self) -> None:
        assert serials_of({NAME: 9}, {}, {}) == {NAME: FIRST}
        assert next_serials({}, {NAME: 9}, {}, NOW)[NAME].number > FIRST


class TestOfZones:
    def test_the_digest_is_of_the_content_in_all_views(self) -> None:
        one, other = zone(), zone("192.0.2.2")
        assert digests([one], {KEY}) == digests([zone()], {KEY})
        assert digests([one], {KEY}) != digests([other], {KEY})
        assert digests([one, other], {KEY}) != digests([one, one], {KEY})
        assert digests([one, other], {KEY}) != digests([other, one], {KEY})
        assert digests([one], set()) == {}

    def test_the_serial_is_set_in_all_views(self) -> None:
        views = [zone(), zone("192.0.2.2")]
        set_serials(views, {NAME: 77, "other.": 1})
        assert [serial_of(one) for one in views] == [77, 77]

    def test_that_of_a_record_of_the_config_is_known_and_replaced(self) -> None:
        tables = zone(SOA=SOA)
        assert given_serials([zone(), tables], {KEY}) == {NAME: 7}
        assert given_serials([zone()], {KEY}) == {}
        set_serials([tables], {NAME: 78})
        assert serial_of(tables) == 78
        assert list(tables.zones[KEY].apex.sets) == [6, 15]
