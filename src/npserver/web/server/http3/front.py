"""The front of the QUIC sockets of an https listener: HTTP/3 with the routes and limits of its `HttpFront`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.server.connection_limits import has_room
from npserver.web.server.http3.connection import Http3Connection

if TYPE_CHECKING:
    from npserver.listen.quic.connection import QuicConnection
    from npserver.listen.quic.roles import Application
    from npserver.listen.roles import Accepting
    from npserver.runtime.front import Client, DatagramSocket
    from npserver.web.server.front import HttpFront

ALPN = "h3"
MIN_IDLE_S, MAX_IDLE_S = 30.0, 3600.0  # after which QUIC gives up a client that sends nothing


class Http3Front:
    """Makes the HTTP/3 connections of a listener."""

    __slots__ = ("http", "idle_s", "max_handshakes", "max_streams", "protocols", "stream_window")

    def __init__(self, http: HttpFront) -> None:
        self.http = http
        self.protocols = (ALPN,)
        limits, timeouts = http.limits, http.timeouts
        self.max_streams = limits.max_streams
        self.stream_window = limits.http2_window
        self.max_handshakes = limits.max_handshakes
        # Idle connections are closed by the deadline sweeper. This is for clients that have vanished; it leaves time
        # for the PINGs while an answer is awaited.
        self.idle_s = min(max(timeouts.idle, MIN_IDLE_S), MAX_IDLE_S)

    def has_room(self, client_ip: str) -> bool:
        """Return whether one more connection of a client would stay within the limits."""
        return has_room(self.http, self.http.context.row, client_ip)

    def accept_quic(self, live: Accepting, connection: QuicConnection, protocol: str) -> Application:
        """Return what speaks over a new connection."""
        made = Http3Connection(live, connection)
        made.begin()
        return made

    def opened(self, port: int) -> None:
        """The sockets are open: tell clients of HTTP/1.1 and HTTP/2 (Alt-Svc, RFC 7838)."""
        self.http.offer_http3(port)

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        """Never called: the endpoint takes the datagrams."""

    def close(self) -> None:
        """A reload has replaced this front."""
