"""One client connection of DNS over QUIC (RFC 9250): a stream for each query, on which its answer is sent.

Made by `nameserver.quic.front` once the handshake is complete. A query is answered when its stream has ended (§4.2): a
client that ends a stream before its query is complete, or sends more on it, breaks the protocol. While a client leaves
`MAX_UNSENT_BYTES` of its answers unread, no further queries are taken from the library, whose windows then close.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from npserver.dns.message.edns import KEEPALIVE_OPTION
from npserver.dns.message.padding import option_codes
from npserver.http.http2_allowance import Allowance
from npserver.listen.quic.roles import NOTHING_WAITS
from npserver.nameserver.quic.query_stream import QueryStream
from npserver.nameserver.stream_front import ConnectionCount
from npserver.runtime.deadlines import NEVER
from npserver.web.server.http2.unread import UNREAD

if TYPE_CHECKING:
    from npserver.listen.quic.connection import QuicConnection
    from npserver.nameserver.stream_front import DnsStreamFront
    from npserver.runtime.front import Client, Live

log = logging.getLogger("npserver.dns")

# RFC 9250 §4.3
NO_ERROR = 0x0
INTERNAL_ERROR = 0x1
PROTOCOL_ERROR = 0x2
REQUEST_CANCELLED = 0x3
EXCESSIVE_LOAD = 0x4

LINGER_S = 2.0  # for the client to acknowledge its last answers
MAX_UNSENT_BYTES = 64 << 10  # of answers that the client's windows do not let us send
MAX_PARTIAL_BYTES = 128 << 10  # of queries that are not complete; the longest query has 65,537
FREE_BYTES = 32 << 10  # of what a client has sent out of order; more is counted as held
HELD_FOR_BYTE = 24  # that the library holds for a byte out of order, at the worst


class DoqConnection:
    """A client's connection. It is one of the process's connections, and watched by the deadline sweeper."""

    # deadline      loop time at which `expire` is called
    # unread        bytes of answers that the client has not acknowledged, as of the last flush
    # _streams      queries, from their first byte until the client has the answer
    # _partial      of these, those whose query is not complete, the oldest first; with the time they have begun at
    # _waiting      queries that a resolver has not answered
    # _written      bytes of all answers
    # _sent         of these, the bytes that had left at `_read_at`, when they were last more; -1: not measured yet
    # _last         the last stream that a shutdown waits for; -1: of a connection that stays

    __slots__ = (
        "_all_unread", "_cancellations", "_client", "_context", "_count", "_is_ended", "_is_leaving", "_is_lingering",
        "_last", "_newest", "_partial", "_partial_bytes", "_quic", "_read_at", "_sent", "_streams", "_transfers",
        "_waiting", "_written", "awaits_request", "deadline", "front", "listener", "transport", "unread",
    )  # fmt: skip

    def __init__(self, front: DnsStreamFront, listener: Live, quic: QuicConnection) -> None:
        self.listener = listener
        self.front = front
        self.transport = self._quic = quic
        self.awaits_request = True
        self._context = front.server.context
        self._client = str(quic.paths.client[0])
        self._count = ConnectionCount(front, self._client)
        self.deadline = NEVER
        self.unread = 0
        self._all_unread = UNREAD.of(self._context)
        self._cancellations = Allowance(front.settings.max_resets, self._context.sweeper.now)
        self._streams: dict[int, QueryStream] = {}
        self._partial: dict[int, float] = {}
        self._partial_bytes = 0
        self._waiting = 0
        self._transfers: dict[int, Iterator[bytes]] = {}
        self._written = 0
        self._sent = -1
        self._read_at = 0.0
        self._newest = self._last = -1
        self._is_leaving = False
        self._is_lingering = False
        self._is_ended = False

    def __repr__(self) -> str:
        state = "ended" if self._is_ended else "leaving" if self._is_leaving else "open"
        return f"<DoqConnection {self._client} {state} streams={len(self._streams)} waiting={self._waiting}>"

    # ── the connection's life ──

    def begin(self) -> None:
        """Take queries, unless the connection is over a limit."""
        self._context.connections.add(self)
        self._context.sweeper.watched.add(self)
        self._set_deadline()
        if self._count.is_over(self._client):
            self.end(EXCESSIVE_LOAD)
        elif self._context.draining:
            self.shut_down()

    def connection_lost(self) -> None:
        """Called when the connection is closed."""
        self._is_ended = True
        self._context.connections.discard(self)
        self._context.sweeper.watched.discard(self)
        for stream in self._streams.values():
            stream.is_over = True
        self._streams.clear()
        self._partial.clear()
        self._transfers.clear()
        self._all_unread.set(self, 0, self.front.settings.max_unread)
        self._count.release()

    def shut_down(self) -> None:
        """Close after the present queries are answered, or at once if there are none."""
        if not self._is_leaving:
            self._is_leaving = True
            self._last = self._newest
        self._leave_if_idle()

    def end(self, code: int, reason: str = "") -> None:
        """Close the connection with an error code of RFC 9250."""
        if not self._is_ended:
            self._is_ended = True
            self._quic.close(code, reason)

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: close an idle connection, or one whose client breaks off or reads nothing."""
        timeout_s, quic = self.front.settings.timeout_s, self._quic.quic
        began = None if quic.is_held else next(iter(self._partial.values()), None)
        if self._is_lingering:
            self.end(NO_ERROR)
        elif began is not None and began + timeout_s <= now:
            self._fail(f"a query is not complete after {timeout_s:g} s")  # or its stream has not ended
        elif self._waiting:  # for a resolver, which is given up after `dns_forward.total_timeout`
            quic.ping()  # the client's idle timeout must not end it
            self._quic.flush_soon()
            self._set_deadline()
        elif quic.unsent():
            self._await_reader(now)
        elif began is not None:
            self._set_deadline()
        else:
            self.end(NO_ERROR)

    def _await_reader(self, now: float) -> None:
        """Look again later whether the client reads its answers; close if it has read nothing for too long."""
        settings, sent = self.front.settings, self._written - self._quic.quic.unsent()
        if sent > self._sent:
            self._sent, self._read_at = sent, now
        elif now >= self._read_at + settings.write_timeout_s:
            log.info(
                "closing connection from %s: client read nothing for %g s (timeouts.write)",
                self._client, settings.write_timeout_s,
            )  # fmt: skip
            self.end(EXCESSIVE_LOAD)
            return
        self.deadline = min(now + settings.timeout_s, self._read_at + settings.write_timeout_s)

    def refuse_unread(self) -> None:
        """Close: of all connections, this one holds the most."""
        log.warning(
            "closing connection from %s: it leaves the most unread of all that clients were sent (limits.max_unread)",
            self._client,
        )
        self.end(EXCESSIVE_LOAD)

    def peer_moved(self, client: Client) -> None:
        """The client's address is another one now, and validated: queries come from there."""
        self._client = str(client[0])

    # ── reading ──

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Called with bytes of a stream."""
        if self._is_ended:
            return
        if stream_id & 2:
            self._fail("a unidirectional stream")
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = QueryStream(self, stream_id)
            self._newest = max(self._newest, stream_id)
            self._partial[stream_id] = self._context.loop.time()
        if stream_id not in self._partial:
            return  # of a query that was cancelled
        if fault := stream.receive(data, has_ended):
            self._fail(fault)
            return
        self._partial_bytes += len(data)
        if has_ended:
            self._take(stream)
        elif self._partial_bytes > MAX_PARTIAL_BYTES:
            log.info("closing connection from %s: %d bytes of incomplete queries", self._client, self._partial_bytes)
            self.end(EXCESSIVE_LOAD)
        self._set_deadline()

    def stream_reset(self, stream_id: int, code: int) -> None:
        """Called when the client sends no more on a stream, before its end: the query is cancelled."""
        if self._is_ended:
            return
        if stream_id & 2:
            self._fail("a unidirectional stream")
            return
        self._quic.quic.reset(stream_id, REQUEST_CANCELLED)
        self._cancel(stream_id)

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Called when the client wants no answer any more (§4.3.1)."""
        if not self._is_ended:
            self._cancel(stream_id)

    def stream_finished(self, stream_id: int) -> None:
        """Called when the client has all of an answer, or either side has reset the stream."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.is_over = True
            self._forget_partial(stream)
            self._transfers.pop(stream_id, None)
            self._leave_if_idle()

    def _take(self, stream: QueryStream) -> None:
        """Answer a complete query."""
        self._forget_partial(stream)
        query, stream.received = bytes(stream.received[2:]), b""
        if query[:2] != b"\0\0":
            self._fail("a message ID other than 0" if len(query) > 1 else "a message without an ID")
            return
        if KEEPALIVE_OPTION in option_codes(query):
            self._fail("option edns-tcp-keepalive")
            return
        self.awaits_request = False
        front = self.front = cast("DnsStreamFront", self.listener.front)  # a reload puts a new one in place
        try:
            reply = front.answer(query, self._client, stream)
        except Exception:
            log.exception("error while answering a query of %s", self._client)
            self._quic.quic.reset(stream.number, INTERNAL_ERROR)
            self._waiting -= stream.is_waiting
            stream.is_waiting, stream.is_over = False, True
            self._transfers.pop(stream.number, None)
            self._quic.flush_soon()
            return
        if reply is None:
            self._fail("a message that is no query")
        elif reply:
            self.send(stream.number, reply, has_ended=True)

    def _cancel(self, stream_id: int) -> None:
        """Abandon a query."""
        stream = self._streams.get(stream_id)
        is_cut = stream is None or stream_id in self._partial or stream_id in self._transfers or stream.is_waiting
        if stream is None:  # nothing has come on it yet
            stream = self._streams[stream_id] = QueryStream(self, stream_id)
        is_cut = is_cut and not stream.is_over
        stream.is_over = True
        self._forget_partial(stream)
        self._transfers.pop(stream_id, None)
        self._quic.flush_soon()
        if is_cut and not self._cancellations.spend(self._context.sweeper.now):
            log.info("closing connection from %s: limits.max_resets exceeded", self._client)
            if self.front.on_limited is not None:
                self.front.on_limited(self._client)
            self.end(EXCESSIVE_LOAD)
        self._leave_if_idle()

    def _forget_partial(self, stream: QueryStream) -> None:
        if self._partial.pop(stream.number, None) is not None:
            self._partial_bytes -= len(stream.received)

    def _fail(self, reason: str) -> None:
        log.debug("closing connection from %s: %s (RFC 9250 §4.3.3)", self._client, reason)
        self.end(PROTOCOL_ERROR, reason)

    # ── writing ──

    def send(self, stream_id: int, message: bytes, *, has_ended: bool = False) -> None:
        """Send a message on a stream."""
        quic = self._quic.quic
        quic.send(stream_id, len(message).to_bytes(2, "big") + message, has_ended=has_ended)
        self._written += 2 + len(message)
        self._quic.flush_soon()
        if has_ended and not quic.is_held and quic.unsent() > MAX_UNSENT_BYTES:
            self._quic.hold(is_held=True)
            self._await_reader(self._context.loop.time())

    def begin_waiting(self) -> None:
        """A query awaits a resolver."""
        self._waiting += 1

    def delivered(self, stream: QueryStream, reply: bytes) -> None:
        """A resolver has answered."""
        self._waiting -= 1
        if self._is_ended:
            return
        if not stream.is_over:
            self.send(stream.number, reply, has_ended=True)
        self._set_deadline()
        self._leave_if_idle()

    def begin_transfer(self, stream_id: int, messages: Iterator[bytes]) -> None:
        """Send a zone on a stream, as fast as the client reads it."""
        self._transfers[stream_id] = messages
        self._send_transfers()

    def _send_transfers(self) -> None:
        """Send messages of zones as long as the client's windows take them: all end with the end of their stream."""
        while self._transfers and not self._is_ended and self._quic.quic.unsent() <= MAX_UNSENT_BYTES:
            stream_id, messages = next(iter(self._transfers.items()))
            message = next(messages, None)
            if message is not None:
                self.send(stream_id, message)
                self._transfers[stream_id] = self._transfers.pop(stream_id)  # the next one is of another stream
            else:
                del self._transfers[stream_id]
                self._quic.quic.send(stream_id, b"", has_ended=True)
                self._quic.flush_soon()
                self._leave_if_idle()

    def fill(self) -> int:
        """Answers go to the library at once: nothing waits here."""
        return NOTHING_WAITS

    def flushed(self, *, is_drained: bool) -> None:
        """Called when something was sent: go on with what has waited for it."""
        if self._is_ended:
            return
        quic = self._quic
        unsent = quic.quic.unsent()
        held = unsent + quic.quic.unacknowledged
        if quic.unexplained > FREE_BYTES:
            held += HELD_FOR_BYTE * (quic.unexplained - FREE_BYTES)
        if held != self.unread:
            self._all_unread.set(self, held, self.front.settings.max_unread)
        if unsent <= MAX_UNSENT_BYTES and not self._is_ended:
            if self._transfers:
                self._send_transfers()
            if quic.quic.is_held and quic.quic.unsent() <= MAX_UNSENT_BYTES:
                quic.hold(is_held=False)
                self._partial = dict.fromkeys(self._partial, self._context.loop.time())  # the rest may have been held
                self._set_deadline()

    # ── private ──

    def _set_deadline(self) -> None:
        """Start the idle timeout; the oldest query that is not complete is timed, too."""
        if not self._is_lingering and not self._quic.quic.is_held:
            began = next(iter(self._partial.values()), self._context.loop.time())
            self._sent = -1
            self.deadline = began + self.front.settings.timeout_s

    def _leave_if_idle(self) -> None:
        """Close a connection that is to end, once the client has the answers to its queries, or after a while."""
        if not self._is_leaving or self._is_ended:
            return
        present = [one for one in self._streams.values() if one.number <= self._last and not one.is_over]
        present = [one for one in present if one.number not in self._partial]
        if not present:
            self.end(NO_ERROR)
        elif not self._is_lingering and not self._transfers and not any(one.is_waiting for one in present):
            self._is_lingering = True
            self.deadline = self._context.loop.time() + LINGER_S
