"""Forwards of PostgreSQL clients that ask for TLS within the protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from npserver.forward.streams import ForwardedConnection
from npserver.net.relay_end import End
from npserver.tls.client_hello import POSTGRES_SSL_REQUEST

if TYPE_CHECKING:
    from npserver.forward.session import Forward
    from npserver.listen.listener import LiveListener

ANSWER_S = 10.0  # for a PostgreSQL server to answer SSLRequest


class PostgresEnd(End):
    """A PostgreSQL server: SSLRequest is sent, `S` awaited (PostgreSQL protocol §54.2.11), then all is passed on."""

    __slots__ = ("_is_asked",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.relay.preface + POSTGRES_SSL_REQUEST)
        self.relay.preface = b""
        self.relay.deadline = self.relay.context.loop.time() + ANSWER_S
        self.relay.context.sweeper.watched.add(self.relay)
        self._is_asked = True

    def data_received(self, data: bytes) -> None:
        """Take the answer; after that, pass on."""
        if self._is_asked:
            self._is_asked = False
            if data[:1] != b"S":
                self.relay.reason = "target refuses TLS"
                self.is_open = True
                self.relay.client.reset()
                self.abort()
                return
            super().connection_made(self.transport)
            data = data[1:]
            if not data:
                return
        super().data_received(data)


class PostgresConnection(ForwardedConnection):
    """A connection whose target is asked for TLS before it gets the client's ClientHello."""

    target_class = PostgresEnd

    __slots__ = ()


class PostgresForward:
    """The front of clients whose request for TLS has been granted already, and whose target must be asked too."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __repr__(self) -> str:
        return f"<PostgresForward {self.forward!r}>"

    def accept(self, listener: LiveListener) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return PostgresConnection(self.forward, listener).client

    def close(self) -> None:
        """Nothing to end: connections go on."""
