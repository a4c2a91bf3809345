"""Zones that another server has signed, served as they came: the answers, and that they follow changes (RFC 4035 §3.1).

What npserver signs is transferred, and served from that: each answer must be the same as that of the signer, byte for
byte. Zones that BIND has signed, with salts, iterations and opt-out, are checked as a validator does.

Covers `dns.zone.presigned` and `dns.zone.given_denial`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import dns.message
import dns.name
import dns.rdatatype
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.changing import TableChanger
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.content import Content, ZoneChange, apply, differences, serial_of
from npserver.dns.zone.incoming import TransferReader
from npserver.dns.zone.tables import Tables
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.zones.zone_file import read_zone_file
from tests.conformance.test_rfc4035 import TYPES, WAYS, Served
from tests.stage.nameserver import ask, show
from tests.stage.programs import find, needs
from tests.stage.proofs import check
from tests.stage.signing import NOW, SIGNED_ODDITIES, SIGNED_ZONES, questions, signed_processor

APEX = parse_owner("example.com")


def received(tables: Tables, zone: str, content: Content | None = None, history: Any = ()) -> Content:
    """Return a zone as it is transferred; by its changes from a content."""
    query = dns.message.make_query(zone, "AXFR" if content is None else "IXFR")
    serial = 0 if content is None else serial_of(content, parse_owner(zone))
    if content is not None:
        query.authority.append(dns.rrset.from_text(f"{zone}.", 300, "IN", "SOA", f"a. b. {serial} 1 1 1 1"))
    request = parse_query(query.to_wire())
    assert isinstance(request, Query)
    reader = TransferReader(parse_owner(zone), request.data, content, serial)
    found = [reader.take(one) for one in transfer(tables, request, history)][-1]
    assert found is not None
    assert found.content is not None
    assert found.is_incremental == (content is not None)
    return found.content


def served_as_given(
    contents: dict[bytes, Content], records: dict[str, Any] | None = None, own: Iterable[bytes] = ()
) -> Tables:
    problems: list[object] = []
    elsewhere = dict.fromkeys(contents, "a primary")
    settings = Settings(300, [*contents, *own], elsewhere=elsewhere, contents=contents)
    tables = compile_tables(records or {}, settings, lambda *problem: problems.append(problem))
    assert problems == []
    return tables


def normal(content: Content) -> dict[tuple[bytes, int], tuple[int, list[bytes]]]:
    return {(name, rtype): (ttl, sorted(data)) for name, sets in content.items() for rtype, (ttl, data) in sets.items()}


@pytest.mark.parametrize("way", WAYS, ids=["-".join(one) for one in WAYS])
def test_answers_are_those_of_the_signer(way: tuple[str, str, str]) -> None:
    """All names, missing ones and types, with and without DO; zones in one another; and the transfer of the zones."""
    signer = Served(SIGNED_ODDITIES, SIGNED_ZONES, *way)
    contents = {parse_owner(one): received(signer.tables, one) for one in SIGNED_ZONES}
    own = ("plain.example.com", "elsewhere.net")
    rest = {
        name: sets for name, sets in SIGNED_ODDITIES.items() if f".{name}".endswith(tuple(f".{one}" for one in own))
    }
    tables = served_as_given(contents, rest, map(parse_owner, own))
    given = signed_processor(tables)
    for number, (name, kind) in enumerate(product(questions(SIGNED_ODDITIES), TYPES)):
        if kind == "ANY":
            continue  # of the several sets of a name each server has its order
        for do in (True, False) if number % 3 == 0 else (True,):
            query = dns.message.make_query(name, kind, want_dnssec=do).to_wire()
            ours, theirs = ask(given, query), ask(signer.processor, query)
            if ours is not None and ours == theirs:
                continue
            assert ours is not None
            assert theirs is not None
            messages = dns.message.from_wire(ours), dns.message.from_wire(theirs)
            assert show(messages[0])[:5] == show(messages[1])[:5], (name, kind, do, *messages)
    for zone in SIGNED_ZONES:
        assert normal(received(tables, zone)) == normal(contents[parse_owner(zone)])


RECORDS: dict[str, Any] = {
    "example.com": {"NS": "ns.elsewhere.net", "SOA": "ns. host. 5 3600 600 604800 300"},
    "www.example.com": {"A": "192.0.2.1"},
    "a.b.example.com": {"TXT": "x"},
    "*.wild.example.com": {"A": "192.0.2.7", "TXT": "w"},
    "sub.example.com": {"NS": "ns.elsewhere.net"},
}
OTHER: dict[str, Any] = {
    "example.com": {"NS": "ns.elsewhere.net", "SOA": "ns. host. 6 3600 600 604800 300", "MX": "5 www.example.com"},
    "www.example.com": {"AAAA": "2001:db8::1"},
    "b.example.com": {"TXT": "x"},
    "c.d.example.com": {"TXT": "x"},
    "*.wild.example.com": {"TXT": "w"},
    "x.sub.example.com": {"A": "192.0.2.9"},
}
LABELS = ["www", "x.www", "b", "a.b", "d", "c.d", "q.d", "wild", "q.wild", "sub", "x.sub", "q.x.sub"]
ASKED = [f"{one}.example.com" for one in LABELS]


@pytest.mark.parametrize("denials", [("nsec", "nsec"), ("nsec3", "nsec3"), ("nsec", "nsec3"), ("nsec3", "nsec")])
def test_a_zone_that_changes_is_as_if_it_were_served_anew(denials: tuple[str, str]) -> None:
    """From one kind of proofs to the other too, to a zone without signatures, and back."""
    contents = [
        received(Served(records, ("example.com",), "csk", "ed25519", denial).tables, "example.com")
        for records, denial in zip((RECORDS, OTHER), denials, strict=True)
    ]
    plain = received(Served(OTHER, (), "csk", "ed25519", "nsec").tables, "example.com")
    tables = served_as_given({APEX: contents[0]})
    changer, before = TableChanger(tables), contents[0]
    for content in (contents[1], contents[0], plain, contents[1], plain, contents[0]):
        changes = differences(before, content)
        changer.apply(APEX, changes, apply(before, changes))
        before = content
        anew = signed_processor(served_as_given({APEX: content}))
        changed = signed_processor(tables)
        for name, kind in product(ASKED, ("A", "TXT", "DS", "NS", "NSEC", "RRSIG")):
            query = dns.message.make_query(name, kind, want_dnssec=True).to_wire()
            messages = [dns.message.from_wire(ask(one, query) or b"") for one in (changed, anew)]
            assert show(messages[0])[:5] == show(messages[1])[:5], (name, kind)


@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_changes_are_sent_with_their_signatures(denial: str) -> None:
    records = {**RECORDS, **{f"n{number}.example.com": {"TXT": "x" * 200} for number in range(50)}}
    served = Served(records, ("example.com",), "csk", "ed25519", denial)
    before = received(served.tables, "example.com")
    served = Served({**records, "example.com": {**RECORDS["example.com"], "SOA": OTHER["example.com"]["SOA"]},
                     "new.example.com": {"A": "192.0.2.3"}}, ("example.com",), "csk", "ed25519", denial)  # fmt: skip
    after = received(served.tables, "example.com")
    for name, sets in before.items():  # signed by one key, and on one day: only what has changed is other
        for rtype in sets:
            if rtype not in (codes.SOA, codes.NSEC, codes.NSEC3, codes.DNSKEY) and rtype in after.get(name, {}):
                after[name][rtype] = sets[rtype]
    change = ZoneChange(*(serial_of(one, APEX) for one in (before, after)), differences(before, after))
    tables = served_as_given({APEX: after})
    assert normal(received(tables, "example.com", before, [change])) == normal(after)


def sign_by_bind(directory: Path, text: str, *options: str, now: bool = False) -> Path:
    """Return a file with the zone example.com, signed by BIND's program: as of `NOW`, or of the clock."""
    when = [] if now else ["-P", "-s", "20270115000000", "-e", "20270215000000"]
    (directory / "zone").write_text(text)
    for flags in ([], ["-f", "KSK"]):
        words = [find("dnssec-keygen") or "", *flags, "-q", "-a", "ECDSAP256SHA256", "example.com"]
        subprocess.run(words, cwd=directory, check=True, capture_output=True, timeout=60)
    subprocess.run(
        [find("dnssec-signzone") or "", "-S", *when, *options,
         "-o", "example.com", "-f", "signed", "zone"],
        cwd=directory, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return directory / "signed"


TEXT = """$TTL 300
@ SOA ns host 5 3600 600 604800 300
@ NS ns.elsewhere.net.
www A 192.0.2.1
a.b TXT x
*.wild A 192.0.2.7
*.wild TXT w
sub NS ns.elsewhere.net.
sub2.deep.er NS ns.elsewhere.net.
safe NS ns.elsewhere.net.
safe DS 12345 13 2 49FD46E6C4B45C55D4AC69CBD3CD34AC1AFE51DE5A3C2F3D2F1B0C7B9B5A1E2F
alias CNAME www
"""


@needs("dnssec-signzone")
@pytest.mark.parametrize("options", [[], ["-3", "-"], ["-3", "aabbcc", "-H", "12"]], ids=["nsec", "nsec3", "salted"])
def test_zone_files_that_bind_has_signed(tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = sign_by_bind(tmp_path, TEXT, *options)
    found = read_zone_file(str(file), APEX, lambda path: Path(path).read_bytes())
    assert found.notes == []
    tables = served_as_given({APEX: found.sets})
    processor = signed_processor(tables)
    salt, iterations = (bytes.fromhex("aabbcc"), 12) if "-H" in options else (b"", 0)
    plain_hash = dns.dnssec.nsec3_hash
    monkeypatch.setattr(
        dns.dnssec, "nsec3_hash", lambda name, *_: plain_hash(name, salt or None, iterations, "SHA1")
    )  # fmt: skip

    def asked(name: str, kind: str) -> dns.message.Message:
        return dns.message.from_wire(
            ask(processor, dns.message.make_query(name, kind, want_dnssec=True).to_wire()) or b""
        )

    keys = next(one for one in asked("example.com", "DNSKEY").answer if one.rdtype == dns.rdatatype.DNSKEY)
    apex = dns.name.from_text("example.com")
    names = [f"{one}.example.com" for one in ("www", "x.www", "b", "a.b", "q.b", "wild", "q.wild", "p.q.wild", "sub",
             "x.sub", "deep.er", "er", "x.er", "sub2.deep.er", "safe", "alias", "missing", "q.missing")]  # fmt: skip
    for name, kind in product(["example.com", *names], ("A", "TXT", "DS", "NS", "CNAME", "DNSKEY", "NSEC")):
        check(asked(name, kind), [apex], lambda zone: keys, NOW)
    assert normal(received(tables, "example.com")) == normal(found.sets)
