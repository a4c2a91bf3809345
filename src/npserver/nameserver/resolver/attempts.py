"""Attempts to ask one resolver: over a UDP socket of its own, or on the resolver's kept connection.

A UDP attempt has a random port, id and case of the name, and accepts only what that resolver answers to that question
(RFC 5452 §9). Owned by `nameserver.resolver.question`.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from npserver.errors import reason_of
from npserver.nameserver.resolver.resolver import HARD

if TYPE_CHECKING:
    import asyncio

    from npserver.nameserver.resolver.resolver import Resolver

MAX_STRAYS = 20  # datagrams from a resolver that do not match the question, after which it is given up


class Attempt(Protocol):
    """What a question has under way at one resolver."""

    resolver: Resolver
    sent: bytes
    is_datagram: bool
    sent_at: float  # when it was last sent; 0: not yet

    def send(self) -> None:
        """Send the question, again if it was sent. Raises: OSError."""

    def close(self) -> None:
        """Await no answer any more."""


class Asker(Protocol):
    """The question of an attempt: `nameserver.resolver.question.Question`."""

    def took(self, attempt: Attempt, data: bytes) -> bool:
        """Take a message of the resolver. Return whether it is the answer."""

    def lost(self, attempt: Attempt, reason: str, weight: int) -> None:
        """Take a failure. `weight`: what it says about the resolver (`Resolver.failed`)."""


class Sockets(Protocol):
    """Counts the UDP sockets: `nameserver.resolver.client.ResolverClient`."""

    loop: asyncio.AbstractEventLoop

    def has_room(self) -> bool:
        """Whether one more may be opened."""

    def socket_opened(self) -> None:
        """Count a socket."""

    def socket_closed(self) -> None:
        """Uncount a socket."""


class DatagramAttempt:
    """The UDP socket on which a question is sent to one resolver, once or several times."""

    __slots__ = ("_asker", "_sock", "_sockets", "_strays", "is_datagram", "resolver", "sent", "sent_at")

    def __init__(self, asker: Asker, sockets: Sockets, resolver: Resolver, sent: bytes) -> None:
        self.resolver = resolver
        self.sent = sent
        self.sent_at = 0.0
        self.is_datagram = True
        self._asker = asker
        self._sockets = sockets
        self._strays = 0
        address = resolver.address
        self._sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_DGRAM)
        sockets.socket_opened()
        try:
            self._sock.setblocking(False)
            self._sock.connect((address.host, address.port))  # a random port, to which only this resolver can answer
        except OSError:
            self._sock.close()
            sockets.socket_closed()
            raise
        sockets.loop.add_reader(self._sock, self._read)

    def send(self) -> None:
        """Send the question. Raises: OSError, such as that of an ICMP message about the datagram before."""
        self.sent_at = self._sockets.loop.time()
        self._sock.send(self.sent)

    def close(self) -> None:
        """Stop listening to the resolver."""
        self._sockets.loop.remove_reader(self._sock)
        self._sock.close()
        self._sockets.socket_closed()

    def _read(self) -> None:
        try:
            data = self._sock.recv(65_535)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._asker.lost(self, reason_of(error), HARD)
            return
        if not self._asker.took(self, data):
            self._strays += 1
            if self._strays >= MAX_STRAYS:
                self._asker.lost(self, "answers do not match the question", 1)


class StreamAttempt:
    """A question on the kept connection of a resolver: the `Exchange` of its channel."""

    __slots__ = ("_asker", "is_datagram", "resolver", "sends", "sent", "sent_at")

    def __init__(self, asker: Asker, resolver: Resolver, sent: bytes) -> None:
        self.resolver = resolver
        self.sent = sent
        self.sent_at = 0.0
        self.sends = 0
        self.is_datagram = False
        self._asker = asker

    def send(self) -> None:
        """Send the question, or make sure that the connection is alive. Raises: OSError."""
        self.resolver.channel.submit(self)

    def close(self) -> None:
        """Await no answer any more."""
        self.resolver.channel.withdraw(self)

    def answered(self, data: bytes) -> bool:
        """Take a message of the resolver. Return whether it is the answer."""
        return self._asker.took(self, data)

    def failed(self, reason: str, *, is_hard: bool) -> None:
        """Take a failure. `is_hard`: there is no connection to the resolver."""
        self._asker.lost(self, reason, HARD if is_hard else 1)
