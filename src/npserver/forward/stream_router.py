"""Choose among several forward rules on one stream listener, by client network and TLS server name (SNI).

`StreamRouter` is the front. If a server name decides, a `PrereadConnection` reads the ClientHello (RFC 8446 §4.1.2)
without terminating TLS, then hands the connection and all bytes read to the front of the chosen rule. A PostgreSQL
client sends an SSLRequest first and waits for the answer: the answer is sent here, and `forward.postgres.PostgresEnd`
then sends an SSLRequest to the target.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from npserver.forward.messages import MessageForward
from npserver.forward.postgres import PostgresForward
from npserver.forward.session import endpoint_of
from npserver.forward.streams import StreamForward
from npserver.tls.client_hello import (
    POSTGRES_GSS_REQUEST,
    POSTGRES_SSL_REQUEST,
    ClientHello,
    HelloError,
    HelloReader,
    is_postgres_request,
)

if TYPE_CHECKING:
    from npserver.forward.session import Endpoint
    from npserver.listen.listener import LiveListener
    from npserver.networks import Networks
    from npserver.runtime.context import Context
    from npserver.runtime.front import StreamFront

log = logging.getLogger("npserver.forward")


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """One rule: where its connections go, the clients (None: all) and server names (none: any, or no TLS) it is for."""

    front: StreamForward | MessageForward
    names: tuple[str, ...] = ()
    networks: Networks | None = None


class StreamRouter:
    """Serves connections by the rule that fits best: an exact name before a wildcard (the longest) before none, then a
    network before none, then the first."""

    def __init__(self, context: Context, routes: Sequence[StreamRoute], hello_timeout_s: float) -> None:
        self.context = context
        self.routes = tuple(routes)
        self.hello_timeout_s = hello_timeout_s

    def __repr__(self) -> str:
        return f"<StreamRouter {len(self.routes)}>"

    def accept(self, listener: LiveListener) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return PrereadConnection(self, listener)

    def close(self) -> None:
        """Nothing to end: connections go on."""

    def candidates(self, ip: str) -> list[StreamRoute]:
        """The rules whose networks hold `ip`, those with networks first."""
        fitting = [route for route in self.routes if route.networks is None or ip in route.networks]
        return sorted(fitting, key=lambda route: route.networks is None)

    @staticmethod
    def choose(candidates: Sequence[StreamRoute], name: str) -> StreamRoute | None:
        """The rule for a server name; "" for a client that gives none."""
        if name:
            wildcards = [f"*{name[at:]}" for at, letter in enumerate(name) if letter == "."]
            for wanted in (name, *wildcards):  # the longest wildcard first
                for route in candidates:
                    if wanted in route.names:
                        return route
        return next((route for route in candidates if not route.names), None)


class PrereadConnection(asyncio.Protocol):
    """A new connection until it is known which rule it is for."""

    __slots__ = ("__weakref__", "_candidates", "_is_postgres", "_proxied", "_reader", "_routes", "_start", "deadline",
                 "listener", "transport")  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, routes: StreamRouter, listener: LiveListener) -> None:
        self._routes = routes
        self.listener = listener
        self.deadline = float("inf")
        self._candidates: list[StreamRoute] = []
        self._proxied: tuple[Endpoint, Endpoint] | None = None
        self._start = b""  # what has come until it is known not to be a request of PostgreSQL's
        self._reader = HelloReader()
        self._is_postgres = False

    def __repr__(self) -> str:
        return f"<PrereadConnection {self._reader!r}>"

    def proxied(self, source: Endpoint, destination: Endpoint) -> None:
        """A PROXY header named the client; called before `connection_made`."""
        self._proxied = (source, destination)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there: see whether its address alone decides."""
        self.transport = cast("asyncio.Transport", transport)
        client = self._proxied[0] if self._proxied else endpoint_of(transport, "peername")
        self._candidates = self._routes.candidates(client[0])
        if any(route.names for route in self._candidates):
            context = self._routes.context
            self.deadline = context.loop.time() + self._routes.hello_timeout_s
            context.sweeper.watched.add(self)
            context.connections.add(self)
        else:
            self._hand_over(self._routes.choose(self._candidates, ""))

    def data_received(self, data: bytes) -> None:
        """Look for the ClientHello in what has come so far."""
        if not self._is_postgres and not self._reader.data:
            self._start += data
            if (rest := self._after_requests()) is None:
                return
            data, self._start = rest, b""
        try:
            hello = self._reader.feed(data)
        except HelloError as error:
            log.debug("%s: %s", self.listener.listener.name, error)
            hello = ClientHello()  # no TLS, or none that can be understood: what asks for no name
        if hello is not None:
            self._hand_over(self._routes.choose(self._candidates, hello.server_name))

    def _after_requests(self) -> bytes | None:
        """What follows PostgreSQL's requests for encryption, which are answered; None: more is needed."""
        if is_postgres_request(self._start, POSTGRES_GSS_REQUEST):
            self.transport.write(b"N")
            self._start = self._start[len(POSTGRES_GSS_REQUEST) :]
        asks = is_postgres_request(self._start)
        if asks:
            self._is_postgres = True
            self.transport.write(b"S")
            self._start = self._start[len(POSTGRES_SSL_REQUEST) :]
        return None if asks is None else self._start

    def eof_received(self) -> bool:
        """The client has sent too little to decide."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._forget()

    def expire(self, now: float) -> None:
        """The client takes too long; called by the sweeper."""
        log.debug("%s: no ClientHello within timeouts.tls_handshake", self.listener.listener.name)
        self.deadline = float("inf")
        self.transport.abort()

    def shut_down(self) -> None:
        """Nothing has begun yet."""
        self.transport.abort()

    def _hand_over(self, route: StreamRoute | None) -> None:
        self._forget()
        if route is None:
            log.debug("%s: no rule for this client", self.listener.listener.name)
            self.transport.abort()
            return
        front: StreamFront = route.front
        if self._is_postgres and isinstance(front, StreamForward):
            front = PostgresForward(front.forward)
        protocol = front.accept(self.listener)
        if self._proxied is not None:
            cast("PrereadConnection", protocol).proxied(*self._proxied)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if read := bytes(self._reader.data):
            protocol.data_received(read)

    def _forget(self) -> None:
        self._routes.context.sweeper.watched.discard(self)
        self._routes.context.connections.discard(self)
