"""The server side of TLS: chooses the certificate by the server name in the ClientHello, then shakes hands.

`listen.live_listener` creates a `TlsServer` for each connection. A client that sends plain HTTP to an https listener
gets a response that says so.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.errors import clip
from npserver.runtime.deadlines import NEVER
from npserver.tls.acme.answering.answers import ANSWERS
from npserver.tls.acme.challenges import ALPN_PROTOCOL
from npserver.tls.client_hello import (
    MAX_WIRE_BYTES,
    HelloError,
    HelloReader,
    offered_protocols,
    quick_server_name,
)
from npserver.tls.stream import TlsStream

if TYPE_CHECKING:
    from npserver.runtime.front import Live
    from npserver.tls.certificates import LoadedCertificate, ServerTls

log = logging.getLogger("npserver.tls")

#: Names of the counters: of handshakes by version, of those that resumed a session, and of those that failed.
VERSIONS = {version: f"tls.handshakes.{version}" for version in ("TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1")}
RESUMED = "tls.resumed_handshakes"
HANDSHAKE_FAILURES = "tls.handshake_failures"

REFUSAL_S = 2.0  # how long a client that sent plain HTTP may take to close after the response

_HANDSHAKE = 22  # content type of a client's first TLS record (RFC 8446 §5.1)
#: Codes of OpenSSL's X509_verify for a revoked certificate, and for revocation lists that are missing or not usable.
_REVOCATION_CODES = frozenset({3, 5, 8, 11, 12, 15, 16, 23, 33, 35, 44, 54})
_HTTP1 = b"\x08http/1.1"  # as it is in a list of ALPN protocols
_ACME = bytes((len(ALPN_PROTOCOL),)) + ALPN_PROTOCOL.encode()
_NO_APPLICATION_PROTOCOL = bytes.fromhex("15 0303 0002 02 78")  # a record with this fatal alert (RFC 8446 §6)
_ADVICE = b"This port speaks HTTPS, and a plain HTTP request was sent to it. Use https:// instead.\n"
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_ADVICE), _ADVICE)
)


class TlsServer(TlsStream):
    """The TLS stream of a client's connection."""

    __slots__ = ("_accept", "_awaited", "_certificate", "_context", "_head", "_hello", "_is_refused", "_proxied",
                 "_settings", "_speaks_http", "_timeout_s", "deadline", "listener")  # fmt: skip

    def __init__(
        self,
        listener: Live,
        settings: ServerTls,
        accept: Callable[[str | None], asyncio.BaseProtocol],
        *,
        timeout_s: float,
        speaks_http: bool,
    ) -> None:
        """Create it. After the handshake `accept` makes the protocol above, given the name that ALPN selected."""
        super().__init__()
        self.listener = listener
        self._context = listener.context
        self._settings = settings
        self._accept = accept
        self._timeout_s = timeout_s
        self._speaks_http = speaks_http
        self._certificate: LoadedCertificate | None = None
        self._hello: HelloReader | None = None
        self._awaited = ""  # the server name whose certificate is waited for
        self._proxied: tuple[tuple[str, int], tuple[str, int]] | None = None
        self._is_refused = False
        self.deadline = NEVER

    def proxied(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        """Called with the addresses of a PROXY protocol header, which are passed on to the protocol above."""
        self._proxied = source, destination

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio for a new connection: wait for the ClientHello."""
        super().connection_made(transport)
        self.deadline = self._context.loop.time() + self._timeout_s
        self._context.sweeper.watched.add(self)
        self._context.connections.add(self)

    @property
    def awaits_request(self) -> bool:
        """Whether the handshake may still lead to a request."""
        return not self._is_refused

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the bytes below TLS."""
        return self._raw

    def shut_down(self) -> None:
        """Close at shutdown: the handshake is not complete."""
        self.abort()

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: the handshake took longer than `timeouts.tls_handshake`, or has waited."""
        if self._awaited:
            key = self._settings.stop_waiting(self._awaited, self, is_late=True)
            wait_s = self._settings.wait_s
            log.debug("%s: no certificate for %s within %g s (%s)", self._peer(), self._awaited, wait_s, key)
            self.decided(is_there=False)
            return
        if not self._is_refused:
            log.debug("%s: TLS handshake not complete in time (timeouts.tls_handshake)", self._peer())
            self._count(HANDSHAKE_FAILURES)
        self.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return also `misdirected_by`: None, or a function that says by which config key requests for a host must be
        refused here."""
        if name == "misdirected_by":
            return self._misdirected_by if self._settings.verifies_differently else None
        return super().get_extra_info(name, default)

    def _receive_handshake(self, data: bytes) -> None:
        """Read the ClientHello, choose the certificate and shake hands."""
        if self._tls is not None:
            self._shake(data)
            return
        if self._is_refused:
            return
        if self._hello is None:
            if data[0] != _HANDSHAKE:
                self._refuse(data)
                return
            if (server_name := quick_server_name(data)) is not None:
                self._begin_with(self._settings.choose(server_name), server_name, data)
                return
            self._hello = HelloReader()
        fault = ""
        try:
            hello = self._hello.feed(data)
        except HelloError as error:
            fault = str(error)
        if fault:
            log.debug("%s: %s", self._peer(), fault)
            self._begin_with(self._settings.default, "", bytes(self._hello.data))  # OpenSSL sends the alert
        elif hello is not None:
            self._begin_with(self._settings.choose(hello.server_name), hello.server_name, bytes(self._hello.data))

    def _begin_with(self, certificate: LoadedCertificate | None, server_name: str, data: bytes) -> None:
        """Start the handshake with all data received so far. Without a certificate it has to wait for one."""
        self._hello = None
        if certificate is None:
            self._await_certificate(server_name, data)
            return
        self._certificate = certificate
        context = certificate.context_for(data)
        if _ACME in data and (challenged := ANSWERS.of(self._context).tls_context(server_name)) is not None:
            context = challenged
        elif self._speaks_http and _HTTP1 not in data and (fault := _alpn_fault(certificate, data)):
            self._raw.write(_NO_APPLICATION_PROTOCOL)
            self._fail(HelloError(fault))
            return
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        tls.sni = server_name  # type: ignore[attr-defined]  # for the variable `$sni`
        self._begin(tls)
        self._shake(data)

    def _await_certificate(self, server_name: str, data: bytes) -> None:
        """Wait for the certificate of a server name; what the client sends meanwhile is kept."""
        if _ACME in data:  # of the CA, which wants the answer to a challenge
            self._begin_with(self._settings.default, server_name, data)
            return
        self._hello = _HeldHello(self._raw, data)
        self._awaited = server_name
        self.deadline = self._context.loop.time() + self._settings.wait_s
        self._settings.wait(server_name, self, self._peer().rpartition(":")[0])

    def decided(self, *, is_there: bool) -> None:
        """Called when the certificate that was waited for is there, or known not to come: go on."""
        server_name, self._awaited = self._awaited, ""
        held = self._hello
        if self._is_closing or not isinstance(held, _HeldHello):
            return
        self.deadline = self._context.loop.time() + self._timeout_s
        held.release()
        settings = self._settings
        certificate = settings.load(server_name) if is_there else settings.present(server_name)
        self._begin_with(certificate, server_name, bytes(held.data))

    def _secured(self) -> asyncio.Protocol:
        self._forget()
        assert self._tls is not None
        alpn = self._tls.selected_alpn_protocol()
        self._count(VERSIONS.get(self._tls.version() or "", ""))
        if self._tls.session_reused:
            self._count(RESUMED)
        if alpn == ALPN_PROTOCOL:
            return ChallengeEnd()
        protocol = self._accept(alpn)
        if self._proxied is not None and (tell := getattr(protocol, "proxied", None)) is not None:
            tell(*self._proxied)
        return protocol  # type: ignore[return-value]

    def _lost(self, error: Exception | None) -> None:
        self._forget()
        if self._awaited:
            self._settings.stop_waiting(self._awaited, self, is_late=False)
            self._awaited = ""
        if error is not None:
            self._count(HANDSHAKE_FAILURES)
            log.debug("%s: TLS handshake failed: %s%s", self._peer(), error, _deciding_key(error))
            if isinstance(error, ssl.SSLError) and not _is_from_client(error):
                self._tell_failure()

    def _count(self, name: str) -> None:
        row = self._context.row
        if (slot := row.board.directory.names.get(name)) is not None:
            row.slots[slot] += 1

    def _forget(self) -> None:
        self.deadline = NEVER
        self._context.sweeper.watched.discard(self)
        self._context.connections.discard(self)

    def _refuse(self, data: bytes) -> None:
        """Respond to a client that does not speak TLS, and close."""
        is_http = self._speaks_http and data[:1].isalpha()
        answer = "400 for" if is_http else "closing"
        name = self.listener.listener.name
        log.debug("%s %s: expected a TLS handshake, got %s (listen: %s)", answer, self._peer(), clip(data), name)
        self._is_refused = True
        if is_http:  # an honest mistake
            self._raw.write(_PLAIN_HTTP)
            self._raw.write_eof()  # the client closes first, so that no reset overtakes the response
            self.deadline = self._context.loop.time() + REFUSAL_S
        else:
            self._tell_failure()
            self.abort()

    def _tell_failure(self) -> None:
        if self._settings.on_failure is not None:
            self._settings.on_failure(self._peer().rpartition(":")[0])

    def _misdirected_by(self, host: str) -> str:
        return self._settings.misdirected_by(self._certificate, host) if self._certificate is not None else ""

    def _peer(self) -> str:
        peer = self._proxied[0] if self._proxied is not None else self._raw.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix:"


class _HeldHello(HelloReader):
    """A ClientHello that waits for its certificate, with what the client sends after it; the client has to wait, too,
    once that is as much as a ClientHello may have.
    """

    __slots__ = ("_is_paused", "_raw")

    def __init__(self, raw: asyncio.Transport, data: bytes) -> None:
        super().__init__()
        self.data += data
        self._raw = raw
        self._is_paused = False

    def feed(self, data: bytes) -> None:
        """Keep data for later."""
        self.data += data
        if len(self.data) > MAX_WIRE_BYTES and not self._is_paused:
            self._is_paused = True
            self._raw.pause_reading()

    def release(self) -> None:
        """Read on."""
        if self._is_paused:
            self._raw.resume_reading()


def _is_from_client(error: ssl.SSLError) -> bool:
    """Whether the client ended the handshake: it does not trust our certificate, or has closed the connection."""
    return "_ALERT_" in (error.reason or "") or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _deciding_key(error: Exception) -> str:
    """Return the key by which a client's certificate was refused, in parentheses; "" for other errors."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return " (client_crl)" if error.verify_code in _REVOCATION_CODES else " (client_ca)"
    is_missing = isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    return " (client_auth)" if is_missing else ""


class ChallengeEnd(asyncio.Protocol):
    """The protocol after a handshake that answered a challenge: the CA has seen all (RFC 8737 §3)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close."""
        transport.close()


def _alpn_fault(certificate: LoadedCertificate, data: bytes) -> str:
    """Return why the handshake must end (RFC 7301 §3.2: no common protocol); "" if it may go on.

    OpenSSL would end it, but Python's ssl has it go on without a protocol.
    """
    theirs = offered_protocols(data)
    ours = ("h2", "http/1.1") if certificate.settings.http2 else ("http/1.1",)
    if not theirs or not set(ours).isdisjoint(theirs):
        return ""
    return f"no common ALPN protocol: the client offers {clip(', '.join(theirs))}, the server {', '.join(ours)} (http2)"
