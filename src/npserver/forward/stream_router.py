"""Choose among several forward rules on one stream listener, by client network and TLS server name (SNI).

`StreamRouter` is the front. If a server name decides, a `PrereadConnection` reads the ClientHello (RFC 8446 §4.1.2)
without terminating TLS, then hands the connection and all bytes read to the front of the chosen rule. A PostgreSQL
client sends an SSLRequest first and waits for the answer: the answer is sent here, and `forward.postgres.PostgresEnd`
then sends an SSLRequest to the target. A client that sends nothing may wait for the server to speak first (SMTP, SSH,
MySQL): after a while it gets the rule without a server name.
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
    from npserver.networks import Networks
    from npserver.runtime.context import Context
    from npserver.runtime.front import Live, StreamFront

log = logging.getLogger("npserver.forward")


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """One forward rule of the listener, and which connections it applies to.

    `networks`: the clients' networks (None: all clients). `names`: the TLS server names in lower case (none: all
    connections, with or without TLS). `silent_s`: seconds after which a rule without names serves a client that has
    sent nothing; 0: never.
    """

    front: StreamForward | MessageForward
    names: tuple[str, ...] = ()
    networks: Networks | None = None
    silent_s: float = 0.0


class StreamRouter:
    """The front of a listener with several forward rules: serves each connection by the most specific rule.

    An exact server name wins over wildcards (the longest first), a wildcard over no name; then a network wins over no
    network; then the first rule of the config wins.
    """

    def __init__(self, context: Context, routes: Sequence[StreamRoute], hello_timeout_s: float) -> None:
        self.context = context
        self.routes = tuple(routes)
        self.hello_timeout_s = hello_timeout_s

    def __repr__(self) -> str:
        return f"<StreamRouter {len(self.routes)}>"

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Create the protocol of a new connection."""
        return PrereadConnection(self, live)

    def close(self) -> None:
        """Do nothing: open connections continue after a reload."""

    def candidates(self, ip: str) -> list[StreamRoute]:
        """Return the rules that apply to clients at `ip`, rules with networks first."""
        matching = [route for route in self.routes if route.networks is None or ip in route.networks]
        return sorted(matching, key=lambda route: route.networks is None)

    @staticmethod
    def choose(candidates: Sequence[StreamRoute], name: str) -> StreamRoute | None:
        """Return the rule for a server name; `name` is "" for a client that sends none."""
        if name:
            wildcards = [f"*{name[at:]}" for at, letter in enumerate(name) if letter == "."]
            for wanted in (name, *wildcards):  # the longest wildcard first
                for route in candidates:
                    if wanted in route.names:
                        return route
        return next((route for route in candidates if not route.names), None)


class PrereadConnection(asyncio.Protocol):
    """A new connection until its rule is known: reads the ClientHello, then hands the connection over."""

    __slots__ = ("__weakref__", "_candidates", "_closes_at", "_has_spoken", "_is_postgres", "_proxied", "_reader",
                 "_router", "_start", "deadline", "listener", "transport")  # fmt: skip

    transport: asyncio.Transport
    awaits_request = True

    def __init__(self, router: StreamRouter, listener: Live) -> None:
        self._router = router
        self.listener = listener
        self.deadline = float("inf")
        self._closes_at = float("inf")
        self._has_spoken = False
        self._candidates: list[StreamRoute] = []
        self._proxied: tuple[Endpoint, Endpoint] | None = None
        self._start = b""  # bytes received that may still be PostgreSQL encryption requests
        self._reader = HelloReader()
        self._is_postgres = False

    def __repr__(self) -> str:
        return f"<PrereadConnection {self._reader!r}>"

    def proxied(self, source: Endpoint, destination: Endpoint) -> None:
        """Take the addresses of a PROXY header; called before `connection_made`."""
        self._proxied = (source, destination)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new client: choose the rule now if no candidate rule needs a server name."""
        self.transport = cast("asyncio.Transport", transport)
        client = self._proxied[0] if self._proxied else endpoint_of(transport, "peername")
        self._candidates = self._router.candidates(client[0])
        if any(route.names for route in self._candidates):
            context = self._router.context
            now = context.loop.time()
            self.deadline = self._closes_at = now + self._router.hello_timeout_s
            if (route := self._default()) is not None and route.silent_s:
                self.deadline = min(self._closes_at, now + route.silent_s)
            context.sweeper.watched.add(self)
            context.connections.add(self)
        else:
            self._serve(self._default())

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with the client's bytes: hand the connection over once the ClientHello is complete."""
        self._has_spoken = True
        self.deadline = self._closes_at
        if not self._is_postgres and not self._reader.data:
            self._start += data
            if (rest := self._after_requests()) is None:
                return
            data, self._start = rest, b""
        try:
            hello = self._reader.feed(data)
        except HelloError as error:
            log.debug("%s: %s", self.listener.listener.name, error)
            hello = ClientHello()  # not TLS, or malformed: treated as a client that sends no server name
        if hello is not None:
            self._serve(self._router.choose(self._candidates, hello.server_name))

    def _after_requests(self) -> bytes | None:
        """Answer PostgreSQL encryption requests and return the bytes that follow; None if more bytes are needed."""
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
        """Called by asyncio when the client half-closes before its rule is known: no server name will come."""
        route = self._default()
        if route is None or self._is_postgres:
            return False
        return bool(self._hand_over(route).eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the client's connection has closed."""
        self._forget()

    def expire(self, now: float) -> None:
        """Serve a silent client by the rule without a server name; close a connection without a complete ClientHello.

        Called by the deadline sweeper.
        """
        name, route = self.listener.listener.name, self._default()
        if route is not None and route.silent_s and not self._has_spoken:
            log.debug("%s: client sent nothing for %g s (sni_timeout): using the rule without sni", name,
                      route.silent_s)  # fmt: skip
            self._hand_over(route)
            return
        log.debug(
            "%s: closing connection: no complete ClientHello within %g s (timeouts.tls_handshake)",
            name, self._router.hello_timeout_s,
        )  # fmt: skip
        self.deadline = float("inf")
        self.transport.abort()

    def shut_down(self) -> None:
        """Close at shutdown: nothing has been relayed yet."""
        self.transport.abort()

    def _default(self) -> StreamRoute | None:
        """Return the rule for a client that names no server."""
        return self._router.choose(self._candidates, "")

    def _serve(self, route: StreamRoute | None) -> None:
        """Hand the connection over to its rule; close it if there is none."""
        if route is not None:
            self._hand_over(route)
            return
        self._forget()
        log.debug("%s: closing connection: no forward rule matches (from, sni)", self.listener.listener.name)
        self.transport.abort()

    def _hand_over(self, route: StreamRoute) -> asyncio.Protocol:
        """Give the connection and all bytes read to the front of a rule; return its protocol there."""
        self._forget()
        front: StreamFront = route.front
        if self._is_postgres and isinstance(front, StreamForward):
            front = PostgresForward(front.forward)
        protocol = front.accept(self.listener)
        if self._proxied is not None:
            cast("PrereadConnection", protocol).proxied(*self._proxied)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if read := self._start + bytes(self._reader.data):
            protocol.data_received(read)
        return protocol

    def _forget(self) -> None:
        self._router.context.sweeper.watched.discard(self)
        self._router.context.connections.discard(self)
