"""Signed answers (RFC 4035 §3.1, RFC 5155 §7.2), checked as a validator does: all names of the zones and missing ones.

Covers `dns.zone.denial`, `dns.zone.signing` and `dns.zone.signed_responder`.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from tests.stage.nameserver import ask, show, tables_of
from tests.stage.proofs import Bogus, check
from tests.stage.signing import NOW, SIGNED_ODDITIES, SIGNED_ZONES, questions, sign, signed_processor

TYPES = (
    *("A", "CNAME", "MX", "TXT", "SRV", "NS", "SOA", "DS", "DNSKEY", "CDS", "NSEC", "NSEC3PARAM", "RRSIG", "ANY"),
    *("TYPE65280", "NAPTR", "TYPE4711"),
)
APEXES = [dns.name.from_text(one) for one in SIGNED_ZONES]
WAYS = [("csk", "ecdsap256", "nsec"), ("ksk-zsk", "ecdsap256", "nsec3"), ("csk", "ed25519", "nsec3")]


class Served:
    """Zones in one process, and their keys."""

    def __init__(self, records: dict[str, Any], zones: tuple[str, ...], *way: str) -> None:
        self.tables = tables_of(
            records, zones=[dns.name.from_text(one).to_wire() for one in (*zones, "plain.example.com")]
        )
        keys, algorithm, denial = way
        sign(self.tables, zones, keys=keys, algorithm=algorithm, denial=denial)
        self.processor = signed_processor(self.tables)
        self.number = WAYS.index((keys, algorithm, denial)) if way in WAYS else 0
        self._keys: dict[dns.name.Name, Any] = {}

    def ask(
        self, name: str, kind: str, *, do: bool = True, processor: QueryProcessor | None = None
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind, want_dnssec=do)
        data = ask(processor or self.processor, query.to_wire())
        assert data is not None
        return dns.message.from_wire(data)

    def keys(self, zone: dns.name.Name) -> Any:
        if zone not in self._keys:
            reply = self.ask(zone.to_text(), "DNSKEY")
            self._keys[zone] = next(one for one in reply.answer if one.rdtype == dns.rdatatype.DNSKEY)
        return self._keys[zone]


@pytest.fixture(scope="module", params=WAYS, ids=["-".join(one) for one in WAYS])
def served(request: pytest.FixtureRequest) -> Served:
    return Served(SIGNED_ODDITIES, SIGNED_ZONES, *request.param)


def test_every_answer_is_proved(served: Served) -> None:
    count = 0
    for number, (name, kind) in enumerate(product(questions(SIGNED_ODDITIES), TYPES)):
        if number % len(WAYS) == served.number:  # a third of the questions for each way
            reply = served.ask(name, kind)
            assert not reply.flags & dns.flags.AD
            try:
                check(reply, APEXES, served.keys, NOW)
            except Bogus as error:
                raise AssertionError(f"{name} {kind}: {error}\n{reply}") from error
            count += 1
    assert count > 1000


def test_without_do_the_answers_are_those_of_a_zone_that_is_not_signed(served: Served) -> None:
    plain = signed_processor(tables_of(SIGNED_ODDITIES, zones=[dns.name.from_text("plain.example.com").to_wire()]))
    for name in questions(SIGNED_ODDITIES):
        for kind in ("A", "MX", "TXT", "NS", "CNAME", "HTTPS"):
            query = dns.message.make_query(name, kind, use_edns=0).to_wire()
            answers = [ask(one, query) or b"" for one in (served.processor, plain)]
            if answers[0] == answers[1] != b"":
                continue
            ours, theirs = [show(dns.message.from_wire(one)) for one in answers]
            as_one = [
                [[line for line in section if " SOA " not in line] for section in one[2:]] for one in (ours, theirs)
            ]
            assert ours[:2] == theirs[:2], (name, kind)
            assert as_one[0] == as_one[1], (name, kind)


def test_over_udp_the_answers_are_the_same_as_far_as_they_fit(served: Served) -> None:
    udp = signed_processor(served.tables, UdpQueryProcessor)
    truncated = 0
    for _ in range(10):  # made, found, kept as a whole
        for name in ("big.example.com", "web.example.com", "any.wild.example.com", "q.x.example.com", "example.com"):
            for kind in ("A", "MX", "TXT"):
                whole, short = served.ask(name, kind), served.ask(name, kind, processor=udp)
                truncated += bool(short.flags & dns.flags.TC)
                if not short.flags & dns.flags.TC:
                    assert show(short)[:4] == show(whole)[:4], (name, kind)
                assert len(short.to_wire()) <= 1232
    assert truncated > 0


def test_a_changed_byte_is_noticed(served: Served) -> None:
    """The check itself can fail."""
    for name, kind in (("web.example.com", "A"), ("missing.example.com", "A"), ("any.wild.example.com", "TXT")):
        query = dns.message.make_query(name, kind, want_dnssec=True)
        data = bytearray(ask(served.processor, query.to_wire()) or b"")
        at = data.rindex(b"\7example\3com\0") + len(b"\7example\3com\0")  # the last signature
        data[at + 20] ^= 1
        with pytest.raises(Bogus):
            check(dns.message.from_wire(bytes(data)), APEXES, served.keys, NOW)


CASES = [  # name, type, types in authority of an NSEC zone, of an NSEC3 zone; without their RRSIG
    ("web.example.com", "A", [], []),
    ("web.example.com", "TXT", ["SOA", "NSEC"], ["SOA", "NSEC3"]),
    ("missing.example.com", "A", ["SOA", "NSEC", "NSEC"], ["SOA", *3 * ["NSEC3"]]),
    ("b.c.example.com", "A", ["SOA", "NSEC"], ["SOA", "NSEC3"]),
    ("x.wild.example.com", "A", ["NSEC"], ["NSEC3"]),
    ("sub.example.com", "A", ["NS", "NSEC"], ["NS", "NSEC3"]),
    ("secure.example.com", "A", ["NS", "DS"], ["NS", "DS"]),
    ("secure.example.com", "DS", [], []),
    ("sub.example.com", "DS", ["SOA", "NSEC"], ["SOA", "NSEC3"]),
    ("child.example.com", "DS", [], []),
    ("plain.example.com", "DS", ["SOA", "NSEC"], ["SOA", "NSEC3"]),
    ("plain.example.com", "TXT", ["SOA"], ["SOA"]),
    ("toplain.example.com", "A", [], []),
    ("intowild.other.test", "A", ["NSEC"], ["NSEC3"]),
]


@pytest.mark.parametrize(("name", "kind", "nsec", "nsec3"), CASES, ids=[f"{one[0]}-{one[1]}" for one in CASES])
@pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=["nsec", "nsec3"])
def test_the_authority_section_has_what_is_needed(
    name: str, kind: str, nsec: list[str], nsec3: list[str], way: tuple[str, str, str]
) -> None:
    served = Served(SIGNED_ODDITIES, SIGNED_ZONES, *way)
    reply = served.ask(name, kind)
    found = [one.rdtype.name for one in reply.authority if one.rdtype != dns.rdatatype.RRSIG]
    wanted = nsec if way[2] == "nsec" else nsec3
    assert sorted(found) == sorted(wanted) or (
        wanted.count("NSEC3") == 3 and set(found) == set(wanted) and len(found) >= 3  # one record can prove two things
    )


LABELS = st.sampled_from(["a", "b", "c", "*", "A-", "x\u00fc", "_t", "zz"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(lambda labels: ".".join([*labels, "example.test"]))
SETS = st.sampled_from(
    [
        {"A": "192.0.2.1"},
        {"TXT": "x", "MX": "5 a.Example.test"},
        {"CNAME": "a.example.test"},
        {"CNAME": "b.c.a.example.test"},
        {"NS": "ns.elsewhere.net"},
        {"NS": "a.example.test", "DS": f"1 13 2 {'00' * 32}"},
    ]
)


@given(st.dictionaries(NAMES, SETS, max_size=8), st.lists(NAMES, max_size=6), st.sampled_from(["nsec", "nsec3"]))
@settings(max_examples=40, deadline=None)
def test_every_answer_of_a_random_zone_is_proved(
    records: dict[str, dict[str, str]], asked: list[str], denial: str
) -> None:
    content = {name: sets for name, sets in records.items() if not (name.startswith("*.") and "NS" in sets)}
    content = {name.lower(): sets for name, sets in content.items()}
    served = Served(
        {"example.test": {"NS": "ns.elsewhere.net"}, **content}, ("example.test",), "csk", "ed25519", denial
    )
    # dnspython takes a name with a `*` for one that no wildcard can stand for
    missing = [one for one in asked if not one.startswith("*")]
    for name in {*missing, *content, *(f"q.{one}" for one in content), "example.test", "xn.example.test"}:
        for kind in ("A", "TXT", "CNAME", "DS", "NSEC", "NS"):
            reply = served.ask(name, kind)
            try:
                check(reply, [dns.name.from_text("example.test")], served.keys, NOW)
            except Bogus as error:
                raise AssertionError(f"{name} {kind}: {error}\n{reply}") from error
