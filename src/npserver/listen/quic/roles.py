"""The roles that the parts of a QUIC connection play for each other: endpoint, connection, transport, application.

They hold each other; written against these roles, they need not import each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from npserver.runtime.front import DatagramSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.listen.quic.keys import QuicKey
    from npserver.listen.roles import Accepting
    from npserver.runtime.context import Context
    from npserver.runtime.front import Client

Peer = tuple[str, int]  # address and port
NOTHING_WAITS = 1 << 30  # datagrams: more than any


class TransportError(Exception):
    """The library cannot go on with a connection."""


class TransportSettings(Struct, frozen=True):
    """What clients are told of our limits."""

    idle_s: float  # 0: none
    max_streams: int
    stream_window: int  # bytes
    connection_window: int
    configuration: Any  # the library's, shared by all connections


class HelloInfo(Struct, frozen=True):
    """The parts of a ClientHello by which its certificate is chosen."""

    server_name: str
    protocols: tuple[str, ...]
    signature_algorithms: tuple[int, ...]


class Owner(Protocol):
    """The owner of a transport, which is told what happens."""

    def hello_received(self, hello: HelloInfo) -> QuicKey | None:
        """Return the certificate for a client; None if `begin` is called with it later."""

    def handshake_completed(self, protocol: str) -> None:
        """The handshake is complete; `protocol` is the ALPN protocol."""

    def connection_id_issued(self, connection_id: bytes) -> None:
        """The client may use one more connection id."""

    def connection_id_retired(self, connection_id: bytes) -> None:
        """The client uses a connection id no longer."""

    def path_begun(self) -> None:
        """An authentic datagram has come from an address that the library does not know, and now validates."""

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Bytes of a stream have come."""

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client sends no more on a stream."""

    def stop_sending(self, stream_id: int, code: int) -> None:
        """The client reads no more of a stream. The library resets it."""

    def stream_finished(self, stream_id: int) -> None:
        """Both sides of a stream are complete, and the client has all of it."""

    def terminated(self, code: int, reason: str) -> None:
        """The connection is over; nothing more is sent."""

    def closed_by_peer(self, code: int, reason: str) -> None:
        """The client has closed the connection; `terminated` follows."""


class QuicSocket(DatagramSocket, Protocol):
    """A socket as connections see it: `listen.datagrams.OpenSocket`."""

    def send_run(self, run: Sequence[bytes], client: Client) -> None:
        """Send datagrams of one size, the last of which may be shorter."""


class Application(Protocol):
    """What speaks over a connection."""

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Bytes of a stream have come."""

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client sends no more on a stream."""

    def stop_sending(self, stream_id: int, code: int) -> None:
        """The client reads no more of a stream, which is reset."""

    def stream_finished(self, stream_id: int) -> None:
        """Both sides of a stream are complete."""

    def fill(self) -> int:
        """Give the library what is to be sent next. Return how many datagrams can be sent before the next call."""

    def flushed(self, *, is_drained: bool) -> None:
        """Something was sent. `is_drained`: all that the client's windows and the path allow."""

    def peer_moved(self, client: Client) -> None:
        """The client's address is another one now, and validated."""

    def connection_lost(self) -> None:
        """The connection is closed."""


class NoApplication:
    """Stands for the application of a connection that has none: before the handshake is complete, and at the end."""

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Drop it."""

    def stream_reset(self, stream_id: int, code: int) -> None:
        """Do nothing."""

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Do nothing."""

    def stream_finished(self, stream_id: int) -> None:
        """Do nothing."""

    def fill(self) -> int:
        """Nothing waits."""
        return NOTHING_WAITS

    def flushed(self, *, is_drained: bool) -> None:
        """Do nothing."""

    def peer_moved(self, client: Client) -> None:
        """Do nothing."""

    def connection_lost(self) -> None:
        """Do nothing."""


class EndpointRole(Protocol):
    """The endpoint as its connections see it: `listen.quic.endpoint.QuicEndpoint`."""

    context: Context
    live: Accepting

    @property
    def settings(self) -> TransportSettings:
        """Our limits, as of the last reload."""

    def reset_token(self, connection_id: bytes) -> bytes:
        """Return the token of stateless resets for a connection id."""

    def add_id(self, connection_id: bytes, connection: Any) -> None:
        """Pass datagrams with an id to a connection."""

    def discard_id(self, connection_id: bytes) -> None:
        """Forget an id."""

    def accept(self, connection: Any, protocol: str) -> Application:
        """Return what speaks over a connection whose handshake is complete."""

    def handshake_ended(self, connection: Any) -> None:
        """The handshake is complete, or the connection over: called once."""

    def connection_closed(self) -> None:
        """A connection carries nothing any more."""

    def remove(self, connection: Any) -> None:
        """The connection is over."""
