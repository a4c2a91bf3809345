"""A zone that Knot signs, and npserver: answer by answer the same sections, proofs and flags (RFC 4035 §3.1, RFC 5155).

`NPSERVER_SEEDS` in the environment asks for the long form: all names with all types, instead of a fifth of the pairs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype as rt
import pytest

from npserver.dns.message.name import parse_owner
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.signing import DAY_S, Signatures, ZoneSigning
from npserver.nameserver.dnssec.state import first_state, zone_keys
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.zones.zone_file import read_zone_file
from tests.e2e.test_dns_presigned import BEYOND, zone_text
from tests.e2e.test_dns_transfers import SECRET
from tests.stage.nameserver import ask
from tests.stage.ports import free_port
from tests.stage.programs import needs
from tests.stage.signing import NOW, SIGNED_ODDITIES, questions, signed_processor
from tests.stage.zone_servers import ZoneServer, running

pytestmark = needs("knotd")
APEX = parse_owner("example.com")
TYPES = ("A", "CNAME", "MX", "TXT", "SRV", "NS", "SOA", "DS", "DNSKEY", "CDS", "NSEC", "NSEC3PARAM", "DNAME", "HTTPS")
STEP = 1 if os.environ.get("NPSERVER_SEEDS") else 5
#: The data of these is of other keys, or of another time.
OF_KEYS = (rt.RRSIG, rt.DNSKEY)


@pytest.fixture(scope="module", params=["nsec", "nsec3"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ZoneServer, QueryProcessor, str]]:
    directory, text = tmp_path_factory.mktemp("knot"), zone_text(7)
    file = directory / "zone"
    file.write_text(text)
    records = read_zone_file(str(file), APEX, lambda path: Path(path).read_bytes())
    settings = Settings(300, [APEX], elsewhere={APEX: "a file"}, contents={APEX: records.sets})
    tables = compile_tables({}, settings, lambda path, message: pytest.fail(f"{path}: {message}"))
    keys = zone_keys(APEX, first_state("csk", 13, NOW))
    signing = ZoneSigning(tables, tables.zones[APEX], keys, Signatures(), denial=request.param, life_days=14)
    tables.zones[APEX].signing = signing
    signing.use(keys, int(NOW // DAY_S))
    port = free_port()
    with running(f"knot-{request.param}", directory / "server", port, 9, SECRET, text) as knot:
        knot.wait_until(lambda: knot.serial() > 0, "Knot's zone")
        yield knot, signed_processor(tables), request.param


Records = set[tuple[str, str, str, int, str]]


def shown(reply: dns.message.Message) -> tuple[tuple[int, bool], list[Records]]:
    """Return what is to be the same of a reply: rcode and AA, and the records of each section."""
    sections = []
    for section in (reply.answer, reply.authority, reply.additional):
        records: Records = set()
        for rrset in section:
            owner, kinds = rrset.name.to_text().lower(), (rt.to_text(rrset.rdtype), rt.to_text(rrset.covers))
            for one in rrset:
                text = "" if rrset.rdtype in OF_KEYS else one.to_text().lower()
                if rrset.rdtype == rt.SOA:
                    text = " ".join(text.split()[:2])  # each has its own serial
                records.add((owner, *kinds, rrset.ttl, text))
        sections.append(records)
    return (reply.rcode(), bool(reply.flags & dns.flags.AA)), sections


def explained(name: str, kind: str, ours: list[Records], theirs: list[Records]) -> list[Records]:
    """Return the sections of ours without what it has on purpose."""
    answer, authority, additional = ours
    if kind == "HTTPS":  # RFC 9460 §4.1: Knot adds the addresses of no HTTPS record that an alias leads to
        additional = additional & theirs[2]
    if name.startswith(("star0.", "x.star", "x.y.star", "x.a.star", "x.y.a.star")):
        # Knot leaves out that a wildcard exists without the type, if it exists as names lie below it alone, or if it
        # is asked for its NSEC record
        more = authority - theirs[1]
        authority -= {one for one in more if "NSEC" in one[1:3]}
    return [answer, authority, additional]


def test_answers_are_those_of_knot(both: tuple[ZoneServer, QueryProcessor, str]) -> None:
    knot, processor, denial = both
    names = [one for one in questions(SIGNED_ODDITIES) if one.endswith("example.com") and not one.endswith(BEYOND)]
    names += ["v7.example.com", "v7.new.example.com", "new.example.com"]
    count = 0
    for number, (name, kind) in enumerate(product(names, TYPES)):
        if number % STEP or (kind, denial) == ("NSEC", "nsec3"):
            continue  # Knot follows no alias for NSEC, although the names of this zone have none
        for do in (True, False):
            query = dns.message.make_query(name, kind, want_dnssec=do, use_edns=0)
            theirs = shown(dns.query.udp_with_fallback(query, "127.0.0.1", port=knot.port, timeout=20)[0])
            ours = shown(dns.message.from_wire(ask(processor, query.to_wire()) or b""))
            assert ours[0] == theirs[0], (name, kind, do)
            assert explained(name, kind, ours[1], theirs[1]) == theirs[1], (name, kind, do)
            count += 1
    assert count > 500
