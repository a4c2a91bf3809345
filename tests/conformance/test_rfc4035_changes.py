"""Signed zones that change: the answers are proved after each change, and a transfer has what another signer makes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import dns.message
import dns.name
import dns.rdatatype
import dns.zone
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.added_texts import AddedTexts
from npserver.dns.zone.changing import TableChanger
from npserver.dns.zone.content import SetChange
from npserver.dns.zone.tables import UpstreamSet
from npserver.dns.zone.transfer import transfer
from tests.conformance.test_rfc4035 import Served
from tests.stage.programs import find, needs
from tests.stage.proofs import check
from tests.stage.signing import NOW, SIGNED_ODDITIES, signed_processor

APEX = dns.name.from_text("example.com")
RECORDS: dict[str, Any] = {
    "example.com": {"NS": "ns.elsewhere.net", "SOA": "ns. host. 5 3600 600 604800 300"},
    "www.example.com": {"A": "192.0.2.1"},
    "a.b.example.com": {"TXT": "x"},
    "*.wild.example.com": {"A": "192.0.2.7", "TXT": "w"},
}
ASKED = ["www", "x.www", "b", "c", "a.b", "_acme.www", "_acme.x.wild", "q.wild", "wild", "x.wild", "d.c", "q.d.c"]
ASKED += ["sub", "q.sub"]


def served(denial: str) -> Served:
    return Served(RECORDS, ("example.com",), "csk", "ed25519", denial)


def check_all(stage: Served) -> dict[tuple[str, str], int]:
    """Check all answers; return how many records they have."""
    stage.processor = signed_processor(stage.tables)  # nothing is kept of the time before
    found = {}
    for label in ASKED:
        for kind in ("A", "TXT", "DS", "MX"):
            reply = stage.ask(f"{label}.example.com", kind)
            check(reply, [APEX], stage.keys, NOW)
            found[label, kind] = sum(len(one) for one in reply.answer if one.rdtype != dns.rdatatype.RRSIG)
    return found


@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_texts_of_challenges_are_signed_and_leave_nothing(denial: str) -> None:
    stage = served(denial)
    before = check_all(stage)
    added = AddedTexts(stage.tables)
    assert added.replace({"_acme.www.example.com": ["one"], "_acme.x.wild.example.com": ["two"]})
    with_texts = check_all(stage)
    assert with_texts["_acme.www", "TXT"] == 1
    assert with_texts["_acme.x.wild", "TXT"] == 1
    assert added.replace({})
    assert check_all(stage) == before


@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_names_that_come_and_go(denial: str) -> None:
    stage = served(denial)
    before = check_all(stage)
    changer, apex = TableChanger(stage.tables), parse_owner("example.com")
    address, servers = (300, (b"\1\2\3\4",)), (300, (b"\2ns\x09elsewhere\3net\0",))

    def change(name: str, rtype: int, old: Any, new: Any) -> None:
        changer.apply(apex, [SetChange(parse_owner(f"{name}.example.com"), rtype, old, new)], {})

    change("d.c", codes.A, None, address)
    assert check_all(stage)["d.c", "A"] == 1
    change("sub", codes.NS, None, servers)
    change("q.sub", codes.A, None, address)  # glue
    assert check_all(stage)["q.sub", "A"] == 0
    change("sub", codes.NS, servers, None)
    assert check_all(stage)["q.sub", "A"] == 1
    change("q.sub", codes.A, address, None)
    change("d.c", codes.A, address, None)
    assert check_all(stage) == before


@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_addresses_of_upstreams_are_signed_as_they_change(denial: str) -> None:
    stage = served(denial)
    node = stage.tables.nodes[parse_owner("www.example.com")]
    stage.tables.upstream_sets.append(UpstreamSet(node, codes.A, 5, "app"))
    for addresses in ([], [b"\1\1\1\1"], [b"\1\1\1\1", b"\2\2\2\2"], []):
        stage.tables.refresh(lambda upstream, rtype, now=addresses: now)
        assert check_all(stage)["www", "A"] == len(addresses)


@needs("ldns-verify-zone")
@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_the_same_names_and_types_are_denied_as_by_another_signer(tmp_path: Path, denial: str) -> None:
    """ldns-signzone signs the zone without the signatures; NSEC and NSEC3 records and what is signed are the same."""
    stage = Served(SIGNED_ODDITIES, ("example.com",), "csk", "ecdsap256", denial)
    ours = transferred(stage)
    plain = [line for line in ours if line.split()[3] not in ("RRSIG", "NSEC", "NSEC3", "DNSKEY", "NSEC3PARAM")]
    (tmp_path / "zone").write_text("\n".join(plain) + "\n")
    made = subprocess.run(
        [find("ldns-keygen") or "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "example.com"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    hashed = ["-n", "-t", "0"] if denial == "nsec3" else []
    subprocess.run(
        [find("ldns-signzone") or "ldns-signzone", *hashed, "-f", "signed", "zone", made.stdout.strip()],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    theirs = (tmp_path / "signed").read_text().splitlines()
    assert denials(ours) == denials(theirs)
    assert covered(ours) == covered(theirs)


def transferred(stage: Served) -> list[str]:
    """Return the records of example.com as a secondary gets them."""
    query = parse_query(dns.message.make_query("example.com", "AXFR").to_wire())
    assert isinstance(query, Query)
    messages = [dns.message.from_wire(one, one_rr_per_rrset=True) for one in transfer(stage.tables, query)]
    return [one.to_text() for message in messages for one in message.answer][:-1]


def denials(lines: list[str]) -> set[str]:
    """Return the names and types that are told; the types of the apex, where signers have their own, are left out."""
    found = set()
    for line in lines:
        words = line.split()
        if len(words) > 4 and words[3] in ("NSEC", "NSEC3"):
            types = [one for one in words[4:] if not (words[0] == "example.com." or "SOA" in words)]
            found.add(" ".join([words[0].lower(), words[3], *[one.lower() for one in types]]))
    return found


def covered(lines: list[str]) -> set[tuple[str, str]]:
    """Return names and types that have signatures, those of the keys left out."""
    words = [line.split() for line in lines if len(line.split()) > 4]
    found = {(one[0].lower(), one[4]) for one in words if one[3] == "RRSIG"}
    return {one for one in found if one[1] not in ("NSEC3PARAM", "CDS", "CDNSKEY", "DNSKEY")}
