"""The UDP front and what the fronts of a name server share: views, access, counts, the query log, the resolvers."""

from __future__ import annotations

import gc
from typing import Any

import dns.edns
import dns.flags
import dns.message
import pytest

from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.udp import DnsOverUdp
from npserver.nameserver.udp_query_processor import MAX_REPLIES, UdpQueryProcessor
from tests.stage.nameserver import limiter_of, tables_of
from tests.stage.udp_front import Stage, networks


@pytest.mark.parametrize("logs", [False, True], ids=["fast", "logged"])
def test_answers_go_back_to_the_asker(logs: bool) -> None:
    stage = Stage(logs=logs)
    for _ in range(30):
        assert stage.answer("mx1.example.com", "192.0.2.1") == "192.0.2.4"
        assert stage.answer("www.other.test", "192.0.2.2") == "198.51.100.2"
        assert stage.answer("missing.example.com", "192.0.2.2") == "NXDOMAIN"
        assert stage.answer("google.com", "192.0.2.2") == "REFUSED"


def test_a_refusal_says_why_to_those_who_speak_edns() -> None:  # RFC 8914
    cookie = dns.edns.CookieOption(b"12345678", b"")
    stage = Stage(recursion_clients=networks("192.0.2.0/24"), deny=networks("198.51.100.0/24"))
    for client, name, options, expected in (
        ("203.0.113.1", "google.com", [], ["EDE 18 (Prohibited)"]),  # it may not use the resolvers
        ("198.51.100.1", "mx1.example.com", [], ["EDE 18 (Prohibited)"]),
        ("203.0.113.1", "mx1.example.com", [], []),
        ("203.0.113.1", "google.com", [cookie], ["COOKIE", "EDE 18 (Prohibited)"]),
    ):
        reply = stage.ask(name, client=client, use_edns=0, options=options)
        assert reply is not None
        shown = ["COOKIE" if one.otype == dns.edns.COOKIE else str(one) for one in reply.options]
        assert shown == expected
    stage.server.resolver_client = None
    stage.front = DnsOverUdp(AccessPolicy(stage.server, UdpQueryProcessor))
    reply = stage.ask("google.com", use_edns=0, flags=0)
    assert reply is not None
    assert (reply.rcode(), [str(one) for one in reply.options]) == (5, ["EDE 20 (Not Authoritative)"])
    reply = stage.ask("google.com", client="203.0.113.1")
    assert reply is not None
    assert (reply.rcode(), reply.edns) == (5, -1)


@pytest.mark.parametrize("data", [b"", b"x" * 11, b"\0\1\x81\0" + bytes(8)])
def test_what_is_no_question_is_met_with_silence(data: bytes) -> None:
    stage = Stage()
    stage.front.datagram(data, ("192.0.2.1", 1), stage)
    assert not stage.sent


