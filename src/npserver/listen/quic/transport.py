"""The QUIC library behind an adapter: packets, recovery, flow control, streams and TLS (RFC 9000, 9001, 9002).

qh3 does no I/O: datagrams are fed in and taken out. Imported only where a listener uses QUIC. What happened is told
to the owner, `listen.quic.connection`, by the calls of `Owner`. The library grants a client new window for all that it
has handed out as events: while `is_held` is set, events stay in the library, and so its windows bound what it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.listen.quic.library import ERRORS, TOO_LITTLE, LibraryConnection
from npserver.listen.quic.roles import TransportError

if TYPE_CHECKING:
    from npserver.listen.quic.keys import QuicKey
    from npserver.listen.quic.roles import Owner, Peer, TransportSettings
    from npserver.listen.quic.send_windows import SendWindows

EVENT_BYTES = 4  # of what a client sends, for each event that waits: see `web.server.http3.connection.HELD_FOR_BYTE`
UNACKNOWLEDGED = 8  # times the congestion window


class QuicTransport:
    """The QUIC state of one connection of a client."""

    # max_streams  that the client may have open at once

    __slots__ = ("_connection", "max_streams")

    def __init__(
        self,
        owner: Owner,
        settings: TransportSettings,
        *,
        original_id: bytes,
        retry_id: bytes | None,
        own_id: bytes,
        reset_token: bytes,
    ) -> None:
        """Create it.

        Args:
            original_id: the destination of the client's first Initial packet.
            retry_id: the source of our Retry packet, if there was one: the client's address is then validated.
            own_id: the connection id that we choose.
        """
        self._connection = LibraryConnection(owner, settings, original_id, retry_id, own_id, reset_token)
        self.max_streams = settings.max_streams

    @property
    def is_held(self) -> bool:
        """Whether the library keeps its events, and so grants the client no new window."""
        return self._connection.is_held

    @is_held.setter
    def is_held(self, is_held: bool) -> None:
        self._connection.is_held = is_held

    def receive(self, data: bytes, peer: Peer, now: float) -> int:
        """Take a datagram. Return how many bytes of streams it brought. Raises: TransportError."""
        try:
            return self._connection.receive(data, peer, now)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # a fault of the library, in Rust
                raise
            raise TransportError(repr(error)) from None

    def begin(self, key: QuicKey) -> None:
        """Continue a handshake that has waited for its certificate."""
        self._connection.begin(key)

    def drain(self) -> int:
        """Tell the owner what has happened. Return how many bytes of streams that were."""
        return self._connection.drain()

    def take(self, now: float) -> tuple[bytes, Peer] | None:
        """Return the next datagram to send, and its destination. Raises: TransportError."""
        core = self._connection.core
        if core is None:
            return None
        try:
            sent = core.poll_transmit(now)
        except ERRORS as error:
            if TOO_LITTLE in str(error):
                return None  # the next frame is larger than what may be sent to an address that is not validated
            raise TransportError(str(error)) from error
        return None if sent is None else (sent[0], sent[1][:2])

    @property
    def timer(self) -> float | None:
        """The time, of the clock that `now` is of, at which `handle_timer` is to be called."""
        core = self._connection.core
        found = None if core is None else core.get_timer()
        return None if found is None else found[1]

    def handle_timer(self, now: float) -> None:
        """Let the library do what is due. Raises: TransportError."""
        core = self._connection.core
        if core is None:
            return
        try:
            core.handle_timer(now)
        except ERRORS as error:
            raise TransportError(str(error)) from error
        self._connection.drain()

    def close(self, code: int, reason: str = "", *, of_transport: bool = False) -> None:
        """Close the connection: CONNECTION_CLOSE is the next datagram to send."""
        core = self._connection.core
        if core is not None:
            try:
                core.close(code, 0 if of_transport else None, reason.encode())
            except ERRORS:
                pass  # it is closed already

    # ── streams; calls about one that is closed do nothing: the owner is about to hear of it ──

    def open_stream(self) -> int | None:
        """Open a unidirectional stream. Return its number; None if the client allows none."""
        try:
            number: int = self._connection.require_core().open_stream(True)
        except ERRORS:
            return None
        return number

    def send(self, stream_id: int, data: bytes | bytearray, *, has_ended: bool = False) -> None:
        """Send bytes on a stream as soon as the client's windows allow."""
        try:
            self._connection.require_core().send_stream(stream_id, data, has_ended)
        except ERRORS:
            return
        self._connection.windows.unsent += len(data)

    def reset(self, stream_id: int, code: int) -> None:
        """Send no more on a stream."""
        connection = self._connection
        connection.windows.count(connection.unsent())
        try:
            connection.require_core().reset_stream(stream_id, code)
        except ERRORS:
            return
        connection.windows.unsent = connection.unsent()

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the client to send no more on a stream."""
        try:
            self._connection.require_core().stop_sending(stream_id, code)
        except ERRORS:
            pass

    def ping(self) -> None:
        """Keep the connection alive on both sides."""
        try:
            self._connection.require_core().send_ping(0)
        except ERRORS:
            pass

    def unsent(self, stream_id: int | None = None) -> int:
        """Return the bytes that were not sent yet, of a stream or of all."""
        return self._connection.unsent(stream_id)

    @property
    def windows(self) -> SendWindows:
        """The client's limits, and our account of them as of now."""
        connection = self._connection
        connection.windows.count(connection.unsent())
        return connection.windows

    def stream_limit(self, stream_id: int) -> int:
        """Return the bytes that the client allows on a stream that it has opened, from the stream's beginning."""
        return self._connection.windows.stream(stream_id)

    @property
    def active_peer(self) -> Peer | None:
        """The validated address that is sent to."""
        core = self._connection.core
        return None if core is None else core.active_path[2][:2]

    @property
    def unacknowledged(self) -> int:
        """Bytes that were sent, and not acknowledged yet."""
        core = self._connection.core
        return 0 if core is None else core.bytes_in_flight

    @property
    def excess(self) -> int:
        """A rough account, in bytes that were received, of what the library keeps for a client that abuses it.

        That is: events while they are held, such as those of DATAGRAM and STOP_SENDING frames, for which there are no
        windows; and our packets that a client makes us send and never acknowledges, far beyond the congestion window.
        """
        connection = self._connection
        core = connection.core
        if core is None:
            return 0
        beyond: int = core.bytes_in_flight - UNACKNOWLEDGED * core.congestion_window
        return EVENT_BYTES * connection.waiting + max(0, beyond)

    @property
    def cipher(self) -> str:
        """The name of the cipher suite; "" before the handshake."""
        return self._connection.cipher

    def forget(self) -> None:
        """Refer to the owner no more: the connection is over, and no cycle may be left."""
        self._connection.forget()
