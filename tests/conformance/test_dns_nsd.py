"""The same zones served by NSD and by npserver, compared answer by answer: RFC 1034, 2308, 4592, 6604, 6891.

Queried are all names of the zones, names below and next to them, and all types, with and without EDNS. Intended
differences:

- NSD appends the zone's NS records and their addresses to answers; npserver leaves them out, as Knot does (smaller).
- ANY: npserver gives all records, NSD the first set only (RFC 8482 §4.1).
- HTTPS: npserver adds the target's addresses (RFC 9460 §4.1), NSD 4.6 does not.
- Addresses of servers are added from all zones; NSD adds those in the zone of the answer only.
- AXFR and IXFR over UDP: REFUSED instead of NOTIMP and NOTAUTH: policy, not ability.
- NOTIFY and UPDATE: REFUSED instead of NXDOMAIN and NOTIMP: likewise.
- Trailing bytes after the counted records: FORMERR instead of an answer; a malformed cookie: FORMERR (RFC 7873 §5.2.2).
- Extra records in a query (TSIG, others): ignored instead of FORMERR; rcode bits in a query: ignored.
- version.bind: REFUSED, the version is not disclosed.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

import dns.message
import pytest

from npserver.nameserver.query_processor import QueryProcessor
from tests.stage.nameserver import ODDITIES, Nsd, Shown, ask, processor_of, show, tables_of
from tests.stage.ports import free_port
from tests.stage.programs import needs

pytestmark = needs("nsd")
TYPES = (
    *("A", "AAAA", "CNAME", "MX", "TXT", "SRV", "NS", "PTR", "SOA", "CAA", "HTTPS", "SVCB", "TYPE65280", "ANY"),
    *("DS", "DNSKEY", "HINFO", "AXFR", "IXFR", "TYPE253", "OPT", "TYPE0", "RRSIG"),
)
ADDRESSES = (" A ", " AAAA ")


@pytest.fixture(scope="module")
def processor() -> QueryProcessor:
    return processor_of(tables_of(ODDITIES))


@pytest.fixture(scope="module")
def nsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nsd]:
    server = Nsd(tables_of(ODDITIES), tmp_path_factory.mktemp("nsd"), free_port())
    yield server
    server.close()


def names() -> list[str]:
    found = {"google.com", ".", "WwW.eXample.COM", "any.cwild.example.com", "x.*.wild.example.com"}
    found |= {"any.wild.example.com", "below.any.wild.example.com", "missing.example.com"}
    for name in ODDITIES:
        plain = name.replace("*", "star")
        labels = name.split(".")
        found |= {name, f"x.{plain}", f"x.y.{plain}"} | {".".join(labels[at:]) for at in range(len(labels))}
    return sorted(found)


def differs_on_purpose(name: str, kind: str, ours: Shown, theirs: Shown) -> bool:
    """Return whether the two answers differ only by what the module's docstring lists."""
    if kind in ("AXFR", "IXFR"):
        return ours[0] == "REFUSED" and theirs[0] in ("NOTIMP", "NOTAUTH")
    if kind == "ANY":
        all_there = ours[0] == theirs[0] and (set(theirs[2]) <= set(ours[2]) or "TC" in ours[1])
        return all_there and (not theirs[3] or ours[3] == theirs[3])
    if ours[:3] != theirs[:3] or not ours[2]:
        return False
    has_zone_servers = bool(theirs[3]) and all(" NS " in line for line in theirs[3])
    if ours[3] != theirs[3] and not (has_zone_servers and not ours[3]):
        return False
    if (name, kind) == ("child.example.com", "NS"):
        return [line.split(" ")[0] for line in ours[4]] == ["ns1.example.com."] * 2 and not theirs[4]
    if kind == "HTTPS":
        return all(line.startswith("web.") and any(one in line for one in ADDRESSES) for line in ours[4])
    servers = {line.rpartition(" ")[2].lower() for line in theirs[3]}
    extra = [line for line in theirs[4] if line not in ours[4]]
    return set(ours[4]) <= set(theirs[4]) and all(line.split(" ")[0].lower() in servers for line in extra)


@pytest.mark.parametrize("edns", [False, True], ids=["plain", "edns"])
def test_answers_are_those_of_nsd(nsd: Nsd, processor: QueryProcessor, edns: bool) -> None:
    differences = []
    equal = 0
    for name in names():
        for kind in TYPES:
            query = dns.message.make_query(name, kind, use_edns=edns, payload=1232 if edns else 0, id=1).to_wire()
            mine, its = ask(processor, query), nsd.ask(query)
            assert mine is not None
            assert its is not None
            if mine == its:
                equal += 1
                continue
            ours, theirs = show(dns.message.from_wire(mine)), show(dns.message.from_wire(its))
            if ours == theirs:
                equal += 1
            elif not differs_on_purpose(name, kind, ours, theirs):
                differences.append((name, kind, ours, theirs))
    assert differences == []
    assert equal > 3000  # most are equal to the letter


def test_random_case_comes_back(nsd: Nsd, processor: QueryProcessor) -> None:
    query = dns.message.make_query("wEb.ExAmPlE.cOm", "AAAA", id=1).to_wire()
    mine, its = ask(processor, query), nsd.ask(query)
    assert mine is not None
    assert its is not None
    assert mine[12:33] == its[12:33] == query[12:33]


QUESTION = b"\3web\7example\3com\0\0\1\0\1"


def header(flags: int = 0x0100, questions: int = 1, answers: int = 0, authority: int = 0, additional: int = 0) -> bytes:
    return pack("!HHHHHH", 0x1234, flags, questions, answers, authority, additional)


