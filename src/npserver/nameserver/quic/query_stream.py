"""One stream of DNS over QUIC: a query with its 2-byte length, and who asks it (RFC 9250 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class StreamOwner(Protocol):
    """A connection as its streams see it: `nameserver.quic.connection.DoqConnection`."""

    def begin_waiting(self) -> None:
        """A query awaits a resolver."""

    def delivered(self, stream: QueryStream, reply: bytes) -> None:
        """A resolver has answered."""

    def begin_transfer(self, stream_id: int, messages: Iterator[bytes]) -> None:
        """Send a zone on a stream."""


class QueryStream:
    """One query: it receives it, and is who asks it of the front."""

    __slots__ = ("_connection", "is_over", "is_waiting", "number", "received")

    def __init__(self, connection: StreamOwner, number: int) -> None:
        self._connection = connection
        self.number = number
        self.received: bytes | bytearray = b""
        self.is_waiting = False
        self.is_over = False  # the client has its answer, or wants none

    def receive(self, data: bytes, has_ended: bool) -> str:
        """Take bytes. Return what is wrong with them; "" if nothing is."""
        received = self.received
        if not received:
            received = self.received = data
        elif isinstance(received, bytearray):
            received += data
        else:
            received = self.received = bytearray(received + data)
        missing = 2 + (int.from_bytes(received[:2], "big") if len(received) > 1 else 0) - len(received)
        if missing < 0:
            return "more than one query on a stream"
        return "the end of a stream within a query" if has_ended and missing else ""

    def wait(self) -> None:
        """A resolver is asked."""
        self.is_waiting = True
        self._connection.begin_waiting()

    def deliver(self, reply: bytes) -> None:
        """Send a resolver's answer."""
        if self.is_waiting:
            self.is_waiting = False
            self._connection.delivered(self, reply)

    def transfer(self, messages: Iterator[bytes]) -> None:
        """Send a zone."""
        self._connection.begin_transfer(self.number, messages)
