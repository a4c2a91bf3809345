"""Who decides: `allow`, `block`, exceptions, lists; and what becomes of an answer that leads to a blocked name."""

from __future__ import annotations

import os
from array import array

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest

from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.public_suffix import is_registry
from npserver.nameserver.blocking.answers import BlockedAnswer, BlockedReply
from npserver.nameserver.blocking.block_list import BlockList, ListSource, Published
from npserver.nameserver.blocking.blocker import Blocker, Blocking, UsedList
from npserver.nameserver.blocking.list_format import ListReader
from npserver.nameserver.blocking.table import build_table
from npserver.networks import Networks, parse_network
from npserver.runtime.scoreboard import Scoreboard

BOARD = Scoreboard(1, os.urandom(16), rate_limit_keys=1)
ROW = BOARD.row(0)


def used(number: int, text: str) -> UsedList:
    reader = ListReader(1000, is_registry)
    reader.read(text.encode())
    key = f"dns_block.lists[{number}]"
    one = BlockList(ListSource("file", f"/{number}", 1), key, BOARD.shared_file)
    hashes = {kind: array("q", found) for kind, found in reader.hashes.items()}
    one.use(Published(build_table(BOARD.shared_file, hashes).keep(), 1.0))
    return UsedList(key, one, ROW.slot(f"dns.block_lists.{key} /{number}"))


def blocker(*lists: str, allow: str = "", block: str = "") -> Blocker:
    def names(texts: str, key: str) -> dict[bytes, str]:
        return {parse_owner(one): f"dns_block.{key}" for one in texts.split()}

    answer = BlockedAnswer("nxdomain", 10)
    many = [used(number, text) for number, text in enumerate(lists)]
    return Blocker("dns_block", many, names(allow, "allow"), names(block, "block"), answer, ROW)


def decides(one: Blocker, name: str) -> str:
    """Return the key that blocks a name; "" if none does."""
    verdict = one.judge(parse_owner(name).lower())
    return "" if verdict is None or verdict.action >= 4 else verdict.key.removeprefix("dns_block.")


ONE = blocker(
    "0.0.0.0 host.example\n||ads.example^\n||x.allowed.example^\n",
    "@@||fine.ads.example^\nb.example\n||rpz.example^\n",
    "ads.example CNAME .\nok.rpz.example CNAME rpz-passthru.\nb.example CNAME rpz-passthru.\nrpz.net CNAME *.\n",
    allow="allowed.example y.blocked.example",
    block="blocked.example net",
)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("other.example", ""),
        ("host.example", "lists[0]"),
        ("HOST.example", "lists[0]"),
        ("x.host.example", ""),
        ("ads.example", "lists[0]"),
        ("a.b.ads.example", "lists[0]"),
        ("fine.ads.example", ""),
        ("very.fine.ads.example", ""),
        ("x.allowed.example", ""),
        ("blocked.example", "block"),
        ("x.blocked.example", "block"),
        ("y.blocked.example", ""),
        ("any.net", "block"),
        ("net", "block"),
        ("rpz.net", "block"),
        ("ok.rpz.example", "lists[1]"),  # an exception of a zone is for that zone and those after it
        ("b.example", "lists[1]"),
        ("example", ""),
        (".", ""),
    ],
)
def test_who_decides(name: str, key: str) -> None:
    assert decides(ONE, name) == key


def ask(one: Blocker, name: str, *records: str) -> tuple[str, bytes | None]:
    """Return what becomes of a query whose answer from the resolvers has these records, and the client's reply."""
    query = parse_query(dns.message.make_query(name, "A").to_wire())
    assert isinstance(query, Query)
    told: list[bytes] = []
    finished: list[bytes] = []
    finish = one.guard(query, query.key, finished.append, told.append)
    if finish is None:
        return "not asked", told[0]
    answer = dns.message.make_response(dns.message.from_wire(query.data))
    for record in records:
        owner, kind, data = record.split()
        answer.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, data))
    finish(answer.to_wire())
    assert len(told) + len(finished) == 1
    return ("finished", finished[0]) if finished else ("told", told[0])


def test_a_blocked_name_is_not_asked_for() -> None:
    what, reply = ask(ONE, "sub.ads.example")
    assert what == "not asked"
    assert isinstance(reply, BlockedReply)
    assert reply.key == "dns_block.lists[0]"


