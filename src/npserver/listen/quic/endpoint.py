"""The UDP sockets of a QUIC listener: finds the connection of each datagram, and begins connections.

A listener with `http3` has them, and one of DNS over QUIC. Connections stay here, whatever a reload changes:
`live.front` is asked for what speaks over a new one. A datagram of a connection that another worker has is handed on
(`listen.quic.handover`). While many handshakes are in progress, clients must first show that they receive at their
address (Retry, RFC 9000 §8.1). Datagrams that belong to nothing are dropped without a word in the log, and counted.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Protocol, cast

from npserver.listen.datagrams import open_socket
from npserver.listen.quic import packets
from npserver.listen.quic.connection import QuicConnection
from npserver.listen.quic.handover import pack, receive_all, split
from npserver.listen.quic.keys import keys_of
from npserver.listen.quic.library import CONNECTION_ID_BYTES, MAX_UDP_PAYLOAD_BYTES, make_settings
from npserver.listen.quic.tokens import QuicTokens
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from npserver.listen.quic.roles import Application, QuicSocket, TransportSettings
    from npserver.listen.roles import Accepting
    from npserver.runtime.context import Context
    from npserver.runtime.front import Client

#: Names of the counters. They get their slots when the master compiles the config (`program.http3`). Here, in a worker,
#: it is too late: the master would give the same slots to what a reload adds.
COUNTERS = (
    "gauge.quic.connections", "quic.connections", "quic.retries", "quic.version_negotiations", "quic.handed_on",
    "quic.strays",
)  # fmt: skip
MANY_HANDSHAKES = 10  # times `limits.max_handshakes`: further clients are not answered
RESETS_PER_S = 50  # stateless resets
MIN_RESET_TRIGGER_BYTES = 43  # a reset is shorter than what it answers, so that two servers cannot go on for ever
MAX_RESET_BYTES = 42


class QuicFront(Protocol):
    """What `live.front` is for this listener: `web.server.http3.front.Http3Front` or `nameserver.quic.front`'s."""

    protocols: tuple[str, ...]  # ALPN
    max_streams: int
    stream_window: int
    idle_s: float
    max_handshakes: int

    def has_room(self, client_ip: str) -> bool:
        """Return whether one more connection of a client would stay within the limits."""

    def accept_quic(self, live: Accepting, connection: QuicConnection, protocol: str) -> Application:
        """Return what speaks over a new connection."""

    def opened(self, port: int) -> None:
        """The sockets are open, on this port."""


