"""A zone file served by NSD and by npserver, compared answer by answer (RFC 1035 §5): every name, every type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest

from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.tables import Tables
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.zones.zone_file import read_zone_file
from tests.conformance.test_dns_nsd import differs_on_purpose
from tests.stage.nameserver import Nsd, ask, processor_of, show
from tests.stage.ports import free_port
from tests.stage.programs import needs

pytestmark = needs("nsd")
TYPES = (
    *("A", "AAAA", "CNAME", "MX", "TXT", "SRV", "NS", "PTR", "SOA", "CAA", "TLSA", "SSHFP", "NAPTR", "DS", "LOC"),
    *("URI", "OPENPGPKEY", "TYPE65280", "HINFO", "ANY", "DNAME"),
)
ZONE = """\
$ORIGIN example.com.
$TTL 1h
@       IN SOA ns1 hostmaster.example.com. ( 2026010101 ; serial
            1h 10m 1w
            2m )
        NS ns1
        NS ns2
        MX 10 mx
        A 192.0.2.1
        CAA 0 issue "ca.example"
        TXT "v=spf1 -all" "second \\"quoted\\" string"
ns1     A 192.0.2.2
        AAAA 2001:db8::2
ns2 300 IN A 192.0.2.3
mx      A 192.0.2.4
*.wild  TXT wild
_443._tcp TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
host    SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
        HINFO "x86" "Linux"
        TYPE65280 \\# 4 0A000001
phone   NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@example.com!" .
ftp     URI 10 1 "ftp://ftp1.example.com/public"
abc._openpgpkey OPENPGPKEY mDMEXEcE6RYJKwYBBAHaRw8BAQdArjWwk3FAqyiFbFBKT4TzXcVBqPTB3gmzlC/Ub7O1u120
child   NS ns.child
        DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.child A 192.0.2.9
www     CNAME @
deep.er.still TXT x
dn      DNAME wild
"""
NAMES = (
    *("@", "ns1", "ns2", "mx", "wild", "any.wild", "a.b.wild", "_443._tcp", "_tcp", "host", "phone", "ftp"),
    *("abc._openpgpkey", "child", "ns.child", "below.child", "www", "deep.er.still", "er.still", "missing"),
    *("dn", "a.dn", "a.b.dn"),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zone") / "example.com.zone"
    path.write_text(ZONE)
    return path


@pytest.fixture(scope="module")
def processor(file: Path) -> QueryProcessor:
    apex = parse_owner("example.com")
    records = read_zone_file(str(file), apex, lambda path: Path(path).read_bytes())
    assert records.notes == []
    problems: list[object] = []
    settings = Settings(300, [apex], contents={apex: records.sets})
    tables = compile_tables({}, settings, lambda *problem: problems.append(problem))
    assert problems == []
    assert [to_text(key) for key in tables.zones] == ["example.com."]
    return processor_of(tables)


@pytest.fixture(scope="module")
def nsd(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    server = Nsd(Tables(), tmp_path_factory.mktemp("nsd"), free_port(), {"example.com": file})
    yield server
    server.close()


@pytest.mark.parametrize("kind", TYPES)
def test_answers_are_those_of_nsd(nsd: Nsd, processor: QueryProcessor, kind: str) -> None:
    for name in NAMES:
        asked = "example.com" if name == "@" else f"{name}.example.com"
        query = dns.message.make_query(asked, kind, id=1).to_wire()
        mine, its = ask(processor, query), nsd.ask(query)
        assert mine is not None
        assert its is not None
        ours, theirs = show(dns.message.from_wire(mine)), show(dns.message.from_wire(its))
        assert ours == theirs or differs_on_purpose(asked, kind, ours, theirs), (asked, kind)
