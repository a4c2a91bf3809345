"""DNS over TCP and TLS (RFC 7766, RFC 7858, RFC 5936): framing in any pieces, pipelining, limits in time and memory.

Covers `nameserver.stream_front`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import dns.message
import dns.zone
import pytest

from npserver.address import Address
from npserver.dns.message.query import Query
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.resolver.messages import fail
from npserver.nameserver.stream import MAX_WAITING, DnsConnection, DnsOverStream
from npserver.nameserver.stream_front import StreamSettings
from npserver.nameserver.transfers.access import AccessList, TransferAccess
from npserver.networks import Networks, parse_network
from tests.protocols.memory import MemoryLoop, MemoryTransport
from tests.stage.nameserver import ODDITIES, tables_of
from tests.stage.worker import make_context

EVERYBODY = Networks([parse_network("0.0.0.0/0")])


class LateResolverClient:
    """Resolvers that answer when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Query, Callable[[bytes], None]]] = []
        self.is_immediate = False

    def flush(self) -> None: ...

    def ask(self, query: Query, deliver: Callable[[bytes], None]) -> None:
        self.asked.append((query, deliver))
        if self.is_immediate:
            self.answer()

    def answer(self) -> None:
        (query, deliver), *self.asked = self.asked
        deliver(fail(query, 0))


class Stage:
    """A name server over memory."""

    def __init__(
        self,
        records: Any = ODDITIES,
        *,
        timeout_s: float = 10,
        write_timeout_s: float = 30,
        per_ip: int = 0,
        most: int = 100,
    ) -> None:
        self.loop = MemoryLoop()
        self.context = make_context(self.loop)
        self.resolver_client = LateResolverClient()
        resolver_client: Any = self.resolver_client
        self.server = NameServer(self.context, [(None, tables_of(records))], resolver_client, EVERYBODY)
        policy = AccessPolicy(self.server, QueryProcessor, transfers=TransferAccess(AccessList("", EVERYBODY)))
        self.front = DnsOverStream(policy, "tcp", StreamSettings(timeout_s, write_timeout_s, most, per_ip))
        listener = Listener("tcp://127.0.0.1:53", "dns", Address("tcp", "127.0.0.1", 53), 16, "test")
        self.live = LiveListener(listener, self.front, self.context)

    def connect(self, client: str = "192.0.2.1") -> Connection:
        return Connection(self, client)

    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds
        self.context.sweeper._sweep()
        self.loop.settle()

    def counted(self, name: str) -> int:
        self.server.flush()
        return self.context.row.board.total(self.context.row.slot(name))


class Connection:
    """The other end of one."""

    def __init__(self, stage: Stage, client: str) -> None:
        self.loop = stage.loop
        protocol = stage.front.accept(stage.live)
        assert isinstance(protocol, DnsConnection)
        self.protocol = protocol
        self.transport = MemoryTransport(protocol, stage.loop, (client, 40_000))
        protocol.connection_made(self.transport)
        self.loop.settle()

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)
        self.loop.settle()

    def end(self) -> None:
        if not self.protocol.eof_received():
            self.transport.close()
        self.loop.settle()

    def replies(self, *, apart: bool = False) -> list[dns.message.Message]:
        """The whole messages received, which must be all there is."""
        data, found = bytes(self.transport.sent), []
        while data:
            size = int.from_bytes(data[:2], "big")
            assert len(data) >= 2 + size
            found.append(dns.message.from_wire(data[2 : 2 + size], one_rr_per_rrset=apart))
            data = data[2 + size :]
        return found

    def ids(self) -> list[int]:
        return [reply.id for reply in self.replies()]


def framed(name: str = "web.example.com", kind: str = "A", number: int = 1) -> bytes:
    wire = dns.message.make_query(name, kind, id=number).to_wire()
    return len(wire).to_bytes(2, "big") + wire


class TestFraming:
    """RFC 1035 §4.2.2, RFC 7766 §8."""

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
    def test_any_split_gets_the_same_answers(self, size: int) -> None:
        connection = Stage().connect()
        data = b"".join(
            framed(name, number=n) for n, name in enumerate(["web.example.com", "x.example.com", "www.other.test"])
        )
        for at in range(0, len(data), size):
            connection.send(data[at : at + size])
        assert connection.ids() == [0, 1, 2]
        assert [reply.rcode() for reply in connection.replies()] == [0, 3, 0]

    def test_pipelined_questions_are_answered_in_order_at_once(self) -> None:
        connection = Stage().connect()
        connection.send(b"".join(framed(number=number) for number in range(500)))
        assert connection.ids() == list(range(500))

    def test_no_message_of_512_bytes_is_cut(self) -> None:
        connection = Stage().connect()
        connection.send(framed("big.example.com", "TXT"))
        assert len(connection.replies()[0].answer[0]) == 30

    @pytest.mark.parametrize("data", [b"\0\0", b"\0\x03abc", framed()[:2] + b"\0\1\x80\0" + framed()[6:]])
    def test_what_is_no_question_ends_the_connection(self, data: bytes) -> None:
        connection = Stage().connect()
        connection.send(framed() + data + framed())
        assert len(connection.replies()) == 1
        assert connection.transport.is_closed
        assert not connection.transport.is_aborted

    def test_formerr_keeps_it_open(self) -> None:
        connection = Stage().connect()
        connection.send(b"\0\x0c\0\1\1\0" + bytes(8) + framed(number=2))
        assert [(reply.id, reply.rcode()) for reply in connection.replies()] == [(1, 1), (2, 0)]
        assert not connection.transport.is_closed

    def test_end_of_questions_is_answered_first(self) -> None:
        connection = Stage().connect()
        connection.send(framed() + framed()[:9])
        connection.end()
        assert len(connection.replies()) == 1
        assert connection.transport.is_closed


