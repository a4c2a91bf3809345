"""Forward PostgreSQL clients that negotiate TLS by an SSLRequest.

`forward.stream_router` has answered the client's SSLRequest to read the ClientHello; the same request is sent to the
target here before the client's bytes are relayed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from npserver.forward.streams import ForwardedConnection
from npserver.net.relay_end import End
from npserver.tls.client_hello import POSTGRES_SSL_REQUEST

if TYPE_CHECKING:
    from npserver.forward.session import Forward
    from npserver.runtime.front import Live

ANSWER_S = 10.0  # how long a PostgreSQL server may take to answer an SSLRequest


class PostgresEnd(End):
    """The connection to a PostgreSQL server: send an SSLRequest, wait for `S` (PostgreSQL §54.2.11), then relay."""

    __slots__ = ("_awaits_answer",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the target is connected: send the SSLRequest."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.relay.preface + POSTGRES_SSL_REQUEST)
        self.relay.preface = b""
        self.relay.deadline = self.relay.context.loop.time() + ANSWER_S
        self.relay.context.sweeper.watched.add(self.relay)
        self._awaits_answer = True

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with the target's bytes: check the answer to the SSLRequest, then relay."""
        if self._awaits_answer:
            self._awaits_answer = False
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
    """A relay that sends its target an SSLRequest before the client's ClientHello."""

    target_class = PostgresEnd

    __slots__ = ()


class PostgresForward:
    """The front for clients whose SSLRequest has been answered; it sends an SSLRequest to each target."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __repr__(self) -> str:
        return f"<PostgresForward {self.forward!r}>"

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Create the protocol of a new connection."""
        return PostgresConnection(self.forward, live).client

    def close(self) -> None:
        """Do nothing: open connections continue after a reload."""
