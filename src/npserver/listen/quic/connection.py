"""One QUIC connection of a client: datagrams in, streams to the application above, datagrams out, timers.

Made by `listen.quic.endpoint`. It owns the library's state (`listen.quic.transport`), and what speaks over it once the
handshake is complete, an `Application` such as `web.server.http3.connection`. Everything sent in one turn of the event
loop goes out together.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.listen.datagrams import MAX_RUN
from npserver.listen.quic.keys import choose_key, keys_of
from npserver.listen.quic.paths import ClientPaths
from npserver.listen.quic.roles import NoApplication, TransportError
from npserver.listen.quic.transport import QuicTransport
from npserver.listen.quic.wake_up import WakeUp
from npserver.runtime.deadlines import NEVER
from npserver.tls.certificates import explain

if TYPE_CHECKING:
    from npserver.listen.quic.keys import QuicKey
    from npserver.listen.quic.roles import Application, EndpointRole, HelloInfo, QuicSocket
    from npserver.runtime.front import Client
    from npserver.tls.certificates import LoadedCertificate, ServerTls

log = logging.getLogger("npserver.quic")

NO_ERROR = 0x0
CONNECTION_REFUSED = 0x2
APPLICATION_ERROR = 0xC
_CERTIFICATE_UNKNOWN = 0x100 + 80  # TLS alert internal_error

EARLY_S = 0.0005  # timers may wake up so much before their time
TURN_DATAGRAMS = MAX_RUN  # sent before the event loop serves other connections
MAX_HANDSHAKE_BYTES = 64 << 10  # from the client until the handshake is complete
CLOSED_S = 5.0  # that a closed connection is known at most: three PTOs (RFC 9000 §10.2) can be made long by its client
NO_APPLICATION = NoApplication()
_DATAGRAM_BYTES = 48  # of each datagram that need no explanation: headers, and frames such as ACK
_ANSWERED_BYTES = 64  # of what comes, that each datagram of ours explains: acknowledgements
_STREAM_EXTRA = 16  # a sixteenth of what streams bring may come twice


class QuicConnection:
    """A client's connection. Until its handshake is complete, it is one of the process's connections itself."""

    # deadline        of the handshake, and of the end after the close; checked by the deadline sweeper
    # unexplained     bytes received for which the library may still hold memory, by a rough account
    # _ids            our connection ids that the client may use
    # _received       bytes until the handshake is complete

    __slots__ = (
        "_application", "_awaited", "_certificate", "_endpoint", "_ids", "_is_closed", "_is_flush_due", "_is_over",
        "_is_shaken", "_original_id", "_own_id", "_received", "_wake_up", "context", "deadline", "listener", "paths",
        "quic", "server_name", "unexplained",
    )  # fmt: skip

    awaits_request = True

    def __init__(
        self, endpoint: EndpointRole, client: Client, socket: QuicSocket, *,
        own_id: bytes, original_id: bytes, retry_id: bytes | None, first_id: bytes,
    ) -> None:  # fmt: skip
        """Create it. `first_id`: the destination of the Initial packet that it begins with."""
        self._endpoint = endpoint
        self.context, self.listener = endpoint.context, endpoint.live
        self.paths = ClientPaths(client, socket)
        self._ids = {own_id, first_id}
        self._original_id, self._own_id = first_id, own_id
        self._application: Application = NO_APPLICATION
        self._certificate: LoadedCertificate | None = None
        self._awaited: ServerTls | None = None  # by which it waits for its certificate, whatever a reload puts in place
        self._is_shaken = False  # the handshake is complete
        self._is_closed = False  # by us or by the client; the library may still answer stray packets
        self._is_over = self._is_flush_due = False
        self._wake_up = WakeUp(self.context.loop, self._wake)
        self.server_name, self.unexplained, self._received = "", 0, 0
        self.deadline = self.context.loop.time() + self.listener.listener.handshake_timeout_s
        self.quic = QuicTransport(
            self, endpoint.settings,
            original_id=original_id, retry_id=retry_id, own_id=own_id, reset_token=endpoint.reset_token(own_id),
        )  # fmt: skip
        for connection_id in self._ids:
            endpoint.add_id(connection_id, self)
        self.context.sweeper.watched.add(self)
        self.context.connections.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open" if self._is_shaken else "shaking hands"
        return f"<QuicConnection {self.paths.peer[0]}:{self.paths.peer[1]} {state}>"

    # ── the endpoint's and the process's calls ──

    @property
    def transport(self) -> QuicConnection:
        """Itself: what `abort` closes at the end of a process."""
        return self

    @property
    def is_closed(self) -> bool:
        """Whether it carries nothing any more."""
        return self._is_closed

    def receive(self, data: bytes, client: Client, socket: QuicSocket) -> None:
        """Take a datagram."""
        alias = self.paths.arrive(client)
        if alias is None:
            self._refuse_path(client, socket)
            return
        try:
            size = self.quic.receive(data, alias, self.context.loop.time())
        except TransportError as error:
            self._fail(error)
            return
        except Exception:
            log.exception("error on the connection from %s", client[0])
            self._fail(TransportError("internal error"))
            return
        if self._is_over:
            return
        if self._is_shaken:
            self.unexplained = max(0, self.unexplained + len(data) - _DATAGRAM_BYTES - size - size // _STREAM_EXTRA)
            if self.paths.taken(client, socket, self.quic.active_peer, is_held=self.quic.is_held):
                log.debug("connection of %s continues from there, port %s", *self.paths.peer)
                self._application.peer_moved(self.paths.client)
        else:
            self._received += len(data)
            if self._received > MAX_HANDSHAKE_BYTES and not self._is_closed:
                log.debug("closing connection from %s: %d bytes without a handshake", client[0], self._received)
                self.abort()
                return
        self.flush_soon()

    def shut_down(self) -> None:
        """Close at shutdown: the handshake is not complete."""
        if not self._is_shaken:
            self.close(CONNECTION_REFUSED, of_transport=True)

    def abort(self, code: int = NO_ERROR) -> None:
        """Close at once, and remember nothing. `code`: the application's own for no error."""
        self.close(code if self._is_shaken else NO_ERROR, of_transport=not self._is_shaken)
        self.finish()

    def finish(self) -> None:
        """Send the last datagram of a closed connection, and remember nothing."""
        if not self._is_over:
            self._send_last()
            self._end()

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: the handshake or the end took too long, or the certificate has not come."""
        settings = self._awaited
        if self._is_closed:
            self._end()
        elif settings is not None:
            key = settings.stop_waiting(self.server_name, self, is_late=True)
            log.debug("%s: no certificate for %s within %g s (%s)", self, self.server_name, settings.wait_s, key)
            self.decided(is_there=False)
        else:
            log.debug("%s: QUIC handshake not complete in time (timeouts.tls_handshake)", self.paths.peer[0])
            self.abort()

    def path_begun(self) -> None:
        """The library knows one more address: the present datagram is authentic."""
        self.paths.number += 1

    def _refuse_path(self, client: Client, socket: QuicSocket) -> None:
        """Close: the client has changed its address more often than the library allows."""
        if self._is_closed:
            return
        log.debug("closing connection from %s: it has had %d addresses", client[0], self.paths.number)
        self.quic.close(NO_ERROR, of_transport=True)
        self.paths.redirect(client, socket)
        self._send_last()
        self._end()

    # ── the application's calls ──

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached."""
        return self.paths.socket.local(self.paths.client)

    def close(self, code: int, reason: str = "", *, of_transport: bool = False) -> None:
        """Close: streams end at once, and the client is told the code."""
        if self._is_closed:
            return
        self.quic.close(code, reason, of_transport=of_transport)
        self._lost()

    def flush_soon(self) -> None:
        """Send in the next turn of the event loop, together with what is written until then."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self.context.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what the client's windows, the path and its limits allow."""
        self._is_flush_due = False
        if self._is_over:
            return
        now, take, fill = self.context.loop.time(), self.quic.take, self._application.fill
        sent, filled, is_drained = 0, 0, False
        try:
            while sent < TURN_DATAGRAMS:
                if sent == filled:
                    filled += fill()
                datagram = take(now)
                if datagram is None:
                    is_drained = True
                    break
                self.paths.send(*datagram)
                sent += 1
        except TransportError as error:
            self._fail(error)
            return
        self.paths.flush()
        self.unexplained = max(0, self.unexplained - _ANSWERED_BYTES * sent)
        if not is_drained:
            self.flush_soon()
        self._application.flushed(is_drained=is_drained)
        if not self._is_over and (at := self.quic.timer) is not None:
            self._wake_up.set(at)

    def hold(self, *, is_held: bool) -> None:
        """Take nothing more from the client's streams for now, or take it again."""
        if self.quic.is_held != is_held:
            self.quic.is_held = is_held
            if not is_held:
                self.context.loop.call_soon(self._drain)

    def _drain(self) -> None:
        if not self._is_over:
            self.unexplained = max(0, self.unexplained - self.quic.drain())
            self.flush_soon()

    # ── timers ──

    def _wake(self) -> None:
        """Let the library do what is due."""
        now, at = self.context.loop.time(), self.quic.timer
        if at is not None and at > now + EARLY_S:
            self._wake_up.set(at)
            return
        try:
            self.quic.handle_timer(now)
        except TransportError as error:
            self._fail(error)
            return
        self.flush()

    # ── called by the transport ──

    def hello_received(self, hello: HelloInfo) -> QuicKey | None:
        """Choose the certificate by the server name; wait for one that is not there."""
        settings = self.listener.listener.server_tls
        assert settings is not None  # the config's check lets no other listener use QUIC
        self.server_name = hello.server_name
        certificate = settings.choose(hello.server_name)
        if certificate is not None:
            return self._key_of(certificate, hello.signature_algorithms)
        self._awaited = settings
        self.deadline = self.context.loop.time() + settings.wait_s
        settings.wait(hello.server_name, self, str(self.paths.peer[0]))
        return None

    def decided(self, *, is_there: bool) -> None:
        """Called when the certificate that was waited for is there, or known not to come: go on."""
        settings, self._awaited = self._awaited, None
        if self._is_closed or settings is None:
            return
        self.deadline = self.context.loop.time() + self.listener.listener.handshake_timeout_s
        certificate = settings.load(self.server_name) if is_there else settings.present(self.server_name)
        key = self._key_of(certificate, ())
        if key is not None:
            self.quic.begin(key)
            self.flush_soon()

    def _key_of(self, certificate: LoadedCertificate, offered: tuple[int, ...]) -> QuicKey | None:
        level = logging.WARNING if certificate.derived is None else logging.DEBUG  # told once
        try:
            keys = keys_of(certificate)
        except (OSError, ValueError) as error:
            name, file = self.listener.listener.name, clip(certificate.settings.cert)
            log.log(level, "%s: no QUIC with %s: %s", name, file, explain(error))
            self.close(_CERTIFICATE_UNKNOWN, of_transport=True)
            return None
        self._certificate = certificate
        return choose_key(keys, offered)

    def handshake_completed(self, protocol: str) -> None:
        """Let the application speak."""
        if self._is_closed:
            return
        self._is_shaken = True
        self._forget_handshake()
        if self._original_id != self._own_id:
            self._ids.discard(self._original_id)
            self._endpoint.discard_id(self._original_id)
        application = self._endpoint.accept(self, protocol)
        if not self.is_closed:  # by the application, over a limit
            self._application = application
        else:
            application.connection_lost()

    def connection_id_issued(self, connection_id: bytes) -> None:
        """The client may use one more connection id."""
        self._ids.add(connection_id)
        self._endpoint.add_id(connection_id, self)

    def connection_id_retired(self, connection_id: bytes) -> None:
        """The client uses a connection id no longer."""
        self._ids.discard(connection_id)
        self._endpoint.discard_id(connection_id)

    def stream_data(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """Pass bytes on."""
        self._application.stream_data(stream_id, data, has_ended)

    def stream_reset(self, stream_id: int, code: int) -> None:
        """Pass a reset on."""
        self._application.stream_reset(stream_id, code)

    def stop_sending(self, stream_id: int, code: int) -> None:
        """Pass it on that the client reads no more."""
        self._application.stop_sending(stream_id, code)

    def stream_finished(self, stream_id: int) -> None:
        """Pass the end of a stream on."""
        self._application.stream_finished(stream_id)

    def closed_by_peer(self, code: int, reason: str) -> None:
        """The client has closed the connection, or broken the protocol; the library answers what still comes."""
        log.debug("connection from %s closed: code 0x%x %s", self.paths.peer[0], code, clip(reason))
        if not self._is_closed:
            self._lost()

    def terminated(self, code: int, reason: str) -> None:
        """Nothing more is sent."""
        self._end()

    # ── the end ──

    def _fail(self, error: TransportError) -> None:
        log.debug("closing connection from %s: %s", self.paths.peer[0], error)
        self.quic.close(APPLICATION_ERROR, of_transport=True)
        self._send_last()
        self._end()

    def _send_last(self) -> None:
        try:
            datagram = self.quic.take(self.context.loop.time())
        except TransportError:
            return
        if datagram is not None:
            self.paths.send(*datagram)
            self.paths.flush()

    def _stop_waiting(self) -> None:
        settings, self._awaited = self._awaited, None
        if settings is not None:
            settings.stop_waiting(self.server_name, self, is_late=False)

    def _lost(self) -> None:
        self._stop_waiting()
        self._is_closed = True
        self.quic.is_held = False
        application, self._application = self._application, NO_APPLICATION
        if not self._is_shaken:
            self._forget_handshake()
        self.deadline = self.context.loop.time() + CLOSED_S
        self.context.sweeper.watched.add(self)
        application.connection_lost()
        self.flush_soon()
        self._endpoint.connection_closed()

    def _forget_handshake(self) -> None:
        self.deadline = NEVER
        self.context.sweeper.watched.discard(self)
        if self in self.context.connections:
            self.context.connections.discard(self)
            self._endpoint.handshake_ended(self)

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if not self._is_closed:
            self._lost()
        self.context.sweeper.watched.discard(self)
        self._wake_up.cancel()
        for connection_id in self._ids:
            self._endpoint.discard_id(connection_id)
        self._ids.clear()
        self.quic.forget()
        self._endpoint.remove(self)