class TestTime:
    """RFC 7766 §6.2.3: idle connections end; so do those that trickle, or do not read."""

    def test_a_silent_connection_ends(self) -> None:
        stage = Stage(timeout_s=10)
        connection = stage.connect()
        stage.pass_time(9)
        connection.send(framed())
        stage.pass_time(9)
        assert stage.context.connections
        stage.pass_time(2)
        assert connection.transport.is_closed
        assert not stage.context.connections

    def test_trickling_a_message_is_silence(self) -> None:
        stage = Stage(timeout_s=10)
        connection = stage.connect()
        for byte in framed()[:12]:
            connection.send(bytes((byte,)))
            stage.pass_time(1)
        assert connection.transport.is_closed

    def test_a_client_that_does_not_read_is_closed(self) -> None:
        stage = Stage(timeout_s=10, write_timeout_s=30)
        connection = stage.connect()
        connection.transport.is_stalled = True
        connection.send(framed("big.example.com", "TXT") * 5000)
        assert connection.transport.is_paused
        assert len(connection.transport.unsent) < 300_000  # not 15 MB
        stage.pass_time(29)
        assert not connection.transport.is_aborted
        stage.pass_time(2)
        assert connection.transport.is_aborted

    @pytest.mark.parametrize("is_large", [True, False])
    def test_a_client_that_reads_slowly_has_all_the_time_it_needs(self, is_large: bool) -> None:
        stage = Stage(timeout_s=10, write_timeout_s=30)
        connection = stage.connect()
        connection.transport.is_stalled = True
        connection.send(framed("big.example.com", "TXT") * (1000 if is_large else 10))
        for _ in range(10):
            stage.pass_time(29)
            assert not connection.transport.is_closed
            del connection.transport.unsent[:1000]  # the client reads, less than would let us write again
        stage.pass_time(31)
        stage.pass_time(31)
        assert connection.transport.is_aborted

    def test_a_client_that_awaits_an_answer_is_not_idle(self) -> None:
        stage = Stage(timeout_s=10)
        connection = stage.connect()
        connection.send(framed("www.elsewhere.net"))
        for _ in range(5):
            stage.pass_time(9)
        assert not connection.transport.is_closed
        stage.resolver_client.answer()
        assert connection.ids() == [1]
        stage.pass_time(9)
        assert not connection.transport.is_closed
        stage.pass_time(2)
        assert connection.transport.is_closed

    def test_a_client_that_reads_again_goes_on(self) -> None:
        connection = Stage().connect()
        connection.transport.is_stalled = True
        connection.send(framed("big.example.com", "TXT") * 100)
        connection.end()
        while not connection.transport.is_closed or connection.transport.unsent:
            connection.transport.unstall()
            connection.transport.is_stalled = not connection.transport.is_closed
        assert len(connection.replies()) == 100

    def test_shutdown_ends_idle_connections(self) -> None:
        connection = Stage().connect()
        connection.protocol.shut_down()
        assert connection.transport.is_closed


class TestLimits:
    def test_connections_of_a_client_are_limited(self) -> None:
        stage = Stage(per_ip=2)
        kept = [stage.connect(), stage.connect()]
        assert stage.connect().transport.is_aborted
        assert not stage.connect("192.0.2.2").transport.is_closed
        kept[0].end()
        assert not stage.connect().transport.is_closed

    def test_connections_in_all_are_limited(self) -> None:
        stage = Stage(most=2)
        kept = [stage.connect(), stage.connect()]
        assert stage.connect("192.0.2.2").transport.is_aborted
        kept[0].end()
        assert not stage.connect("192.0.2.2").transport.is_closed
        assert stage.counted("gauge.dns.connections") == 2