@pytest.mark.parametrize(
    ("kind", "place", "reason"),
    [
        ("file", "/etc/lists/ads.txt", "ads.txt (dns_block.lists[0])"),
        ("file", f"/etc/{'x' * 200}", f"{'x' * 60} (dns_block.lists[0])"),
        ("url", "https://lists.example/token/ads.txt", "lists.example (dns_block.lists[0])"),
    ],
)
def test_clients_are_told_which_list_it_was(kind: str, place: str, reason: str) -> None:
    """No more of it than its name: a path may tell of the machine, that of a URL may have a secret."""
    source = ListSource(kind, place, 1)
    one = UsedList("dns_block.lists[0]", BlockList(source, "dns_block.lists[0]", BOARD.shared_file), 0)
    assert one.reason == reason
    query = parse_query(dns.message.make_query("sub.ads.example", "A", use_edns=0).to_wire())
    assert isinstance(query, Query)
    for name, text in (("sub.ads.example", "0 (dns_block.lists[0])"), ("blocked.example", "dns_block.block")):
        told: list[bytes] = []
        ONE.guard(query, parse_owner(name), told.append, told.append)
        (option,) = dns.message.from_wire(told[0]).options
        assert isinstance(option, dns.edns.EDEOption)
        assert option.text == text


@pytest.mark.parametrize(
    ("name", "records", "what"),
    [
        ("www.example", ["www.example. A 192.0.2.1"], "finished"),
        ("www.example", ["www.example. CNAME a.example.", "a.example. A 192.0.2.1"], "finished"),
        ("www.example", ["www.example. CNAME a.example.", "a.example. CNAME x.ads.example."], "told"),
        ("www.example", ["www.example. CNAME Ads.Example.", "Ads.Example. CNAME a.example."], "told"),
        ("www.example", ["www.example. CNAME fine.ads.example."], "finished"),
        ("x.allowed.example", ["x.allowed.example. CNAME ads.example."], "finished"),
        ("fine.ads.example", ["fine.ads.example. CNAME host.example."], "finished"),
    ],
)
def test_the_whole_chain_of_an_answer_is_looked_at(name: str, records: list[str], what: str) -> None:
    found, reply = ask(ONE, name, *records)
    assert found == what
    assert reply is not None
    assert (dns.message.from_wire(reply).rcode() == dns.rcode.NXDOMAIN) == (what == "told")


def test_an_answer_that_cannot_be_read_is_a_failure() -> None:
    query = parse_query(dns.message.make_query("www.example", "A").to_wire())
    assert isinstance(query, Query)
    told: list[bytes] = []
    finish = ONE.guard(query, query.key, told.append, told.append)
    assert finish is not None
    answer = dns.message.make_response(dns.message.from_wire(query.data))
    answer.answer.append(dns.rrset.from_text("www.example.", 60, "IN", "CNAME", "a.b."))
    finish(answer.to_wire()[:-3])
    assert dns.message.from_wire(told[0]).rcode() == dns.rcode.SERVFAIL


def test_what_is_blocked_is_counted_by_list_and_by_answer() -> None:
    one = blocker("ads.example\n", block="bad.example")
    names = ("dns.blocked.nxdomain", "dns.block_lists.dns_block.lists[0] /0", "dns.block_lists.dns_block.block config")
    before = [ROW.slots[ROW.slot(name)] for name in names]
    for name in ("ads.example", "x.ads.example", "bad.example", "fine.example"):
        ask(one, name)
    ask(one, "www.example", "www.example. CNAME ads.example.")
    assert [ROW.slots[ROW.slot(name)] - was for name, was in zip(names, before, strict=True)] == [4, 3, 1]


def test_the_first_entry_that_has_a_client_is_used() -> None:
    kids, others = blocker(block="a.example"), blocker(block="b.example")
    blocking = Blocking([(Networks([parse_network("192.0.2.0/24")]), kids), (None, others)])
    assert blocking.choose("192.0.2.7") is kids
    assert blocking.choose("198.51.100.7") is others
    assert Blocking([(Networks([parse_network("192.0.2.0/24")]), kids)]).choose("198.51.100.7") is None
