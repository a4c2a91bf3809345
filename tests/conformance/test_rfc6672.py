"""DNAME (RFC 6672): answers compared with those of NSD and Knot, for all names and types; signed ones checked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from npserver.dns.message.name import parse_owner
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.tables import Tables
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.zones.zone_file import read_zone_file
from tests.conformance.test_rfc4035 import Served
from tests.stage.nameserver import Shown, ask, limiter_of, processor_of, show, tables_of
from tests.stage.ports import free_port
from tests.stage.programs import needs
from tests.stage.proofs import Bogus, check
from tests.stage.signing import NOW, SIGNED_ODDITIES, SIGNED_ZONES
from tests.stage.zone_servers import ZoneServer, running

TYPES = ("A", "AAAA", "CNAME", "DNAME", "MX", "TXT", "NS", "SOA", "DS", "ANY", "TYPE65280")
LONG = ".".join([63 * "t", 63 * "u", 63 * "v", 40 * "w"])  # with `.example.com` a name of 246 bytes
ZONE = f"""\
$ORIGIN example.com.
$TTL 1h
@       IN SOA ns1 hostmaster 2026010101 1h 10m 1w 2m
        NS ns1
ns1     A 192.0.2.2
web     A 192.0.2.1
        TXT web
        MX 5 mail.old
a.new   A 192.0.2.3
b.c.new TXT deep
*.w.new A 192.0.2.4
l.new   CNAME web
sub.new NS ns1
old 77  DNAME new
        TXT "beside it"
        A 192.0.2.9