class TestResolvers:
    def test_answers_come_when_they_come(self) -> None:
        stage = Stage()
        connection = stage.connect()
        connection.send(framed("www.elsewhere.net", number=1) + framed(number=2))
        assert connection.ids() == [2]
        stage.resolver_client.answer()
        assert connection.ids() == [2, 1]

    def test_answers_known_at_once_are_sent_at_once(self) -> None:
        stage = Stage()
        stage.resolver_client.is_immediate = True
        connection = stage.connect()
        connection.send(b"".join(framed("www.elsewhere.net", number=number) for number in range(100)))
        assert sorted(connection.ids()) == list(range(100))

    def test_questions_under_way_are_bounded(self) -> None:
        stage = Stage()
        connection = stage.connect()
        connection.send(b"".join(framed("www.elsewhere.net", number=number) for number in range(100)))
        assert len(stage.resolver_client.asked) == MAX_WAITING
        assert connection.transport.is_paused
        while stage.resolver_client.asked:
            stage.resolver_client.answer()
        assert connection.ids() == list(range(100))
        assert not connection.transport.is_paused

    def test_the_end_waits_for_them(self) -> None:
        stage = Stage()
        connection = stage.connect()
        connection.send(framed("www.elsewhere.net"))
        connection.end()
        assert not connection.transport.is_closed
        stage.resolver_client.answer()
        assert connection.ids() == [1]
        assert connection.transport.is_closed

    def test_a_client_that_is_gone_is_not_written_to(self) -> None:
        stage = Stage()
        connection = stage.connect()
        connection.send(framed("www.elsewhere.net"))
        connection.transport.abort()
        stage.loop.settle()
        stage.resolver_client.answer()
        assert connection.ids() == []


class TestTransfer:
    """RFC 5936."""

    def zone(self, connection: Connection, origin: str) -> dns.zone.Zone:
        zone = dns.zone.Zone(origin, relativize=False)
        sets = [rrset for reply in connection.replies(apart=True) for rrset in reply.answer]
        assert sets[0].rdtype == sets[-1].rdtype == dns.rdatatype.SOA
        assert sets[0] == sets[-1]
        with zone.writer() as writer:
            for rrset in sets[:-1]:
                writer.add(rrset)
        return zone

    def test_a_transfer_has_every_record(self) -> None:
        connection = Stage().connect()
        connection.send(framed("example.com", "AXFR"))
        zone = self.zone(connection, "example.com.")
        expected = {name for name in ODDITIES if not name.endswith(("child.example.com", ".test"))}
        assert {name.to_text(omit_final_dot=True) for name in zone} == expected
        assert len(zone.find_rdataset("big.example.com.", "TXT")) == 30
        assert zone.find_rdataset("ns.sub.example.com.", "A")  # glue
        assert not any("child" in name.to_text() for name in zone)

    def test_many_messages_as_fast_as_the_client_reads(self) -> None:
        connection = Stage({f"host{n}.lan": {"A": "192.0.2.1"} for n in range(20_000)}).connect()
        connection.transport.is_stalled = True
        connection.send(framed("lan", "AXFR", 1) + framed("host1.lan", "A", 2))
        assert len(connection.transport.unsent) < 140_000
        while connection.transport.unsent:
            connection.transport.unstall()
            connection.transport.is_stalled = True
        replies = connection.replies()
        assert replies[-1].id == 2
        assert sum(len(rrset) for reply in replies[:-1] for rrset in reply.answer) == 20_002
        assert 6 < len(replies) < 12  # as few as hold all records

    def test_many_transfers_follow_each_other(self) -> None:
        connection = Stage({"a.lan": {"A": "192.0.2.1"}}).connect()
        connection.send(framed("lan", "AXFR") * 2000)
        assert len(connection.replies()) == 2000

    def test_a_transfer_of_no_zone_of_ours_is_refused(self) -> None:
        connection = Stage().connect()
        connection.send(framed("sub.example.com", "AXFR"))
        assert [reply.rcode() for reply in connection.replies()] == [9]  # NOTAUTH

    def test_transfers_are_only_for_those_allowed(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "npserver.dns")
        stage = Stage()
        stage.live.front = copy(stage.front)
        stage.live.front.policy = AccessPolicy(stage.server, QueryProcessor, key="dispatch[0]")
        connection = stage.connect()
        connection.send(framed("example.com", "AXFR"))
        assert [reply.rcode() for reply in connection.replies()] == [5]
        assert caplog.messages == ["transfer of zone example.com. refused to 192.0.2.1 (dispatch[0].allow_transfer)"]


class TestReload:
    def test_connections_follow_the_new_config(self) -> None:
        stage, other = Stage(), Stage({"new.lan": {"A": "192.0.2.1"}})
        connection = stage.connect()
        connection.send(framed(number=1))
        stage.live.front = other.front
        connection.send(framed("new.lan", number=2))
        assert [(reply.id, len(reply.answer)) for reply in connection.replies()] == [(1, 1), (2, 1)]

    def test_another_handler_ends_the_connections(self) -> None:
        stage = Stage()
        connection = stage.connect()
        front: Any = object()
        stage.live.front = front
        connection.send(framed())
        assert connection.transport.is_closed

    def test_queries_are_counted(self) -> None:
        stage = Stage()
        connection = stage.connect()
        connection.send(framed() + framed("missing.example.com") + framed("web.example.com", "AAAA"))
        assert stage.counted("dns.queries.tcp") == 3
        assert stage.counted("dns.type.A") == 2
        assert stage.counted("dns.type.AAAA") == 1
        assert stage.counted("dns.rcode.NXDOMAIN") == 1
        assert stage.counted("dns.rcode.NOERROR") == 2
