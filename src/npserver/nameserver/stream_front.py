"""Base of the fronts of DNS over TCP, TLS and QUIC: their settings, the count of connections, one query's way.

Its subclasses are `nameserver.stream.DnsOverStream` and `nameserver.quic.front.DnsOverQuic`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.header import error_reply
from npserver.dns.message.name import to_text
from npserver.dns.message.padding import pad, wants_padding
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.query_processor import QueryProcessor, Recursion, TransferRequest, UpdateRequest

if TYPE_CHECKING:
    from npserver.nameserver.access_policy import AccessPolicy

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
        row = self.server.context.row
        self.gauge = row.slot("gauge.dns.connections")
        self._transfer_slots = {name: row.slot(f"dns.transfers.{name}") for name in ("sent", "refused")}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.transport} {self.server!r}>"

    def close(self) -> None:
        """Flush the counters when another front takes over; open connections use it from their next query on."""
        self.server.flush()

    def connections_changed(self, total: int) -> None:
        """Called with the number of connections of all workers, after one was opened or closed here."""

    def answer(self, data: bytes, client: str, asker: Asker) -> bytes | None:
        """Return the reply to a message; empty if it follows later; None if the message deserves none."""
        server = self.server
        server.queries[self.transport][0] += 1
        started = self.policy.started()
        processor = self.policy.only or self.policy.choose(client)
        if server.on_question is not None:
            server.on_question(client)
        reply = processor.respond(data, client, 0.0, server.wall)
        if isinstance(reply, TransferRequest):
            place = self._transfer(reply.query, processor, client, asker)
            self.policy.log(
                self.transport, client, data, error_reply(data, codes.NOERROR), started=started, source=place
            )
            return b""
        if isinstance(reply, UpdateRequest):
            self._update(reply, data, client, asker, started)
            return b""
        if isinstance(reply, Recursion):
            self._recurse(processor, reply.query, client, asker, started)
            return b""
        self.policy.log(self.transport, client, data, reply, processor, started=started)
        if reply is None:
            return None
        if reply[3] & 0xF == codes.REFUSED:
            self._log_refused(processor, data, client)
        return self._padded(data, reply)

    def _transfer(self, query: Query, processor: QueryProcessor, client: str, asker: Asker) -> str:
        """Send a zone; return the config key that allows it."""
        key = query.signature.key_name if query.signature is not None else None
        by = client if key is None else f"{client}, key {to_text(key)[:-1]}"
        what = "changes of zone" if query.qtype == codes.IXFR else "zone"
        log.info("sending %s %s to %s (%s)", what, to_text(query.key), by, self._place(processor, query))
        processor.responder.tally(query.qtype, codes.NOERROR)[0] += 1
        self.server.context.row.slots[self._transfer_slots["sent"]] += 1
        messages = transfer(processor.responder.tables, query, processor.peers.history(query.key))
        if (signature := query.signature) is not None:
            server = self.server
            messages = (signature.sign(message, int(server.wall)) for message in messages)
        asker.transfer(messages)
        return self._place(processor, query)

    def _update(self, request: UpdateRequest, data: bytes, client: str, asker: Asker, started: float) -> None:
        server = self.server

        def deliver(reply: bytes) -> None:
            self.policy.log(self.transport, client, data, reply, started=started, source="updates")
            asker.deliver(reply)

        asker.wait()
        server.update(request, client, deliver)

    def _log_refused(self, processor: QueryProcessor, data: bytes, client: str) -> None:
        query = parse_query(data)
        if isinstance(query, Query) and query.qtype in (codes.AXFR, codes.IXFR):
            place = self._place(processor, query)
            self.server.context.row.slots[self._transfer_slots["refused"]] += 1
            log.debug("transfer of zone %s refused to %s (%s)", to_text(query.key), client, place)

    def _place(self, processor: QueryProcessor, query: Query) -> str:
        """Return the config key that says who may transfer a zone."""
        transfers = processor.transfers
        return f"{self.policy.key}.allow_transfer" if transfers is None else transfers.of_zone(query.key).place

    def _recurse(self, processor: QueryProcessor, query: Query, client: str, asker: Asker, started: float) -> None:
        server, data, source = self.server, query.data, "cache"

        def deliver(reply: bytes) -> None:
            self.policy.log(self.transport, client, data, reply, started=started, source=source)
            asker.deliver(self._padded(data, reply))

        asker.wait()
        server.resolve(processor, query, deliver)
        source = "resolvers"

    def _padded(self, data: bytes, reply: bytes) -> bytes:
        if self.transport not in ENCRYPTED or not wants_padding(data):
            return reply
        query = parse_query(data)
        return reply if isinstance(query, Query) and query.is_signed else pad(reply)  # a signature is of the whole


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
        total = row.board.total(front.gauge)
        front.connections_changed(total)
        if total > settings.max_connections:
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
            front = self._front
            front.connections_changed(front.server.context.row.board.total(front.gauge))


def has_room(front: DnsStreamFront, client: str) -> bool:
    """Return whether one more connection of a client would stay within the limits."""
    row, settings = front.server.context.row, front.settings
    if row.board.total(front.gauge) >= settings.max_connections:
        return False
    most = settings.max_connections_per_ip
    return not most or row.cell_total(row.cells(client.encode())) < most
