"""A QUIC client that sends any datagrams, and any frames in authentic packets, to the real connection over memory.

aioquic shakes hands and encrypts; nothing else of it is between a test and the server.
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import trustme
from aioquic.h3.connection import H3Connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection as AioquicConnection
from aioquic.tls import Epoch

from npserver.address import Address
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.listen.quic import packets
from npserver.listen.quic.connection import QuicConnection
from npserver.listen.quic.keys import keys_of
from npserver.listen.quic.library import make_settings
from npserver.listen.quic.roles import Application
from npserver.tls.certificates import LoadedCertificate, ServerTls
from npserver.tls.config import CertificateSettings
from npserver.tls.files import TlsFiles
from npserver.tls.ticket_keys import TicketSecrets
from npserver.web.server.http3.connection import Http3Connection
from npserver.web.server.http3.front import Http3Front
from tests.protocols.memory import MemoryLoop, Server

PEER = ("192.0.2.1", 40000)


@cache
def certificate() -> LoadedCertificate:
    """Return a certificate."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "pair.pem"
        trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(file)
        loaded = LoadedCertificate(CertificateSettings(str(file), str(file)), TlsFiles(), TicketSecrets())
        keys_of(loaded)
    return loaded


class TimedLoop(MemoryLoop):
    """A loop that also has timers at a time."""

    def call_at(self, when: float, callback: Any, *args: Any) -> Any:
        """Ignore the timer: the test lets time pass by `Client.pass_time`."""
        return SimpleNamespace(cancel=lambda: None)


class Endpoint:
    """What a connection needs of its endpoint, without sockets."""

    def __init__(self, server: Server) -> None:
        self.context = server.context
        front = self.make_front(server)
        settings = ServerTls([(certificate(), ["localhost"])], {certificate().settings: "tls"})
        listener = Listener("q", "web", Address("quic", "127.0.0.1", 443), 16, "test", server_tls=settings)
        self.live: Any = LiveListener(listener, front, self.context)
        self.settings = make_settings(
            keys_of(certificate())[0], idle_s=60.0, max_streams=front.max_streams,
            stream_window=front.stream_window, protocols=front.protocols,
        )  # fmt: skip
        self.ids: dict[bytes, QuicConnection] = {}
        self.shaking = 0
        self.removed = 0
        self.http: list[Any] = []  # what speaks over its connections

    def make_front(self, server: Server) -> Any:
        return Http3Front(server.front)

    def reset_token(self, connection_id: bytes) -> bytes:
        return bytes(16)

    def add_id(self, connection_id: bytes, connection: Any) -> None:
        self.ids[connection_id] = connection

    def discard_id(self, connection_id: bytes) -> None:
        self.ids.pop(connection_id, None)

    def accept(self, connection: Any, protocol: str) -> Application:
        made = Http3Connection(self.live, connection)
        self.http.append(made)
        made.begin()
        return made

    def handshake_ended(self, connection: Any) -> None:
        self.shaking += 1

    def connection_closed(self) -> None:
        """Do nothing: it is not closing."""

    def remove(self, connection: Any) -> None:
        self.removed += 1


class Client:
    """One connection, from the client's side."""

    protocol = "h3"
    make_endpoint = Endpoint

    def __init__(
        self, handler: Any, *, shakes: bool = True, server_name: str = "localhost", max_data: int = 1 << 20,
        max_stream_data: int = 1 << 20, **settings: Any,
    ) -> None:  # fmt: skip
        self.server = Server(handler, **settings)
        self.loop = self.server.loop = self.server.context.loop = TimedLoop()  # type: ignore[assignment]
        self.server.context.sweeper._loop = self.loop
        self.endpoint = self.make_endpoint(self.server)
        self.sent: list[bytes] = []
        self.socket: Any = SimpleNamespace(
            send_run=lambda run, client: self.sent.extend(run), local=lambda client: ("127.0.0.1", 443)
        )
        self.quic = AioquicConnection(
            configuration=QuicConfiguration(
                is_client=True,
                alpn_protocols=[self.protocol],
                verify_mode=ssl.CERT_NONE,
                server_name=server_name,
                max_data=max_data,
                max_stream_data=max_stream_data,
            )
        )
        self.quic.connect(("127.0.0.1", 443), self.loop.now)
        self._number = 1000
        first = self.quic.datagrams_to_send(self.loop.now)
        header = packets.parse_long_header(first[0][0])
        assert header is not None
        self.first = [datagram for datagram, _ in first]
        self.connection = QuicConnection(
            self.endpoint, PEER, self.socket,
            own_id=b"ownownid", original_id=header.destination, retry_id=None, first_id=header.destination,
        )  # fmt: skip
        if shakes:
            for datagram in self.first:
                self.datagram(datagram)
            self.exchange()
            assert self.endpoint.http, "no handshake"
            if self.protocol == "h3":
                self.http = H3Connection(self.quic)
                self.exchange()

    def exchange(self) -> None:
        """Pass datagrams to and fro while there are any."""
        for _ in range(20):
            self.loop.settle()
            received, self.sent = self.sent, []
            for datagram in received:
                self.quic.receive_datagram(datagram, ("127.0.0.1", 443), self.loop.now)
            while (event := self.quic.next_event()) is not None:
                self.take_event(event)
            sent = self.quic.datagrams_to_send(self.loop.now)
            for datagram, _ in sent:
                self.datagram(datagram)
            if not sent and not self.sent:
                return
            self.loop.now += 0.001

    def take_event(self, event: Any) -> None:
        """Note nothing: for subclasses."""

    def datagram(self, data: bytes, client: tuple[str, int] = PEER) -> None:
        """Give the server a datagram."""
        self.connection.receive(data, client, self.socket)
        self.loop.settle()

    def frames(self, payload: bytes) -> None:
        """Give the server frames in an authentic packet."""
        self._number += 1
        number = self._number & 0xFFFF
        header = b"\x41" + self.quic._peer_cid.cid + number.to_bytes(2, "big")
        padded = payload + bytes(max(0, 4 - len(payload)))
        crypto = self.quic._cryptos[Epoch.ONE_RTT]
        self.datagram(crypto.encrypt_packet(header, padded, self._number))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the connection's timer run."""
        self.loop.now += seconds
        self.connection._wake() if not self.connection._is_over else None
        self.loop.settle()

    def end(self) -> None:
        """Close, and check that nothing is left."""
        self.connection.abort()
        self.loop.settle()
        context = self.server.context
        assert context.connections == set(), context.connections
        assert [one for one in context.sweeper.watched if one is not self.server.front] == []
        assert self.endpoint.ids == {}
        assert (self.endpoint.shaking, self.endpoint.removed) == (1, 1)
        slot = self.server.front.connections_slot
        assert context.row.slots[slot] == 0
