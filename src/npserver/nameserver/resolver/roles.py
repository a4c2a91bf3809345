"""What the questions on a kept connection to a resolver, the connection and its channel know of each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.nameserver.resolver.address import ResolverAddress


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

    def opened(self, connection: DialledConnection) -> None:
        """Take a connection that is open."""

    def proceed(self) -> None:
        """Send what waits: the connection has room."""

    def answered(self, exchange: Exchange, data: bytes) -> bool:
        """Give a question a message of the resolver. Return whether it is the answer."""

    def refused(self, exchange: Exchange, reason: str) -> None:
        """Fail a single question."""

    def lost(self, connection: DialledConnection, reason: str) -> None:
        """Take the loss of a connection."""


class DialledConnection(asyncio.Protocol):
    """A new connection, which is offered to its channel once it is open. Base of both kinds."""

    heard_at = 0.0
    is_closed = False

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

    def close(self) -> None:
        """Close the connection. Its channel is told nothing."""
        raise NotImplementedError
