"""Base of the fronts of DNS over TCP, TLS and QUIC: their settings, the count of connections, one query's way.

Its subclasses are `nameserver.stream.DnsOverStream` and `nameserver.quic.front.DnsOverQuic`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.padding import pad, wants_padding
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.query_processor import Action, QueryProcessor

if TYPE_CHECKING:
    from npserver.nameserver.name_server import AccessPolicy

log = logging.getLogger("npserver.dns")

ENCRYPTED = frozenset({"tls", "doq"})  # transports whose answers are padded for clients that ask for it


class StreamSettings(Struct, frozen=True):
    """Limits of the connections of one front."""

    timeout_s: float
    write_timeout_s: float
    max_connections: int
    max_connections_per_ip: int
    max_resets: int = 0  # queries cancelled per minute; these two are of QUIC
    max_unread: int = 0  # bytes, over all connections of a process


class Asker(Protocol):
    """Who has asked a query whose answer is not there at once."""

    def wait(self) -> None:
        """The answer follows, by `deliver`."""

    def deliver(self, reply: bytes) -> None:
        """Send the answer: a resolver has given it."""

    def transfer(self, messages: Iterator[bytes]) -> None:
        """Send all these messages: a zone."""


class DnsStreamFront:
    """What the connections of one listener need to answer queries."""

    def __init__(self, policy: AccessPolicy[QueryProcessor], transport: str, settings: StreamSettings) -> None:
        self.policy = policy
        self.server = policy.server
        self.transport = transport
        self.settings = settings
        self.on_limited: Callable[[str], None] | None = None  # called with a client that is over a limit
        self.gauge = self.server.context.row.slot("gauge.dns.connections")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.transport} {self.server!r}>"

    def close(self) -> None:
        """Flush the counters when another front takes over; open connections use it from their next query on."""
        self.server.flush()

    def answer(self, data: bytes, client: str, asker: Asker) -> bytes | None:
        """Return the reply to a message; empty if it follows later; None if the message deserves none."""
        server = self.server
        server.queries[self.transport][0] += 1
        processor = self.policy.only or self.policy.choose(client)
        if server.on_question is not None:
            server.on_question(client)
        reply = processor.respond(data, client, 0.0, server.wall)
        if isinstance(reply, Action):
            self._act(reply, processor, data, client, asker)
            return b""
        server.log(self.transport, client, data, reply)
        if reply is None:
            return None
        if reply[3] & 0xF == codes.REFUSED and not processor.may_transfer:
            query = parse_query(data)
            if isinstance(query, Query) and query.qtype == codes.AXFR:
                zone, key = to_text(query.key), self.policy.key
                log.debug("transfer of zone %s refused to %s (%s.allow_transfer)", zone, client, key)
        return self._padded(data, reply)

    def _act(self, action: Action, processor: QueryProcessor, data: bytes, client: str, asker: Asker) -> None:
        query = parse_query(data)
        assert isinstance(query, Query)
        if action is Action.TRANSFER:
            log.info("sending zone %s to %s (allow_transfer)", to_text(query.key), client)
            processor.responder.tally(query.qtype, codes.NOERROR)[0] += 1
            asker.transfer(transfer(processor.responder.tables, query))
            return
        server = self.server

        def deliver(reply: bytes) -> None:
            server.log(self.transport, client, data, reply)
            asker.deliver(self._padded(data, reply))

        asker.wait()
        server.resolve(processor, query, deliver, by_stream=True)

    def _padded(self, data: bytes, reply: bytes) -> bytes:
        return pad(reply) if self.transport in ENCRYPTED and wants_padding(data) else reply


class ConnectionCount:
    """Counts one connection on the scoreboard until `release`."""

    __slots__ = ("_cells", "_front", "_is_counted")

    def __init__(self, front: DnsStreamFront, client: str) -> None:
        self._front = front
        self._is_counted = True
        row = front.server.context.row
        row.slots[front.gauge] += 1
        self._cells = row.cells(client.encode()) if front.settings.max_connections_per_ip else None
        for cell in self._cells or ():
            row.slots[cell] += 1

    def is_over(self, client: str) -> bool:
        """Return whether this connection exceeds a limit, which is then logged."""
        front, settings = self._front, self._front.settings
        row = front.server.context.row
        if self._cells is not None and row.cell_total(self._cells) > settings.max_connections_per_ip:
            log.debug(
                "closing connection from %s: it has more than %d connections (timeouts.max_connections_per_ip)",
                client, settings.max_connections_per_ip,
            )  # fmt: skip
            if front.on_limited is not None:
                front.on_limited(client)
            return True
        if row.board.total(front.gauge) > settings.max_connections:
            log.debug(
                "closing connection from %s: more than %d DNS connections are open (limits.max_connections)",
                client, settings.max_connections,
            )  # fmt: skip
            return True
        return False

    def release(self) -> None:
        """Stop counting the connection."""
        if self._is_counted:
            self._is_counted = False
            slots = self._front.server.context.row.slots
            for slot in (self._front.gauge, *(self._cells or ())):
                slots[slot] -= 1


def has_room(front: DnsStreamFront, client: str) -> bool:
    """Return whether one more connection of a client would stay within the limits."""
    row, settings = front.server.context.row, front.settings
    if row.board.total(front.gauge) >= settings.max_connections:
        return False
    most = settings.max_connections_per_ip
    return not most or row.cell_total(row.cells(client.encode())) < most
