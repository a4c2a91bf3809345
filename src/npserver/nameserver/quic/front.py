"""The front of a `quic` listener: DNS over dedicated QUIC connections (RFC 9250)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.dns.message.header import MAX_MESSAGE_BYTES
from npserver.nameserver.quic.connection import DoqConnection
from npserver.nameserver.stream_front import DnsStreamFront, StreamSettings, has_room

if TYPE_CHECKING:
    from npserver.listen.quic.connection import QuicConnection
    from npserver.listen.quic.roles import Application
    from npserver.listen.roles import Accepting
    from npserver.nameserver.access_policy import AccessPolicy
    from npserver.nameserver.query_processor import QueryProcessor
    from npserver.runtime.front import Client, DatagramSocket
    from npserver.web.config import Limits

ALPN = "doq"
IDLE_MARGIN_S = 5.0  # by which QUIC's own idle timeout is longer: connections are closed with a code, not in silence
STREAM_WINDOW = 2 + MAX_MESSAGE_BYTES


class DnsOverQuic(DnsStreamFront):
    """Makes the connections of a listener."""

    def __init__(self, policy: AccessPolicy[QueryProcessor], settings: StreamSettings, limits: Limits) -> None:
        super().__init__(policy, "doq", settings)
        self.protocols = (ALPN,)
        self.max_streams = limits.max_streams
        self.stream_window = STREAM_WINDOW
        self.idle_s = settings.timeout_s + IDLE_MARGIN_S
        self.max_handshakes = limits.max_handshakes

    def has_room(self, client_ip: str) -> bool:
        """Return whether one more connection of a client would stay within the limits."""
        return has_room(self, client_ip)

    def accept_quic(self, live: Accepting, connection: QuicConnection, protocol: str) -> Application:
        """Return what speaks over a new connection."""
        made = DoqConnection(self, live, connection)
        made.begin()
        return made

    def opened(self, port: int) -> None:
        """Called when the sockets are open."""

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        """Never called: the endpoint takes the datagrams."""