def test_counts_by_type_rcode_and_transport() -> None:
    stage = Stage()
    for _ in range(20):
        stage.ask("web.example.com")
    stage.ask("web.example.com", "AAAA")
    stage.ask("missing.example.com", "TYPE999")
    stage.ask("google.com", "MX")
    stage.front.datagram(b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0", ("192.0.2.1", 1), stage)
    assert stage.counts() == {
        "queries.udp": 24,
        "type.A": 20,
        "type.AAAA": 1,
        "type.MX": 1,
        "type.other": 2,
        "rcode.NOERROR": 21,
        "rcode.NXDOMAIN": 1,
        "rcode.REFUSED": 1,
        "rcode.FORMERR": 1,
    }
    stage.ask("web.example.com")
    assert stage.counts()["type.A"] == 21


class TestRelay:
    def test_questions_are_relayed_only_for_those_allowed(self) -> None:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        for client, rcode, ra in (("10.0.0.1", 0, True), ("192.0.2.1", 5, False)):
            reply = stage.ask("google.com", client=client)
            assert reply is not None
            assert (reply.rcode(), bool(reply.flags & dns.flags.RA)) == (rcode, ra)

    def test_own_names_are_not_relayed(self) -> None:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        assert stage.answer("missing.example.com", "10.0.0.1") == "NXDOMAIN"

    @pytest.mark.parametrize(("options", "limit"), [({}, 512), ({"use_edns": 0, "payload": 700}, 700)])
    def test_no_more_than_the_asker_may_get(self, options: dict[str, Any], limit: int) -> None:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        stage.resolvers.size = 1000
        reply = stage.ask("google.com", client="10.0.0.1", **options)
        assert reply is not None
        assert reply.flags & dns.flags.TC
        assert len(stage.sent[0][0]) <= limit

    @pytest.mark.parametrize(("size", "is_truncated"), [(0, False), (600 - 12 - 16 - 11 - 28, False), (600 - 66, True)])
    def test_clients_get_a_cookie(self, size: int, is_truncated: bool) -> None:
        """RFC 7873 §5.2, also where there is place for the answer, but not for the cookie."""
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        stage.resolvers.size = size
        cookie = dns.edns.CookieOption(b"client--", b"")
        reply = stage.ask("google.com", client="10.0.0.1", payload=600, options=[cookie])
        assert reply is not None
        assert bool(reply.flags & dns.flags.TC) is is_truncated
        assert len(stage.sent[0][0]) <= 600
        (baked,) = reply.options
        assert isinstance(baked, dns.edns.CookieOption)
        assert (baked.client, len(baked.server)) == (b"client--", 16)
        again = stage.ask("google.com", client="10.0.0.1", payload=600, options=[baked])
        assert again is not None
        assert again.options == (baked,)


def test_queries_are_logged() -> None:
    stage = Stage(logs=True, recursion_clients=networks("10.0.0.0/8"))
    stage.ask("Web.example.com", "AAAA")
    stage.ask("google.com", client="10.0.0.1")
    stage.front.datagram(b"x", ("192.0.2.9", 1), stage)
    assert stage.log.lines == [
        "udp 192.0.2.1 Web.example.com. AAAA NOERROR",
        "udp 10.0.0.1 google.com. A NOERROR",
        "udp 192.0.2.9 ? ? dropped",
    ]


def test_queries_are_not_logged_unless_wanted() -> None:
    stage = Stage()
    stage.ask("web.example.com")
    assert stage.log.lines == []


def test_addresses_follow_health() -> None:
    tables = tables_of({"app.local": {"A": "upstream://pool"}}, has_upstream=lambda path, name: True)
    stage = Stage((networks("10.0.0.0/8"), tables))
    assert {stage.answer("app.local", "10.0.0.1") for _ in range(20)} == {"1.1.1.1", "2.2.2.2"}
    del stage.addresses[0]
    stage.pass_time(1)
    assert {stage.answer("app.local", "10.0.0.1") for _ in range(20)} == {"2.2.2.2"}
    del stage.addresses[0]
    stage.pass_time(1)
    assert stage.answer("app.local", "10.0.0.1") == "NOERROR"


def test_a_replaced_server_is_forgotten_with_its_counts_kept() -> None:
    stage = Stage()
    stage.ask("web.example.com")
    stage.front.close()
    context, sweeper = stage.context, stage.context.sweeper
    assert len(sweeper.watched) == 1
    stage.loop.now += 1
    stage.front = stage.server = None  # type: ignore[assignment]
    gc.collect()
    sweeper._sweep()
    assert not sweeper.watched
    board = context.row.board
    assert board.total(board.directory.names["dns.type.A"]) == 1


class TestBatch:
    """Many datagrams at once are answered as one by one."""

    NAMES = ("web.example.com", "missing.example.com", "google.com", "mx1.example.com", "web.example.com") * 6

    @pytest.mark.parametrize("settings", [{}, {"logs": True}, {"recursion_clients": networks("10.0.0.0/8")}], ids=str)
    def test_a_batch_is_answered_as_one_by_one(self, settings: dict[str, Any]) -> None:
        datagrams = [dns.message.make_query(name, "TXT", id=at).to_wire() for at, name in enumerate(self.NAMES)]
        datagrams += [b"", b"\0\1\x81\0" + bytes(8), b"\0\2\1\0" + bytes(8)]
        batched, single = Stage(**settings), Stage(**settings)
        found = batched.front.answer_batch(datagrams, lambda place: ("192.0.2.1", place), batched)
        expected: list[bytes | None] = []
        for data in datagrams:
            single.sent.clear()
            single.front.datagram(data, ("192.0.2.1", 1), single)
            expected.append(single.sent[0][0] if single.sent else None)
        assert found == expected
        assert batched.log.lines == single.log.lines
        assert batched.counts() == single.counts()

    def test_what_resolvers_answer_later_goes_out_by_itself(self) -> None:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        stage.resolvers.late = []
        data = dns.message.make_query("google.com", "A").to_wire()
        assert stage.front.answer_batch([data, b""], lambda place: ("10.0.0.1", 7 + place), stage) == [None, None]
        assert not stage.sent
        stage.resolvers.late[0]()
        assert [client for _, client in stage.sent] == [("10.0.0.1", 7)]

    def test_what_their_cache_has_goes_out_with_the_others(self) -> None:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        data = dns.message.make_query("google.com", "A").to_wire()
        found = stage.front.answer_batch([data, b""], lambda place: ("10.0.0.1", 7 + place), stage)
        assert [reply is not None for reply in found] == [True, False]
        assert not stage.sent


class TestLastingReplies:
    """A reply of the resolvers' cache is sent again to equal queries, until the next tick of the name server."""

    def stage(self, **settings: Any) -> Stage:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"), **settings)
        stage.resolvers.tally = [0]
        return stage

    def asked(self, stage: Stage, times: int = 3, **options: Any) -> int:
        """Return how often the resolvers were asked for one name."""
        before = stage.resolvers.asked
        for number in range(times):
            reply = stage.ask("google.com", client="10.0.0.1", id=number, **options)
            assert reply is not None
            assert reply.id == number
        return stage.resolvers.asked - before

    def test_it_is(self) -> None:
        stage = self.stage()
        assert self.asked(stage) == 1
        assert stage.resolvers.tally == [2]
        stage.pass_time(1)
        assert self.asked(stage) == 1
        assert self.asked(stage, use_edns=0) == 1

    def test_each_query_is_logged_with_what_has_decided(self) -> None:
        stage = self.stage(logs=True)
        assert self.asked(stage) == 3
        assert len(stage.log.lines) == 3

    def test_each_is_judged_by_the_rate_limit(self) -> None:
        assert self.asked(self.stage(limiter=limiter_of(100, 0))) == 3

    def test_cookies_are_those_of_the_client(self) -> None:
        """RFC 7873 §5.2."""
        assert self.asked(self.stage(), options=[dns.edns.CookieOption(b"client--", b"")]) == 3

    def test_clients_with_other_rights_do_not_get_it(self) -> None:
        stage = self.stage()
        assert self.asked(stage) == 1
        assert stage.answer("google.com", "192.0.2.1") == "REFUSED"

    def test_random_names_take_bounded_memory(self) -> None:
        stage = self.stage()
        for number in range(MAX_REPLIES + 10):
            stage.ask(f"x{number}.net", client="10.0.0.1")
        (processor,) = [one for one in stage.server._udp_processors if one.replies]
        assert len(processor.replies) == 10
        stage.pass_time(1)
        assert not processor.replies
