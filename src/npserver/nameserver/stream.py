"""DNS over TCP and TLS (RFC 7766, RFC 7858): a 2-byte length precedes each message.

Clients may pipeline queries. Queries about our zones are answered in order, those for resolvers when the resolver has
answered. A connection is closed if it is idle for `timeout`, sends a malformed message, or reads nothing of its answers
for `timeouts.write`; as long as it reads or awaits an answer, it is not idle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.query import Query, parse_query
from npserver.dns.zone.transfer import transfer
from npserver.nameserver.query_processor import Action, QueryProcessor
from npserver.net.unread import unsent_bytes
from npserver.networks import plain_ip
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.nameserver.name_server import AccessPolicy
    from npserver.runtime.context import Context
    from npserver.runtime.front import Live

log = logging.getLogger("npserver.dns")

MAX_WAITING = 32  # queries of a connection that await a resolver; reading pauses until one is answered
MAX_JOINED_BYTES = 64 << 10  # replies are written together up to this size


class DnsOverStream:
    """The front of a `tcp` or `ssl` listener with handler `dns`."""

    def __init__(
        self,
        policy: AccessPolicy[QueryProcessor],
        transport: str,
        *,
        timeout_s: float,
        write_timeout_s: float,
        max_connections: int,
        max_connections_per_ip: int,
    ) -> None:
        self.policy = policy
        self.server = policy.server
        self.transport = transport
        self.timeout_s = timeout_s
        self.write_timeout_s = write_timeout_s
        self.max_connections = max_connections
        self.max_connections_per_ip = max_connections_per_ip
        self.on_limited: Callable[[str], None] | None = None  # called with a client that has too many connections
        row = self.server.context.row
        self.gauge = row.slot("gauge.dns.connections")

    def __repr__(self) -> str:
        return f"<DnsOverStream {self.transport} {self.server!r}>"

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Create the protocol of a new connection."""
        return DnsConnection(self, live)

    def close(self) -> None:
        """Flush the counters when another front takes over; open connections use it from their next query on."""
        self.server.flush()