Mixed   DNAME New
out     DNAME elsewhere.net.
gone    DNAME nowhere
one     DNAME two
two     DNAME old
alias   CNAME a.old
wild    DNAME w.new
*.star  DNAME new
circle1 DNAME circle2
circle2 DNAME circle1
grow    DNAME x.grow
long    DNAME {LONG}
deep.er.still DNAME new
"""
NAMES = [
    *("@", "web", "old", "a.old", "b.c.old", "c.old", "x.old", "x.y.old", "q.w.old", "w.old", "l.old", "h.sub.old"),
    *("A.OLD", "mixed", "a.mixed", "out", "x.out", "x.y.out", "gone", "x.gone", "one", "a.one", "two", "b.c.two"),
    *("alias", "wild", "q.wild", "x.star", "star", "y.x.star", "a.*.star", "*.star", "circle1", "x.circle1"),
    *("grow", "a.grow", "long", "a.long", f"{40 * 'x'}.long", "er.still", "a.deep.er.still", "deep.er.still"),
]  # fmt: skip
#: Knot names a DNAME at a wildcard by the name asked for, follows what leads to itself, and has no YXDOMAIN (§2.2).
IS_OTHERWISE = {"knotd": ("a.*.star", "a.grow", f"{40 * 'x'}.long"), "nsd": ()}


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> QueryProcessor:
    path = tmp_path_factory.mktemp("zone") / "example.com.zone"
    path.write_text(ZONE)
    return processor_of(read(path), stream=True)


def read(path: Path) -> Tables:
    apex = parse_owner("example.com")
    records = read_zone_file(str(path), apex, lambda name: Path(name).read_bytes())
    problems: list[object] = []
    settings = Settings(300, [apex], contents={apex: records.sets})
    tables = compile_tables({}, settings, lambda *problem: problems.append(problem))
    assert problems == []
    return tables


@pytest.fixture(
    scope="module", params=[pytest.param("nsd", marks=needs("nsd")), pytest.param("knotd", marks=needs("knotd"))]
)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZoneServer]:
    directory = tmp_path_factory.mktemp("peer") / "of"
    with running(request.param, directory, free_port(), free_port(), "c2VjcmV0", ZONE) as server:
        server.wait_for(2026010101)
        yield server


def answers(processor: QueryProcessor, server: ZoneServer, name: str, kind: str) -> tuple[Shown, Shown]:
    query = dns.message.make_query("example.com" if name == "@" else f"{name}.example.com", kind)
    mine = ask(processor, query.to_wire())
    assert mine is not None
    its = dns.query.tcp(query, "127.0.0.1", port=server.port, timeout=20)
    return lowered(show(dns.message.from_wire(mine))), lowered(show(its))


def lowered(shown: Shown) -> Shown:
    rcode, flags, *sections = shown
    first, second, third = [sorted({line.lower() for line in section}) for section in sections]
    return rcode, flags, first, second, third


def test_answers_are_those_of_peers(processor: QueryProcessor, peer: ZoneServer) -> None:
    different, otherwise = [], set()
    for name, kind in product(NAMES, TYPES):
        ours, theirs = answers(processor, peer, name, kind)
        adds_servers = not ours[3] and all(" ns " in line for line in theirs[3])  # of the zone, to complete answers
        if ours[:3] == theirs[:3] and (ours[3:] == theirs[3:] or adds_servers):
            continue
        if kind == "ANY" and ours[:2] == theirs[:2] and set(theirs[2]) <= set(ours[2]):
            continue  # they send one of the record sets
        if name in IS_OTHERWISE[peer.program]:
            otherwise.add(name)
        else:
            different.append(f"{name} {kind}\n  {ours}\n  {theirs}")
    assert not different, "\n".join(different)
    assert otherwise == set(IS_OTHERWISE[peer.program])


def asked(processor: QueryProcessor, name: str, kind: str = "A", **options: object) -> dns.message.Message:
    data = ask(processor, dns.message.make_query(f"{name}.example.com", kind, **options).to_wire())  # type: ignore[arg-type]
    assert data is not None
    return dns.message.from_wire(data)


def test_what_is_too_long_is_told_with_the_dname(processor: QueryProcessor) -> None:
    """§2.2"""
    fits, too_long = asked(processor, "abcdef.long"), asked(processor, "abcdefghi.long")
    assert (fits.rcode(), len(fits.answer)) == (dns.rcode.NXDOMAIN, 2)
    assert too_long.rcode() == dns.rcode.YXDOMAIN
    assert [one.rdtype.name for one in too_long.answer] == ["DNAME"]


def test_the_cname_has_the_ttl_of_the_dname_and_comes_after_it(processor: QueryProcessor) -> None:
    """§3.1"""
    reply = asked(processor, "a.old")
    assert [(one.rdtype.name, one.ttl) for one in reply.answer] == [("DNAME", 77), ("CNAME", 77), ("A", 3600)]


def test_answers_over_udp_are_the_same_or_truncated(processor: QueryProcessor) -> None:
    udp = processor_of(processor.responder.tables)
    for name, kind in product(NAMES[1:], ("A", "CNAME", "DNAME", "TXT")):
        for size in (None, 512, 1232):
            whole, short = [asked(one, name, kind, use_edns=size and 0, payload=size or 0) for one in (processor, udp)]
            assert show(short)[2:] == show(whole)[2:] or short.flags & dns.flags.TC, (name, kind)
            assert len(short.to_wire()) <= (size or 512)


def test_random_names_below_a_dname_are_not_kept_forever_and_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npserver.dns.zone.responder.MAX_REDIRECTED", 10)
    tables = tables_of({"d.example.test": {"DNAME": "example.net"}, "x.example.test": {"A": "192.0.2.1"}})
    limited = processor_of(tables, limiter=limiter_of(5, 0))
    sent = 0
    for number in range(50):
        query = dns.message.make_query(f"n{number}.d.example.test", "A").to_wire()
        sent += ask(limited, query) is not None
        assert len(limited.responder._redirected) <= 10
    assert sent == 5
    assert len(limited.responder.answers) == 0


# ── signed zones (§5.3) ──

SIGNED = {
    **{name: sets for name, sets in SIGNED_ODDITIES.items() if name.endswith(("example.com", "other.test"))},
    "old.example.com": {"DNAME": "wild.example.com", "TXT": "beside it"},
    "out.example.com": {"DNAME": "elsewhere.net"},
    "to.other.test": {"DNAME": "example.com"},
    "plain2.example.com": {"DNAME": "plain.example.com"},
    "long.example.com": {"DNAME": LONG + ".example.com"},
    "toold.example.com": {"CNAME": "a.old.example.com"},
    "own.test": {"NS": "ns1.example.com", "DNAME": "example.com"},
}
SIGNED_NAMES = [
    *(
        "old",
        "a.old",
        "there.old",
        "x.there.old",
        "b.c.old",
        "sub.ent.old",
        "out",
        "x.out",
        "plain2",
        "www.plain2",
        "x.plain2",
    ),
    *("toold", "a.long", "long", f"{40 * 'x'}.long", "old0", "0.toold"),
]
SIGNED_ASKED = [f"{name}.example.com" for name in SIGNED_NAMES] + [
    *("own.test", "web.own.test", "missing.own.test", "any.wild.own.test", "host.sub.own.test", "www.child.own.test"),
    *("web.to.other.test", "x.to.other.test", "to.other.test"),
]


@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
def test_signed_answers_are_proved(denial: str) -> None:
    zones = (*SIGNED_ZONES, "own.test")
    served = Served(SIGNED, zones, "csk", "ed25519", denial)
    for name, kind in product(SIGNED_ASKED, (*TYPES, "NSEC", "RRSIG", "DNSKEY")):
        reply = served.ask(name, kind)
        try:
            check(reply, [dns.name.from_text(one) for one in zones], served.keys, NOW)
        except Bogus as error:
            raise AssertionError(f"{name} {kind}: {error}\n{reply}") from error
    reply = served.ask("a.old.example.com", "A")
    signed = [one.covers.name for one in reply.answer if one.rdtype == dns.rdatatype.RRSIG]
    assert signed == ["DNAME", "A"], "the CNAME that is made of a DNAME has no signature (§5.3.1)"
    denied = served.ask("old.example.com", "AAAA")
    if denial == "nsec":
        (proof,) = [one for one in denied.authority if one.rdtype == dns.rdatatype.NSEC]
        assert "DNAME" in proof.to_text()  # §5.3.2
