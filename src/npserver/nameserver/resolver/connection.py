"""What connections to a resolver have in common, whatever is spoken on them: opening, the idle timeout, their end.

Base of those in `nameserver.resolver.stream_connection` and `nameserver.resolver.https_connection`. A
`nameserver.resolver.channel` opens them and owns the open one: their `ChannelRole`. Each question is an `Exchange`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from npserver.errors import reason_of
from npserver.runtime.deadlines import NEVER

if TYPE_CHECKING:
    from npserver.nameserver.resolver.address import ResolverAddress
    from npserver.runtime.context import Context

IDLE_S = 15.0  # then the connection is closed: many servers close theirs after 20 or 30 s


class Exchange(Protocol):
    """A question on a channel: `nameserver.resolver.attempts.StreamAttempt`."""

    sent: bytes  # the query; its connection sets the id
    sends: int  # how often it was sent
    sent_at: float

    def answered(self, data: bytes) -> bool:
        """Take a message of the resolver. Return whether it is the answer."""

    def failed(self, reason: str, *, is_hard: bool) -> None:
        """Take a failure. `is_hard`: there is no connection to the resolver."""


class ChannelRole(Protocol):
    """The owner of a connection: `nameserver.resolver.channel.Channel`."""

    address: ResolverAddress

    def opened(self, connection: ResolverConnection) -> None:
        """Take a connection that is open."""

    def proceed(self) -> None:
        """Send what waits: the connection has room."""

    def answered(self, exchange: Exchange, data: bytes) -> bool:
        """Give a question a message of the resolver. Return whether it is the answer."""

    def refused(self, exchange: Exchange, reason: str) -> None:
        """Fail a single question."""

    def lost(self, connection: ResolverConnection, reason: str) -> None:
        """Take the loss of a connection."""


class ResolverConnection(asyncio.Protocol):
    """A new connection, which is offered to its channel once it is open."""

    def __init__(self, context: Context, channel: ChannelRole) -> None:
        self.heard_at = 0.0  # when the resolver last sent something; 0: never
        self.deadline = NEVER
        self.is_closed = False
        self._context = context
        self._channel: ChannelRole | None = channel
        self._transport: asyncio.Transport

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.is_closed else 'open'}>"

    # ── what is spoken ──

    def start(self) -> None:
        """Offer the connection to its channel."""
        raise NotImplementedError

    def has_room(self) -> bool:
        """Whether another question may be sent."""
        raise NotImplementedError

    def send(self, exchange: Exchange) -> None:
        """Send a question."""
        raise NotImplementedError

    def forget(self, exchange: Exchange) -> None:
        """Await the answer to a question no more."""
        raise NotImplementedError

    def _is_awaited(self) -> bool:
        """Whether somebody waits for an answer."""
        raise NotImplementedError

    def _end(self, reason: str) -> None:
        """Forget the questions and close the transport."""
        raise NotImplementedError

    # ── called by the loop ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open and any TLS handshake is complete."""
        self._transport = cast("asyncio.Transport", transport)

    def eof_received(self) -> bool:
        """Called by asyncio when the resolver has closed its side: the transport closes."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        self._lose(f"connection closed ({reason_of(error)})" if error is not None else "connection closed")

    # ── called by the channel ──

    def close(self) -> None:
        """Close the connection. Its channel is told nothing."""
        self._channel = None
        self._lose("")

    # ── called by the sweeper ──

    def expire(self, now: float) -> None:
        """Called when the connection has been idle for `IDLE_S`."""
        self._lose("idle")

    # ── for the subclasses ──

    def _watch(self) -> None:
        """Have the sweeper close the connection when it is idle."""
        self._context.sweeper.watched.add(self)
        self._rest()

    def _rest(self) -> None:
        """Start the idle timeout if nobody waits for an answer."""
        if not self.is_closed and not self._is_awaited():
            self.deadline = self._context.loop.time() + (0.0 if self._context.draining else IDLE_S)

    def _lose(self, reason: str) -> None:
        """Close the connection, and tell its channel why."""
        if self.is_closed:
            return
        self.is_closed = True
        self.deadline = NEVER
        self._context.sweeper.watched.discard(self)
        self._end(reason)
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.lost(self, reason)