def opt(version: int = 0, flags: int = 0, data: bytes = b"", size: int = 1232) -> bytes:
    return b"\0" + pack("!HHBBHH", 41, size, 0, version, flags, len(data)) + data


def plain(name: bytes, kind: int = 1) -> bytes:
    return header() + name + pack("!HH", kind, 1)


LABEL = b"\x3f" + b"a" * 63
SAME = {
    "a reply (QR=1) is dropped": header(0x8100) + QUESTION,
    "less than a header is dropped": header()[:11],
    "no question": header(questions=0),
    "two questions": header(0, questions=2) + QUESTION + QUESTION,
    "an answer in the query": header(answers=1) + QUESTION,
    "inverse query (opcode 1)": header(0x0800) + QUESTION,
    "STATUS (opcode 2)": header(0x1000) + QUESTION,
    "opcode 15": header(0x7800) + QUESTION,
    "class CHAOS": header() + QUESTION[:-1] + b"\3",
    "class ANY is answered without authority": header() + QUESTION[:-1] + b"\xff",
    "EDNS version 1: BADVERS (RFC 6891 §6.1.3)": header(additional=1) + QUESTION + opt(1),
    "DO is copied (RFC 3225 §3)": header(additional=1) + QUESTION + opt(0, 0x8000),
    "EDNS Z bits are ignored": header(additional=1) + QUESTION + opt(0, 0x4000),
    "two OPT records (RFC 6891 §6.1.1)": header(additional=2) + QUESTION + opt() + opt(),
    "OPT longer than the message": header(additional=1) + QUESTION + opt()[:-1] + b"\5",
    "an option longer than OPT": header(additional=1) + QUESTION + opt(data=b"\0\x0a\0\x20abc"),
    "OPT announced but missing": header(additional=1) + QUESTION,
    "OPT cut off": (header(additional=1) + QUESTION + opt())[:-3],
    "OPT with a name": header(additional=1) + QUESTION + b"\1a" + opt(),
    "UDP size 0 is 512 (RFC 6891 §6.2.3)": header(additional=1) + QUESTION + opt(size=0),
    "unknown options are ignored": header(additional=1) + QUESTION + opt(data=b"\xff\xf0\0\3abc"),
    "a name that points to itself": plain(b"\xc0\x0c"),
    "a name that points forward": plain(b"\xc0\x20"),
    "a name that points into the header": plain(b"\xc0\x00"),
    "a label, then a pointer": plain(b"\3web\xc0\x0c"),
    "a label of 64 bytes": plain(b"\x40" + b"a" * 64 + b"\0"),
    "a label of type 10": plain(b"\x80a\0"),
    "a name of 255 bytes": plain(LABEL * 3 + b"\x2f" + b"a" * 47 + b"\2fo\7example\3com\0"[3:]),
    "a name of 269 bytes": plain(LABEL * 4 + b"\7example\3com\0"),
    "a zero byte in a label": plain(b"\3a\0b\7example\3com\0"),
    "a zero byte in a label of no zone of ours": plain(b"\3a\0b\7exbmple\3com\0"),
    "the question cut off": header() + QUESTION[:-1],
    "CD": header(0x0110) + QUESTION,
    "AD": header(0x0120) + QUESTION,
    "RA": header(0x0180) + QUESTION,
    "AA": header(0x0500) + QUESTION,
    "TC": header(0x0300) + QUESTION,
    "Z": header(0x0140) + QUESTION,
    "no RD": header(0) + QUESTION,
    "the root": plain(b"\0", 2),
}


@pytest.mark.parametrize("data", SAME.values(), ids=SAME)
def test_odd_messages_fare_as_with_nsd(nsd: Nsd, processor: QueryProcessor, data: bytes) -> None:
    mine, its = ask(processor, data), nsd.ask(data)
    if mine is None or its is None:
        assert mine == its
        return
    assert mine[:8] == its[:8]  # id, flags, questions, answers
    ours, theirs = dns.message.from_wire(mine), dns.message.from_wire(its)
    assert show(ours)[:2] == show(theirs)[:2]
    assert (ours.edns, ours.ednsflags) == (theirs.edns, theirs.ednsflags)


OTHERWISE = {
    "trailing bytes": (header() + QUESTION + b"xx", 1),
    "trailing bytes after OPT": (header(additional=1) + QUESTION + opt() + b"xx", 1),
    "OPT not announced": (header() + QUESTION + opt(), 1),
    "a cookie of 3 bytes (RFC 7873 §5.2.2)": (header(additional=1) + QUESTION + opt(data=b"\0\x0a\0\3abc"), 1),
    "NOTIFY": (header(0x2000) + QUESTION, 5),
    "UPDATE": (header(0x2800) + QUESTION, 5),
    "version.bind": (header() + b"\7version\4bind\0\0\x10\0\3", 5),
    "an additional record": (header(additional=1) + QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4abcd", 0),
    "an additional record and OPT": (header(additional=2) + QUESTION + b"\0\0\1\0\1\0\0\0\0\0\4abcd" + opt(), 0),
}


@pytest.mark.parametrize(("data", "rcode"), OTHERWISE.values(), ids=OTHERWISE)
def test_odd_messages_that_fare_otherwise(nsd: Nsd, processor: QueryProcessor, data: bytes, rcode: int) -> None:
    mine, its = ask(processor, data), nsd.ask(data)
    assert mine is not None
    assert mine[3] & 0xF == rcode
    assert mine[:2] == data[:2]
    assert its is None or its[2:4] != mine[2:4]  # should NSD come to agree, the case belongs above
