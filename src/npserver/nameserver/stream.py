"""DNS over TCP and TLS (RFC 7766, RFC 7858): each message after its length in two bytes, answered in order.

Queries may come pipelined and in any pieces. A connection ends after a silence of `timeout`, a message that is none, or
when the client does not read its answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.query_processor import Action, QueryProcessor
from npserver.networks import plain_ip
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.listen.listener import LiveListener
    from npserver.nameserver.name_server import AccessPolicy
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MAX_WAITING = 32  # queries of a connection that resolvers are asked about; more are made to wait
MAX_JOINED_BYTES = 64 << 10  # of answers written at once


class DnsOverStream:
    """Serves connections by answering the questions in each."""

    def __init__(
        self,
        policy: AccessPolicy[QueryProcessor],
        transport: str,
        *,
        timeout_s: float,
        max_connections: int,
        max_connections_per_ip: int,
    ) -> None:
        self.policy = policy
        self.server = policy.server
        self.transport = transport
        self.timeout_s = timeout_s
        self.max_connections = max_connections
        self.max_connections_per_ip = max_connections_per_ip
        row = self.server.context.row
        self.gauge = row.slot("gauge.dns.connections")

    def __repr__(self) -> str:
        return f"<DnsOverStream {self.transport} {self.server!r}>"

    def accept(self, listener: LiveListener) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return DnsConnection(self, listener)

    def close(self) -> None:
        """Another front takes over; connections look it up with their next query."""
        self.server.flush()


class DnsConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, front: DnsOverStream, listener: LiveListener) -> None:
        self.listener = listener
        self._front = front
        self._context: Context = front.server.context
        # connection
        self.deadline = NEVER
        self.transport: asyncio.Transport
        self._client = ""
        self._proxied = ""
        self._cells: tuple[int, int] | None = None
        self._is_counted = False
        self._buffer = b""
        self._is_closing = False  # answer what has come, then close
        self._is_choked = False  # the client does not read
        self._is_paused = False  # nothing is read from the client
        self._is_proceeding = False
        self._waiting = 0
        self._transfer: Iterator[bytes] | None = None

    def __repr__(self) -> str:
        return f"<DnsConnection {self._client} waiting={self._waiting}>"

    # ── the connection's life ──

    def proxied(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        """A PROXY header named the client; called before `connection_made`."""
        self._proxied = source[0]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._client = self._proxied or (plain_ip(peer[0]) if isinstance(peer, tuple) and peer else "")
        if not self._count():
            self.transport.abort()
            return
        self._context.connections.add(self)
        self._context.sweeper.watched.add(self)
        self._set_deadline()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._context.connections.discard(self)
        self._context.sweeper.watched.discard(self)
        self._transfer = None
        self._buffer = b""
        self._is_closing = True
        if self._is_counted:
            slots = self._context.row.slots
            for slot in (self._front.gauge, *(self._cells or ())):
                slots[slot] -= 1

    def eof_received(self) -> bool:
        """The client asks no more; it still gets what it asked for. TLS cannot be half-closed."""
        self._is_closing = True
        self._end_if_idle()
        return self.transport.get_extra_info("sslcontext") is None

    def shut_down(self) -> None:
        """Answer what has come, then close."""
        self._is_closing = True
        self._end_if_idle()

    def expire(self, now: float) -> None:
        """Too long a silence (`timeout`), or the client does not read."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not keep up: take no more questions."""
        self._is_choked = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_choked = False
        self._set_deadline()
        self._proceed()

    # ── questions ──

    def data_received(self, data: bytes) -> None:
        """Take bytes; a message is answered as soon as it is whole."""
        self._buffer = self._buffer + data if self._buffer else data
        self._proceed()

    def _proceed(self) -> None:
        """Answer what has come, as far as the client reads."""
        if self._is_proceeding:
            return
        self._is_proceeding = True
        try:
            self._send_transfer()
            self._answer_buffered()
        finally:
            self._is_proceeding = False
        if not self.transport.is_closing() and self._is_paused != self._must_wait():
            self._is_paused = not self._is_paused
            (self.transport.pause_reading if self._is_paused else self.transport.resume_reading)()
        self._end_if_idle()

    def _answer_buffered(self) -> None:
        buffer, position, size = self._buffer, 0, len(self._buffer)
        replies = bytearray()
        while size - position >= 2 and not self._must_wait():
            end = position + 2 + (buffer[position] << 8 | buffer[position + 1])
            if end > size:
                break
            reply = self._answer(buffer[position + 2 : end])
            position = end
            if reply is None:
                self._is_closing = True
                position = size
            elif reply:
                replies += len(reply).to_bytes(2, "big") + reply
            if len(replies) > MAX_JOINED_BYTES or self._transfer is not None:
                self._write(bytes(replies))
                replies.clear()
                self._send_transfer()
        self._buffer = buffer[position:]
        if position:
            self._set_deadline()
        self._write(bytes(replies))

    def _must_wait(self) -> bool:
        return self._is_choked or self._transfer is not None or self._waiting >= MAX_WAITING

    def _answer(self, data: bytes) -> bytes | None:
        """The reply; nothing if it comes later; None to end the connection."""
        front = self.listener.front
        if not isinstance(front, DnsOverStream):  # a reload gave the listener to another handler
            return None
        server = front.server
        server.queries[front.transport][0] += 1
        processor = front.policy.only or front.policy.choose(self._client)
        reply = processor.respond(data, self._client, 0.0, server.wall)
        if isinstance(reply, Action):
            query = parse_query(data)
            assert isinstance(query, Query)
            if reply is Action.TRANSFER:
                log.info("%s transfers %s", self._client, to_text(query.key))
                processor.responder.tally(query.qtype, codes.NOERROR)[0] += 1
                self._transfer = transfer(processor.responder.tables, query)
            elif server.resolver_client is not None:
                self._waiting += 1
                server.resolver_client.ask(query, lambda answer: self._deliver(front, data, answer), by_stream=True)
            return b""
        server.log(front.transport, self._client, data, reply)
        return reply

    def _deliver(self, front: DnsOverStream, data: bytes, reply: bytes) -> None:
        """A resolver has answered."""
        self._waiting -= 1
        front.server.log(front.transport, self._client, data, reply)
        if self.transport.is_closing():
            return
        self._write(len(reply).to_bytes(2, "big") + reply)
        self._set_deadline()
        self._proceed()

    def _send_transfer(self) -> None:
        while self._transfer is not None and not self._is_choked and not self.transport.is_closing():
            message = next(self._transfer, None)
            if message is None:
                self._transfer = None
            else:
                self._write(len(message).to_bytes(2, "big") + message)

    # ── private ──

    def _set_deadline(self) -> None:
        self.deadline = self._context.loop.time() + self._front.timeout_s

    def _write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _end_if_idle(self) -> None:
        if self._is_closing and not self._waiting and not self._must_wait() and not self.transport.is_closing():
            self.transport.close()

    def _count(self) -> bool:
        """Count this connection; false if it is one too many."""
        front, row = self._front, self._context.row
        slots = row.slots
        self._is_counted = True
        slots[front.gauge] += 1
        if front.max_connections_per_ip:
            self._cells = row.cells(self._client.encode())
            for cell in self._cells:
                slots[cell] += 1
            if row.cell_total(self._cells) > front.max_connections_per_ip:
                log.debug("%s has too many connections (timeouts.max_connections_per_ip)", self._client)
                return False
        if row.board.total(front.gauge) > front.max_connections:
            log.debug("too many DNS connections (limits.max_connections)")
            return False
        return True
