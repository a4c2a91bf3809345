"""Forwards of connections: each client's stream is relayed to a target, byte for byte.

`StreamForward` is the front of a listener with one such rule (`serve.sniroute` chooses between several). A
`ForwardedConnection` is the relay itself; it dials while the client's first bytes wait, goes on to the next target when
one refuses, and is over when both sides are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from npserver.errors import UpstreamError
from npserver.net.dialer import dial
from npserver.net.relay import End, Relay
from npserver.net.tasks import spawn
from npserver.networks import plain_ip
from npserver.serve.forward_session import Endpoint, Forward, Session
from npserver.tlshello import POSTGRES_SSL_REQUEST

if TYPE_CHECKING:
    from npserver.net.listener import LiveListener


ANSWER_S = 10.0  # for a PostgreSQL server to answer SSLRequest


class StreamForward:
    """Serves connections by relaying them."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __repr__(self) -> str:
        return f"<StreamForward {self.forward!r}>"

    def accept(self, listener: LiveListener) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return ForwardedConnection(self.forward, listener).client

    def accept_postgres(self, listener: LiveListener) -> asyncio.Protocol:
        """The same for a client whose request for TLS has been granted already, and whose target must be asked too."""
        return PostgresConnection(self.forward, listener).client

    def close(self) -> None:
        """Nothing to end: connections go on."""


class ForwardedConnection(Relay):
    """A client's connection and its target's."""

    __slots__ = ("_dialing", "forward", "listener", "proxied_from", "session")

    def __init__(self, forward: Forward, listener: LiveListener) -> None:
        settings = forward.settings
        super().__init__(forward.context, timeout_s=settings.timeout_s, buffer_size=settings.buffer_size, on_end=_ended)
        self.forward = forward
        self.listener = listener
        self.proxied_from: tuple[Endpoint, Endpoint] | None = None  # what a PROXY header said: client, local
        self.session: Session | None = None
        self._dialing: asyncio.Task[None] | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The client's; aborting it ends everything."""
        return self.client.transport

    def make_client(self) -> End:
        """Make the client's end."""
        return ClientEnd(self, "client")

    def shut_down(self) -> None:
        """Established connections live on until `timeouts.shutdown`."""

    def accepted(self, transport: asyncio.Transport) -> None:
        """The client is connected: admit it, then dial."""
        client, local = self.proxied_from or endpoints(transport)
        self.session = session = self.forward.open(self.listener, client, local)
        if session is None:
            self.is_over = True
            transport.abort()
            return
        self.context.connections.add(self)
        self._dialing = spawn(self._dial(session), "forwarding a connection")

    def expire(self, now: float) -> None:
        """Look whether anything has moved; called by the sweeper."""
        if self.is_joined:
            super().expire(now)
        else:
            self.abort("target does not answer")

    def ended(self) -> None:
        """Both sides are gone."""
        self.context.connections.discard(self)
        if self._dialing is not None:
            self._dialing.cancel()
        if self.session is not None:
            kind = self.listener.listener.address.scheme
            self.session.end(kind, self.client.received, self.target.received, self.reason)

    async def _dial(self, session: Session) -> None:
        reason = "none is usable"
        make_end = self._first_target
        while (target := session.next_target()) is not None:
            self.preface = session.proxy_header()
            try:
                await dial(
                    self.context,
                    target.address,
                    make_end,
                    timeout_s=self.forward.settings.connect_timeout_s,
                    tls=target.tls,
                    server_name=target.server_name,
                )
            except UpstreamError as error:
                session.target_failed(str(error))
                reason = str(error)
                make_end = self.make_target
                continue
            session.target_reached()
            self._dialing = None
            return
        self._dialing = None
        session.unreachable(reason)
        self.reason = "target unreachable"
        self.client.reset()

    def _first_target(self) -> End:
        return self.target


class ClientEnd(End):
    """The client's side of a forwarded connection."""

    __slots__ = ()

    def proxied(self, source: Endpoint, destination: Endpoint) -> None:
        """A PROXY header named the client; called before `connection_made`."""
        cast("ForwardedConnection", self.relay).proxied_from = (source, destination)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        super().connection_made(transport)
        cast("ForwardedConnection", self.relay).accepted(self.transport)


class PostgresConnection(ForwardedConnection):
    """A connection whose target is asked for TLS before it gets the client's ClientHello."""

    __slots__ = ()

    def make_target(self) -> End:
        """Make the target's end."""
        self.target = target = PostgresEnd(self, "target")
        target.other = self.client
        self.client.other = target
        return target


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


def endpoints(transport: asyncio.BaseTransport) -> tuple[Endpoint, Endpoint]:
    """The client's address and the one it reached; Unix sockets have a path or nothing, and port 0."""
    return _endpoint(transport.get_extra_info("peername")), _endpoint(transport.get_extra_info("sockname"))


def _endpoint(name: object) -> Endpoint:
    if isinstance(name, tuple):
        return plain_ip(name[0]), name[1]
    return (name if isinstance(name, str) else "", 0)


def _ended(connection: ForwardedConnection) -> None:
    connection.ended()
