"""A connection to a resolver over TCP or TLS (RFC 7766, RFC 7858): a 2-byte length precedes each message.

Each question has a random id that no other on the connection has, those that nobody waits for any more included: their
answers may still come.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from npserver.dns.message.header import HEADER_BYTES
from npserver.nameserver.resolver.connection import ResolverConnection
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.nameserver.resolver.connection import ChannelRole, Exchange
    from npserver.runtime.context import Context

MAX_IDS = 2000  # questions sent and not answered, on one connection
MAX_STRAYS = 20  # messages that answer no question, after which the connection is closed


class StreamConnection(ResolverConnection):
    """One connection of a `nameserver.resolver.channel.Channel`."""

    def __init__(self, context: Context, channel: ChannelRole) -> None:
        super().__init__(context, channel)
        self._buffer = b""
        self._exchanges: dict[int, Exchange | None] = {}  # by id; None: nobody waits for the answer any more
        self._strays = 0

    def __repr__(self) -> str:
        return f"<StreamConnection {'closed' if self.is_closed else 'open'} {len(self._exchanges)}>"

    def start(self) -> None:
        """Offer the connection to its channel."""
        if self._channel is not None:
            self._watch()
            self._channel.opened(self)

    # ── called by the loop ──

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes of the resolver: give each complete message to its question."""
        self.heard_at = self._context.loop.time()
        buffer = self._buffer + data if self._buffer else data
        position = 0
        while len(buffer) - position >= 2 and not self.is_closed:
            start = position + 2
            end = start + int.from_bytes(buffer[position:start], "big")
            if end - start < HEADER_BYTES:
                self._lose("a message shorter than a header")
                return
            if end > len(buffer):
                break
            self._take(buffer[start:end])
            position = end
        self._buffer = buffer[position:]
        self._rest()

    # ── called by the channel ──

    def has_room(self) -> bool:
        """Whether another question may be sent."""
        return len(self._exchanges) < MAX_IDS

    def send(self, exchange: Exchange) -> None:
        """Send a question."""
        number = secrets.randbits(16)
        while number in self._exchanges:
            number = secrets.randbits(16)
        self._exchanges[number] = exchange
        exchange.sent = number.to_bytes(2, "big") + exchange.sent[2:]
        self.deadline = NEVER
        self._transport.write(len(exchange.sent).to_bytes(2, "big") + exchange.sent)

    def forget(self, exchange: Exchange) -> None:
        """Await the answer to a question no more."""
        number = int.from_bytes(exchange.sent[:2], "big")
        if self._exchanges.get(number) is exchange:
            self._exchanges[number] = None
        self._rest()

    # ── private ──

    def _take(self, data: bytes) -> None:
        channel = self._channel
        number = int.from_bytes(data[:2], "big")
        if number not in self._exchanges or channel is None:
            is_answer = False
        else:
            exchange = self._exchanges[number]
            is_answer = exchange is None or channel.answered(exchange, data)
            if is_answer:
                self._exchanges.pop(number, None)
        if is_answer:
            channel.proceed() if channel is not None else None
            return
        self._strays += 1
        if self._strays >= MAX_STRAYS:
            self._lose("answers do not match the questions")

    def _is_awaited(self) -> bool:
        return any(self._exchanges.values())

    def _end(self, reason: str) -> None:
        self._exchanges.clear()
        self._buffer = b""
        if reason == "idle":
            self._transport.close()
        else:
            self._transport.abort()
