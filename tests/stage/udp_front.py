"""A UDP front of a name server whose socket is a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dns.message
import dns.rcode

from npserver.dns.message.query import Query
from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.query_logging import QueryLogging
from npserver.nameserver.resolver.answer import LastingReply
from npserver.nameserver.resolver.messages import fail
from npserver.nameserver.udp import DnsOverUdp
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from npserver.networks import Networks, parse_network
from tests.protocols.memory import MemoryLoop
from tests.stage.nameserver import ODDITIES, tables_of
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
    """Answer at once, with `size` bytes of additional data; from a cache that has a `tally`; or later, by `late`."""

    def __init__(self) -> None:
        self.size = 0
        self.asked = 0
        self.tally: list[int] | None = None
        self.late: list[Callable[[], None]] | None = None

    def flush(self) -> None:
        """Have nothing to count."""

    def heed_flush(self) -> None:
        """Have no cache."""

    def ask(self, query: Query, deliver: Callable[[bytes], None]) -> None:
        self.asked += 1
        reply = fail(query, 0)
        if self.late is not None:
            self.late.append(lambda: deliver(reply))
            return
        if self.tally is not None:
            reply = LastingReply(reply)
            reply.tally = self.tally
            deliver(reply)
            return
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
        log: Any = self.log
        self.context = make_context(self.loop, access_log=self.log)
        self.resolvers = Resolvers()
        resolvers: Any = self.resolvers
        self.server = NameServer(
            self.context,
            [*views, (None, tables_of(ODDITIES))],
            resolvers,
            recursion_clients,
            find_addresses=lambda upstream, kind: list(self.addresses),
            query_logging=QueryLogging(log, None) if logs else None,
        )
        self.front = DnsOverUdp(AccessPolicy(self.server, UdpQueryProcessor, **policy))
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
