"""A client of DNS over QUIC that sends any frames to the real connection over memory: `tests.stage.quic_memory`."""

from __future__ import annotations

from typing import Any

from npserver.listen.quic.roles import Application
from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.quic.connection import DoqConnection
from npserver.nameserver.quic.front import DnsOverQuic
from npserver.nameserver.stream_front import StreamSettings
from npserver.nameserver.transfers.access import AccessList, TransferAccess
from npserver.networks import Networks, parse_network
from npserver.web.config import Limits
from tests.protocols.memory import Server
from tests.stage.http2 import Mirror
from tests.stage.nameserver import tables_of
from tests.stage.quic_memory import Client, Endpoint

RECORDS = {"nas.home": {"A": "192.0.2.10"}, "big.home": {"TXT": [f"{n:0250}" for n in range(100)]}}


class DoqEndpoint(Endpoint):
    """An endpoint whose connections are of a name server."""

    def make_front(self, server: Server) -> Any:
        name_server = NameServer(self.context, [(None, tables_of(RECORDS))])
        everybody = AccessList("", Networks([parse_network("0.0.0.0/0")]))
        policy = AccessPolicy(name_server, QueryProcessor, transfers=TransferAccess(everybody))
        return DnsOverQuic(policy, StreamSettings(10.0, 60.0, 100, 0, 500, 1 << 28), Limits())

    def accept(self, connection: Any, protocol: str) -> Application:
        made = DoqConnection(self.live.front, self.live, connection)
        self.http.append(made)
        made.begin()
        return made


class DoqClient(Client):
    """One connection, from the client's side."""

    protocol = "doq"
    make_endpoint = DoqEndpoint

    def __init__(self) -> None:
        super().__init__(Mirror())

    @property
    def doq(self) -> DoqConnection:
        """The server's side."""
        found: DoqConnection = self.endpoint.http[0]
        return found

    def end(self) -> None:
        """Close, and check that nothing is left."""
        self.connection.abort()
        self.loop.settle()
        front = self.endpoint.live.front
        context = self.server.context
        assert (context.connections, self.endpoint.ids) == (set(), {})
        assert self.doq not in context.sweeper.watched
        assert (self.doq._streams, self.doq._partial, self.doq._transfers, self.doq.unread) == ({}, {}, {}, 0)
        assert context.row.slots[front.gauge] == 0
