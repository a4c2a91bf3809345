"""The UDP front and what the fronts of a name server share: views, access, counts, the query log, the resolvers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import dns.edns
import dns.flags
import dns.message
import pytest

from npserver.dns.message.query import Query
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.resolver.messages import fail
from npserver.nameserver.udp import DnsOverUdp
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from npserver.networks import Networks, parse_network
from tests.protocols.memory import MemoryLoop
from tests.stage.nameserver import ODDITIES, limiter_of, tables_of
from tests.stage.worker import make_context


def networks(*texts: str) -> Networks:
    return Networks([parse_network(text) for text in texts])


class QueryLog:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def query(self, *, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str) -> None:
        assert not blocked_by
        self.lines.append(f"{transport} {client} {name} {type} {rcode}")


class Resolvers:
    """Answer at once; with `size` bytes of additional data."""

    def __init__(self) -> None:
        self.size = 0

    def ask(self, query: Query, deliver: Callable[[bytes], None]) -> None:
        reply = fail(query, 0)
        if self.size and query.edns is not None:  # OPT is the last record
            head, opt = reply[:-11], reply[-11:]
            record = b"\0\0\x10\0\1" + bytes(4) + (self.size - 11).to_bytes(2, "big") + bytes(self.size - 11)
            deliver(head[:10] + b"\0\2" + head[12:] + record + opt)
        else:
            deliver(reply + bytes(self.size))


class Stage:
    """A UDP front whose socket is a list."""

    def __init__(
        self, *views: Any, recursion_clients: Networks | None = None, logs: bool = False, **policy: Any
    ) -> None:
        self.addresses = [b"\1\1\1\1", b"\2\2\2\2"]
        self.loop = MemoryLoop()
        self.log = QueryLog()
        self.context = make_context(self.loop, access_log=self.log)
        self.resolvers = Resolvers()
        resolvers: Any = self.resolvers
        self.server = NameServer(
            self.context,
            [*views, (None, tables_of(ODDITIES))],
            resolvers,
            recursion_clients,
            find_addresses=lambda upstream, kind: list(self.addresses),
            logs_queries=logs,
        )
        self.front = DnsOverUdp(self.server.policy(UdpQueryProcessor, **policy))
        self.sent: list[tuple[bytes, Any]] = []

    @property
    def live(self) -> Any:
        raise AssertionError("DNS needs no listener")

    def local(self, client: Any) -> tuple[str, int]:
        return ("127.0.0.1", 53)

    def send(self, data: bytes, client: Any) -> None:
        self.sent.append((data, client))

    def ask(self, name: str, kind: str = "A", client: str = "192.0.2.1", **options: Any) -> dns.message.Message | None:
        self.sent.clear()
        self.front.datagram(dns.message.make_query(name, kind, **options).to_wire(), (client, 4711), self)
        if not self.sent:
            return None
        ((data, to),) = self.sent
        assert to == (client, 4711)
        return dns.message.from_wire(data)

    def answer(self, name: str, client: str, kind: str = "A") -> str:
        reply = self.ask(name, kind, client)
        if reply is None:
            return "dropped"
        return str(reply.answer[0][0]) if reply.answer else dns.rcode.to_text(reply.rcode())

    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds
        self.context.sweeper._sweep()

    def counts(self) -> dict[str, int]:
        self.pass_time(1)
        board = self.context.row.board
        found = {name: board.total(slot) for name, slot in board.directory.names.items() if name.startswith("dns.")}
        return {name.removeprefix("dns."): count for name, count in found.items() if count}


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
    stage.front = DnsOverUdp(stage.server.policy(UdpQueryProcessor))
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


class TestViews:
    """`dns_views`: the first match counts, the global records are for all others."""

    INSIDE = (networks("10.0.0.0/8", "fd00::/8"), tables_of({"mx1.example.com": {"A": "10.0.0.1"}}))
    DEEPER = (networks("10.1.0.0/16"), tables_of({"mx1.example.com": {"A": "10.1.0.1"}}))

    @pytest.mark.parametrize(
        ("client", "expected"),
        [("10.0.0.9", "10.0.0.1"), ("10.1.0.9", "10.0.0.1"), ("fd00::7", "10.0.0.1"), ("192.0.2.1", "192.0.2.4")],
    )
    def test_the_first_view_that_matches_answers(self, client: str, expected: str) -> None:
        stage = Stage(self.INSIDE, self.DEEPER)
        for _ in range(20):
            assert stage.answer("mx1.example.com", client) == expected

    def test_most_specific_first_if_written_so(self) -> None:
        stage = Stage(self.DEEPER, self.INSIDE)
        assert [stage.answer("mx1.example.com", client) for client in ("10.1.0.9", "10.0.0.9")] == [
            "10.1.0.1",
            "10.0.0.1",
        ]

    def test_a_view_replaces_the_global_records(self) -> None:
        stage = Stage(self.INSIDE)
        assert stage.answer("www.other.test", "10.0.0.9") == "REFUSED"
        assert stage.answer("www.other.test", "192.0.2.1") == "198.51.100.2"


class TestAccess:
    def test_only_allowed_clients_are_answered(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "npserver.dns")
        stage = Stage(allow=networks("10.0.0.0/8"), key="dispatch[2]")
        assert [stage.answer("mx1.example.com", one) for one in ("10.0.0.1", "192.0.2.1")] == ["192.0.2.4", "REFUSED"]
        assert caplog.messages == ["query of client 192.0.2.1 refused (dispatch[2].allow)"]

    def test_denied_clients_are_refused(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "npserver.dns")
        stage = Stage(deny=networks("10.0.0.0/8"), key="dispatch[2]")
        assert [stage.answer("mx1.example.com", one) for one in ("10.0.0.1", "192.0.2.1")] == ["REFUSED", "192.0.2.4"]
        assert caplog.messages == ["query of client 10.0.0.1 refused (dispatch[2].deny)"]

    def test_the_refused_are_not_relayed(self) -> None:
        stage = Stage(deny=networks("10.0.0.0/8"), recursion_clients=networks("10.0.0.0/8"))
        assert stage.answer("google.com", "10.0.0.1") == "REFUSED"

    def test_a_client_above_its_rate_is_limited(self) -> None:
        stage = Stage(limiter=limiter_of(2, 0))
        assert [stage.answer("mx1.example.com", "192.0.2.1") for _ in range(4)] == ["192.0.2.4"] * 2 + ["dropped"] * 2
        stage.loop.now += 1
        assert stage.answer("mx1.example.com", "192.0.2.1") == "192.0.2.4"


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

    def test_what_resolvers_answer_goes_out_by_itself(self) -> None:
        stage = Stage(recursion_clients=networks("10.0.0.0/8"))
        data = dns.message.make_query("google.com", "A").to_wire()
        assert stage.front.answer_batch([data, b""], lambda place: ("10.0.0.1", 7 + place), stage) == [None, None]
        assert [client for _, client in stage.sent] == [("10.0.0.1", 7)]
