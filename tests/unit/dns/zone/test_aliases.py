"""ALIAS records: addresses of names of ours and of others, as the answers have them; signed ones are proved."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.name
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.aliases import Known, names_outside, refresh_aliases
from npserver.dns.zone.tables import Tables
from npserver.dns.zone.transfer import transfer
from tests.conformance.test_rfc4035 import Served
from tests.stage.nameserver import ask, processor_of, tables_of
from tests.stage.proofs import check
from tests.stage.signing import NOW, signed_processor

RECORDS: dict[str, Any] = {
    "example.com": {"NS": "ns.elsewhere.net", "ALIAS": "Shops.Example.net", "TTL": 100, "MX": "5 mail.elsewhere.net"},
    "www.example.com": {"CNAME": "example.com"},
    "own.example.com": {"ALIAS": "chain.example.com", "TXT": "x"},
    "chain.example.com": {"CNAME": "host.example.com", "TTL": 30},
    "host.example.com": {"A": ["192.0.2.2", "192.0.2.1"]},
    "again.example.com": {"ALIAS": "example.com"},
    "out.example.com": {"ALIAS": "toout.example.com"},
    "toout.example.com": {"CNAME": "x.elsewhere.net"},
    "gone.example.com": {"ALIAS": "missing.example.com"},
    "round1.example.com": {"ALIAS": "round2.example.com"},
    "round2.example.com": {"ALIAS": {"host": "round1.example.com"}},
    "*.any.example.com": {"ALIAS": "shops.example.net"},
    "mail.example.com": {"MX": "5 own.example.com"},
    "sub.example.com": {"NS": "ns.elsewhere.net"},
    "tosub.example.com": {"ALIAS": "x.sub.example.com"},
}
SHOPS, OTHER = parse_owner("shops.example.net"), parse_owner("x.elsewhere.net")
KNOWN: Known = {
    (SHOPS, codes.A): (60, (b"\xc6\x33\x64\x01", b"\xc6\x33\x64\x02")),
    (SHOPS, codes.AAAA): (60, ()),
    (OTHER, codes.A): (900, (b"\xc6\x33\x64\x09",)),
}


@pytest.fixture
def tables() -> Tables:
    return tables_of(RECORDS)


def answer(tables: Tables, name: str, kind: str = "A") -> tuple[str, list[str]]:
    """Return the rcode, and the records of the last set with its TTL."""
    reply = dns.message.from_wire(ask(processor_of(tables), dns.message.make_query(name, kind).to_wire()) or b"")
    found = reply.answer[-1] if reply.answer else None
    return reply.rcode().name, [] if found is None else sorted(f"{found.ttl} {one}" for one in found)


def test_the_addresses_are_those_of_the_other_name(tables: Tables) -> None:
    assert refresh_aliases(tables, KNOWN)
    shops = ["60 198.51.100.1", "60 198.51.100.2"]
    assert answer(tables, "example.com") == ("NOERROR", shops)
    assert answer(tables, "www.example.com") == ("NOERROR", shops)
    assert answer(tables, "q.any.example.com") == ("NOERROR", shops)
    assert answer(tables, "example.com", "AAAA") == ("NOERROR", [])
    assert answer(tables, "example.com", "MX") == ("NOERROR", ["100 5 mail.elsewhere.net."])
    assert answer(tables, "out.example.com") == ("NOERROR", ["300 198.51.100.9"]), "the TTL of the name bounds it"


def test_names_of_ours_are_looked_up_here(tables: Tables) -> None:
    refresh_aliases(tables, {})
    assert answer(tables, "own.example.com") == ("NOERROR", ["30 192.0.2.1", "30 192.0.2.2"])
    assert answer(tables, "own.example.com", "AAAA") == ("NOERROR", [])
    assert answer(tables, "gone.example.com") == ("NOERROR", [])
    assert answer(tables, "mail.example.com", "MX") == ("NOERROR", ["300 5 own.example.com."])


def test_others_are_asked_for_once_each(tables: Tables) -> None:
    below_cut = parse_owner("x.sub.example.com")
    assert names_outside(tables).keys() == {SHOPS, OTHER, below_cut}
    assert names_outside(tables_of({"a.example.com": {"A": "192.0.2.1"}})) == {}


@pytest.mark.parametrize("name", ["example.com", "out.example.com", "q.any.example.com", "www.example.com"])
@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_addresses_that_are_not_known_are_servfail(tables: Tables, name: str, kind: str) -> None:
    refresh_aliases(tables, {})
    assert answer(tables, name, kind) == ("SERVFAIL", [])
    assert answer(tables, name, "TXT")[0] == "NOERROR"
    assert answer(tables, name, "ANY")[0] == "NOERROR"


def test_aliases_in_a_circle_stay_unknown(tables: Tables) -> None:
    for _ in range(3):
        refresh_aliases(tables, KNOWN)
    assert answer(tables, "round1.example.com") == answer(tables, "round2.example.com") == ("SERVFAIL", [])
    assert answer(tables, "again.example.com") == ("NOERROR", ["60 198.51.100.1", "60 198.51.100.2"])
    assert not refresh_aliases(tables, KNOWN), "nothing changes any more"


def test_what_is_lost_is_taken_back(tables: Tables) -> None:
    refresh_aliases(tables, KNOWN)
    assert refresh_aliases(tables, {})
    assert answer(tables, "example.com") == ("SERVFAIL", [])


@pytest.mark.parametrize("known", [KNOWN, {}], ids=["known", "unknown"])
def test_a_secondary_gets_addresses(tables: Tables, known: Known) -> None:
    refresh_aliases(tables, known)
    query = parse_query(dns.message.make_query("example.com", "AXFR").to_wire())
    assert isinstance(query, Query)
    found = [
        record.to_text()
        for one in transfer(tables, query)
        for record in dns.message.from_wire(one, one_rr_per_rrset=True).answer
    ]
    assert ("example.com. 60 IN A 198.51.100.1" in found) == bool(known)
    assert not any("TYPE" in one or "ALIAS" in one for one in found)


@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_answers_of_signed_zones_are_proved(denial: str) -> None:
    stage = Served(RECORDS, ("example.com",), "csk", "ed25519", denial)
    other: Known = {(SHOPS, codes.A): (60, (b"\1\1\1\1",)), (SHOPS, codes.AAAA): (60, (bytes(16),))}
    for known in ({}, KNOWN, other, {}):
        refresh_aliases(stage.tables, known)
        stage.processor = signed_processor(stage.tables)
        for name in ("example.com", "own.example.com", "q.any.example.com", "gone.example.com", "0.example.com"):
            for kind in ("A", "AAAA", "TXT", "NSEC", "RRSIG", "ANY"):
                reply = stage.ask(name, kind)
                if reply.rcode() == dns.rcode.SERVFAIL:
                    assert not known
                    assert kind in ("A", "AAAA")
                else:
                    check(reply, [dns.name.from_text("example.com")], stage.keys, NOW)