class QuicEndpoint:
    """The sockets and connections of one listener in one process."""

    # settings     for new connections
    # _by_id       connections by connection id
    # _open        how many of them still carry something
    # _shaking     handshakes in progress
    # _receiver    the socket by which other workers hand datagrams on; None with one worker
    # _senders     those to all workers

    __slots__ = (
        "_by_id", "_connections", "_handed_slot", "_is_closing", "_is_finishing", "_negotiated_slot", "_open",
        "_open_slot", "_receiver", "_resets_left", "_resets_s", "_retry_slot", "_senders", "_shaking", "_sockets",
        "_stray_slot", "_tokens", "_total_slot", "context", "live", "settings",
    )  # fmt: skip

    def __init__(self, live: Accepting, context: Context, sockets: Sequence[socket.socket]) -> None:
        """Create it, and take datagrams. It owns `sockets`."""
        self.live = live
        self.context = context
        self.settings = self._make_settings()
        self._by_id: dict[bytes, QuicConnection] = {}
        self._connections: set[QuicConnection] = set()
        self._open = self._shaking = 0
        self._is_closing = self._is_finishing = False
        self._tokens = QuicTokens(context.row.board.cells_seed)
        self._resets_s, self._resets_left = 0.0, 0
        (
            self._open_slot, self._total_slot, self._retry_slot, self._negotiated_slot, self._handed_slot,
            self._stray_slot,
        ) = [context.row.slot(name) for name in COUNTERS]  # fmt: skip
        udp, others = split(sockets)
        self._receiver = others[0] if others else None
        self._senders = others[1:]
        if self._receiver is not None:
            context.loop.add_reader(self._receiver, self._read_handed_on)
        self._sockets = [open_socket(context, cast("Accepting", _Feed(self)), one) for one in udp]
        ENDPOINTS.of(context).append(self)
        self._front.opened(self._sockets[0].name[1])

    def __repr__(self) -> str:
        return f"<QuicEndpoint {self.live.listener.name} {len(self._connections)} connections>"

    @property
    def _front(self) -> QuicFront:
        return cast("QuicFront", self.live.front)

    @property
    def port(self) -> int:
        """The local port."""
        return int(self._sockets[0].name[1]) if self._sockets else 0

    def replaced(self) -> None:
        """Called when a reload has put a new front in place."""
        self.settings = self._make_settings()
        self._front.opened(self.port)

    def close(self) -> None:
        """Begin no more connections; close the sockets when there are none left."""
        if not self._is_closing:
            self._is_closing = True
            self._close_if_over()

    def leave(self) -> None:
        """Serve only the present connections: another program has the UDP sockets, too. Follow it by `read_waiting`."""
        for one in self._sockets:
            one.leave(self._clients_of(one))

    def read_waiting(self) -> None:
        """Read what had come before `leave`, and begin no more connections."""
        for one in self._sockets:
            one.read_waiting(functools.partial(self._clients_of, one))
        self.close()

    def _clients_of(self, sock: QuicSocket) -> list[Client]:
        return [found.paths.client for found in self._connections if found.paths.socket is sock]

    def connection_closed(self) -> None:
        """A connection carries nothing any more: called once for each."""
        self._open -= 1
        if self._is_closing and not self._open:
            self.context.loop.call_soon(self._close_if_over)

    def _close_if_over(self) -> None:
        """Close the sockets after the last connection. Those that are closed may have a last datagram to send."""
        if not self._is_closing or self._is_finishing or self._open:
            return
        self._is_finishing = True
        for connection in list(self._connections):
            connection.finish()
        for one in self._sockets:
            one.close()
        self._sockets = []
        if self._receiver is not None:
            self.context.loop.remove_reader(self._receiver)
            self._receiver.close()
            self._receiver = None
        for sender in self._senders:
            sender.close()
        self._senders = []
        ENDPOINTS.of(self.context).remove(self)

    # ── datagrams ──

    def datagram(self, data: bytes, client: Client, sock: QuicSocket) -> None:
        """Called for each datagram received."""
        if not data or len(data) > MAX_UDP_PAYLOAD_BYTES:
            return
        if data[0] & 0x80:
            self._take_long(data, client, sock)
            return
        connection = self._by_id.get(data[1 : 1 + CONNECTION_ID_BYTES])
        if connection is not None:
            connection.receive(data, client, sock)
        else:
            self._take_stray(data, data[1 : 1 + CONNECTION_ID_BYTES], client, sock)

    def _take_long(self, data: bytes, client: Client, sock: QuicSocket) -> None:
        header = packets.parse_long_header(data)
        if header is None or header.version == 0:
            self._count(self._stray_slot)
            return
        connection = self._by_id.get(header.destination)
        if connection is not None:
            connection.receive(data, client, sock)
        elif header.version != packets.VERSION_1:
            if len(data) >= packets.MIN_INITIAL_BYTES:
                self._count(self._negotiated_slot)
                sock.send(packets.version_negotiation(header, os.urandom(5)), client)
        elif header.kind != packets.INITIAL:
            self._take_stray(data, header.destination, client, sock)
        elif len(data) >= packets.MIN_INITIAL_BYTES and len(header.destination) >= packets.MIN_ORIGINAL_ID_BYTES:
            self._begin(header, data, client, sock)
        else:
            self._count(self._stray_slot)

    def _begin(self, header: packets.LongHeader, data: bytes, client: Client, sock: QuicSocket) -> None:
        """Begin a connection, unless there are too many, or the client's address must be validated first."""
        successor = self._successor()
        if successor is not None:
            successor.datagram(data, client, sock)
            return
        if self._is_closing:
            return
        if self.live.is_draining:
            sock.send(packets.refusal(header, os.urandom(CONNECTION_ID_BYTES)), client)
            return
        front, peer = self._front, (str(client[0]), cast("int", client[1]))
        original_id, retry_id = header.destination, None
        now = int(self.context.loop.time())
        if header.token:
            found = self._tokens.original_id(header.token, peer, header.destination, now)
            if found is not None:
                original_id, retry_id = found, header.destination
        # To a client without connection ids, the id that it chose has to be ours: see `listen.quic.transport`.
        is_ours = bool(header.source) or len(original_id) == CONNECTION_ID_BYTES
        if retry_id is None and (self._shaking >= front.max_handshakes or not is_ours):
            self._count(self._retry_slot)
            own_id = os.urandom(CONNECTION_ID_BYTES)
            sock.send(packets.retry(header, own_id, self._tokens.retry(peer, original_id, own_id, now)), client)
            return
        if self._shaking >= MANY_HANDSHAKES * front.max_handshakes or not front.has_room(peer[0]):
            self._count(self._stray_slot)
            return
        self._open += 1
        self._shaking += 1
        self._count(self._open_slot)
        self._count(self._total_slot)
        connection = QuicConnection(
            self, client, sock,
            own_id=os.urandom(CONNECTION_ID_BYTES) if header.source else header.destination,
            original_id=original_id, retry_id=retry_id,
            first_id=header.destination,
        )  # fmt: skip
        self._connections.add(connection)
        connection.receive(data, client, sock)

    def _successor(self) -> QuicEndpoint | None:
        """Return the endpoint of the same listener after a reload has brought it back: this one has its last
        connections."""
        key = self.live.listener.key
        latest = next((one for one in reversed(ENDPOINTS.of(self.context)) if one.live.listener.key == key), self)
        return None if latest is self or latest._is_closing else latest

    # ── strays ──

    def _take_stray(self, data: bytes, connection_id: bytes, client: Client, sock: QuicSocket) -> None:
        """Hand a datagram to the worker that has its connection; tell the client if there is none any more."""
        if len(connection_id) == CONNECTION_ID_BYTES:
            if self._senders:
                worker = self.context.row.board.connection_ids.find(connection_id, self.context.worker)
                if worker is not None:
                    self._hand_on(worker, data, client, sock)
                    return
            for one in ENDPOINTS.of(self.context):  # of a listener that a reload has removed, or put in its place
                if one is not self and (connection := one._by_id.get(connection_id)) is not None:
                    connection.receive(data, client, sock)
                    return
        self._count(self._stray_slot)
        if len(data) >= MIN_RESET_TRIGGER_BYTES and not data[0] & 0x80 and self._may_reset():
            size = min(len(data) - 1, MAX_RESET_BYTES)
            reset = packets.stateless_reset(self._tokens.reset(connection_id), size, os.urandom(size))
            sock.send(reset, client)

    def _hand_on(self, worker: int, data: bytes, client: Client, sock: QuicSocket) -> None:
        self._count(self._handed_slot)
        place = next((number for number, one in enumerate(self._sockets) if one is sock), 0)
        try:
            self._senders[worker].send(pack(place, client, data))
        except OSError:
            self._count(self._stray_slot)  # that worker does not keep up, or ends

    def _read_handed_on(self) -> None:
        receiver = self._receiver
        for place, client, data in receive_all(receiver) if receiver is not None else ():
            if place >= len(self._sockets):
                return  # closed meanwhile
            if data[0] & 0x80:
                header = packets.parse_long_header(data)
                connection_id = header.destination if header is not None else b""
            else:
                connection_id = data[1 : 1 + CONNECTION_ID_BYTES]
            for one in ENDPOINTS.of(self.context):
                if (connection := one._by_id.get(connection_id)) is not None:
                    connection.receive(data, client, self._sockets[place])
                    break

    def _may_reset(self) -> bool:
        now = self.context.loop.time()
        if now - self._resets_s >= 1.0:
            self._resets_s, self._resets_left = now, RESETS_PER_S
        self._resets_left -= 1
        return self._resets_left >= 0

    # ── the connections' calls ──

    def reset_token(self, connection_id: bytes) -> bytes:
        """Return the token of stateless resets for a connection id."""
        return self._tokens.reset(connection_id)

    def add_id(self, connection_id: bytes, connection: QuicConnection) -> None:
        """Pass datagrams with an id to a connection."""
        self._by_id[connection_id] = connection
        if len(connection_id) == CONNECTION_ID_BYTES:
            self.context.row.board.connection_ids.add(self.context.worker, connection_id)

    def discard_id(self, connection_id: bytes) -> None:
        """Forget an id."""
        self._by_id.pop(connection_id, None)
        if len(connection_id) == CONNECTION_ID_BYTES:
            self.context.row.board.connection_ids.discard(self.context.worker, connection_id)

    def accept(self, connection: QuicConnection, protocol: str) -> Application:
        """Return what speaks over a connection whose handshake is complete."""
        return self._front.accept_quic(self.live, connection, protocol)

    def handshake_ended(self, connection: QuicConnection) -> None:
        """The handshake is complete, or the connection over: called once."""
        self._shaking -= 1

    def remove(self, connection: QuicConnection) -> None:
        """The connection is over."""
        self._connections.discard(connection)
        connection.paths.socket.forget(connection.paths.client)
        self.context.row.slots[self._open_slot] -= 1
        self._close_if_over()

    def _count(self, slot: int) -> None:
        self.context.row.slots[slot] += 1

    def _make_settings(self) -> TransportSettings:
        front, server_tls = self._front, self.live.listener.server_tls
        assert server_tls is not None  # the config's check lets no other listener use QUIC
        return make_settings(
            keys_of(server_tls.default)[0],
            idle_s=front.idle_s,
            max_streams=front.max_streams,
            stream_window=front.stream_window,
            protocols=front.protocols,
        )


class _Feed:
    """Stands for the listener towards its sockets: their datagrams are for the endpoint, whatever the front is."""

    __slots__ = ("_endpoint", "front")

    def __init__(self, endpoint: QuicEndpoint) -> None:
        self._endpoint = endpoint
        self.front = endpoint

    @property
    def listener(self) -> object:
        """The listener, as of the last reload."""
        return self._endpoint.live.listener

    @property
    def is_draining(self) -> bool:
        """Whether it takes no new connections."""
        return self._endpoint.live.is_draining

    @property
    def context(self) -> Context:
        """The context of the process."""
        return self._endpoint.context


#: The endpoints of a process.
ENDPOINTS: PerProcess[list[QuicEndpoint]] = PerProcess(lambda context: [])