class DnsConnection(asyncio.Protocol):
    """The DNS connection of one client."""

    def __init__(self, front: DnsOverStream, listener: Live) -> None:
        self.listener = listener
        self.awaits_request = True
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
        self._is_closing = False  # answer the queries received, then close
        self._is_choked = False  # the write buffer is full
        self._unsent: int | None = None  # bytes that the client had not read at `_read_at`; None: not measured yet
        self._read_at = 0.0  # loop time
        self._is_paused = False  # reading from the client is paused
        self._is_proceeding = False
        self._waiting = 0
        self._transfer: Iterator[bytes] | None = None

    def __repr__(self) -> str:
        return f"<DnsConnection {self._client} waiting={self._waiting}>"

    # ── the connection's life ──

    def proxied(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        """Take the client address of a PROXY header; called before `connection_made`."""
        self._proxied = source[0]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new client: count it and start its idle timeout."""
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
        """Called by asyncio when the connection has closed."""
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
        """Called by asyncio when the client half-closes: answer the queries received, then close."""
        self._is_closing = True
        self._end_if_idle()
        return True  # the connection stays open until it is idle

    def shut_down(self) -> None:
        """Close at shutdown, after the queries received are answered."""
        self._is_closing = True
        self._end_if_idle()

    def expire(self, now: float) -> None:
        """Close an idle connection, or one whose client does not read its answers; called by the deadline sweeper."""
        if self._waiting:  # for a resolver, which is given up after `dns_forward.total_timeout`
            self._set_deadline()
            return
        unsent, before = unsent_bytes(self.transport), self._unsent
        if not unsent and before:  # the client has read all of it since
            self._set_deadline()
        elif unsent and (before is None or unsent < before):
            self._await_reader(now, unsent)
        elif unsent and now < self._read_at + self._front.write_timeout_s:
            self._await_reader(self._read_at, unsent)
        else:
            if unsent:
                log.info("closing connection from %s: client read nothing for %g s (timeouts.write)", self._client,
                         self._front.write_timeout_s)  # fmt: skip
            self.transport.abort()

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark: answer no further queries."""
        self._is_choked = True
        self._await_reader(self._context.loop.time(), unsent_bytes(self.transport))

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark: answer queries again."""
        self._is_choked = False
        self._set_deadline()
        self._proceed()

    # ── queries ──

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with the client's bytes: answer each complete query."""
        self.awaits_request = False
        self._buffer = self._buffer + data if self._buffer else data
        self._proceed()

    def _proceed(self) -> None:
        """Answer the complete queries received, as far as the client reads its answers."""
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
        """Return the reply; empty if it follows later; None to close the connection."""
        front = self.listener.front
        if not isinstance(front, DnsOverStream):  # a reload gave the listener to another handler
            return None
        server = front.server
        server.queries[front.transport][0] += 1
        processor = front.policy.only or front.policy.choose(self._client)
        if server.on_question is not None:
            server.on_question(self._client)
        reply = processor.respond(data, self._client, 0.0, server.wall)
        if isinstance(reply, Action):
            query = parse_query(data)
            assert isinstance(query, Query)
            if reply is Action.TRANSFER:
                log.info("sending zone %s to %s (allow_transfer)", to_text(query.key), self._client)
                processor.responder.tally(query.qtype, codes.NOERROR)[0] += 1
                self._transfer = transfer(processor.responder.tables, query)
            else:
                self._waiting += 1
                server.resolve(processor, query, lambda answer: self._deliver(front, data, answer), by_stream=True)
            return b""
        server.log(front.transport, self._client, data, reply)
        if reply is not None and reply[3] & 0xF == codes.REFUSED and not processor.may_transfer:
            query = parse_query(data)
            if isinstance(query, Query) and query.qtype == codes.AXFR:
                zone, key = to_text(query.key), front.policy.key
                log.debug("transfer of zone %s refused to %s (%s.allow_transfer)", zone, self._client, key)
        return reply

    def _deliver(self, front: DnsOverStream, data: bytes, reply: bytes) -> None:
        """Send a resolver's answer to the client."""
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
        """Start the idle timeout, unless the client has to read first."""
        if not self._is_choked:
            self._unsent = None
            self.deadline = self._context.loop.time() + self._front.timeout_s

    def _await_reader(self, read_at: float, unsent: int) -> None:
        """Look again later whether the client, last seen to read at `read_at`, has read some of `unsent` bytes."""
        front = self._front
        self._unsent, self._read_at = unsent, read_at
        now = self._context.loop.time()
        self.deadline = min(now + front.timeout_s, max(now, read_at + front.write_timeout_s))

    def _write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _end_if_idle(self) -> None:
        if self._is_closing and not self._waiting and not self._must_wait() and not self.transport.is_closing():
            self.transport.close()

    def _count(self) -> bool:
        """Count this connection; return False if it exceeds a limit."""
        front, row = self._front, self._context.row
        slots = row.slots
        self._is_counted = True
        slots[front.gauge] += 1
        if front.max_connections_per_ip:
            self._cells = row.cells(self._client.encode())
            for cell in self._cells:
                slots[cell] += 1
            if row.cell_total(self._cells) > front.max_connections_per_ip:
                log.debug(
                    "closing connection from %s: it has more than %d connections (timeouts.max_connections_per_ip)",
                    self._client, front.max_connections_per_ip,
                )  # fmt: skip
                if front.on_limited is not None:
                    front.on_limited(self._client)
                return False
        if row.board.total(front.gauge) > front.max_connections:
            log.debug(
                "closing connection from %s: more than %d DNS connections are open (limits.max_connections)",
                self._client, front.max_connections,
            )  # fmt: skip
            return False
        return True
