"""The QUIC library's own objects for one connection: its packets and its TLS, with our limits.

Used by `listen.quic.transport` alone. The library makes no session tickets here, so there is neither resumption nor
0-RTT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qh3 import tls
from qh3._hazmat import Buffer, QuicConnectionCore
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError
from qh3.quic.crypto import CIPHER_SUITES, derive_key_iv_hp
from qh3.quic.packet import QuicTransportParameters, push_quic_transport_parameters
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsBridgeError

from npserver.listen.quic import packets
from npserver.listen.quic.packets import VERSION_1
from npserver.listen.quic.roles import HelloInfo, Owner, Peer, TransportError, TransportSettings
from npserver.listen.quic.send_windows import CREDIT_EVENTS, SendWindows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.listen.quic.keys import QuicKey

MAX_PACKET_BYTES = 1200  # sent: what every path carries (RFC 9000 §14)
MAX_UDP_PAYLOAD_BYTES = 1500  # received; clients are told so
MAX_HELLO_BYTES = 16 << 10
MAX_UNIDIRECTIONAL_STREAMS = 16  # HTTP/3 needs three; DNS over QUIC refuses them
MAX_DATAGRAM_FRAME_BYTES = 65_536  # the library's parser needs it, for clients that offer DATAGRAM frames (RFC 9221)
MAX_PATHS = 4  # addresses that the library keeps of a connection; it forgets none
CONNECTION_IDS = 2  # in use at once: one, and a spare one to which a client moves
CONNECTION_ID_BYTES = 8
_INITIAL_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # of version 1
ERRORS = (RuntimeError, ValueError)  # of the library's state
TOO_LITTLE = "capacity exhausted"
_GONE = frozenset({"draining", "terminated"})  # states of the library
_ACK_DELAY_S = 0.025
_CRYPTO_ERROR = 0x100
_DECODE_ERROR = 50  # TLS alert
_INTERNAL_ERROR = 80  # TLS alert


def make_settings(
    default_key: QuicKey, *, idle_s: float, max_streams: int, stream_window: int, protocols: Sequence[str]
) -> TransportSettings:
    """Return the settings of a listener's connections. `default_key` stands in until a ClientHello is read."""
    window = 4 * stream_window  # limits the memory that streams take
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=list(protocols),
        connection_id_length=CONNECTION_ID_BYTES,
        idle_timeout=idle_s,
        max_data=window,
        max_stream_data=stream_window,
        max_datagram_size=MAX_PACKET_BYTES,
        max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
        supported_versions=[VERSION_1],
        certificate=default_key.certificate,
        certificate_chain=default_key.chain,
        private_key=default_key.key,
    )
    return TransportSettings(idle_s, max_streams, stream_window, window, configuration)


class LibraryConnection(QuicConnection):
    """The library's connection, with our limits, and events that can be held."""

    def __init__(
        self,
        owner: Owner,
        settings: TransportSettings,
        original_id: bytes,
        retry_id: bytes | None,
        own_id: bytes,
        reset_token: bytes,
    ) -> None:
        super().__init__(
            configuration=settings.configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
        self.host_cid = own_id
        self._owner: Owner | None = owner
        self.is_held = False
        self.waiting = 0  # events that the library keeps while they are held
        self._settings = settings
        self._reset_token = reset_token
        self.windows = SendWindows()
        self.cipher = ""

    @property
    def core(self) -> Any:
        """The library's state of packets; None before the first datagram."""
        return self._core

    def require_core(self) -> Any:
        return self._require_core()

    def receive(self, data: bytes, peer: Peer, now: float) -> int:
        if self._handshake_complete:
            windows = self.windows
            if windows.unsent:
                windows.count(self.unsent())
            try:
                report = self.core.receive_datagram(data, peer, now)
            except ERRORS as error:
                raise TransportError(str(error)) from error
            self.waiting += report[5]
            if windows.unsent:
                windows.unsent = self.unsent()  # STOP_SENDING makes the library drop what it holds of a stream
            return self.drain()
        try:
            if self._core is None:
                self._begin(data, peer, now)
            else:
                self.receive_datagram(data, peer, now)
        except QuicConnectionError as error:
            raise TransportError(str(error)) from error
        return len(data)

    def _begin(self, data: bytes, peer: Peer, now: float) -> None:
        """Take the first datagram. All of it counts for what may be sent to an address that is not validated."""
        header = packets.parse_long_header(data)
        assert header is not None  # the endpoint has read it
        self._version, self._remote_addr = VERSION_1, peer
        # A client whose connection ids are empty must be sent packets with an empty destination. The library takes the
        # one value for that and for the first keys; it is given the empty one here, and the keys besides.
        self._create_core(peer, header.destination if header.source else b"", now)
        if not header.source:
            self._install_initial_keys(header.destination)
        self._create_tls(header.source)
        self.core.receive_datagram(data, peer, now, len(data))
        self.drain()

    def _install_initial_keys(self, destination: bytes) -> None:
        """Derive the keys of Initial packets (RFC 9001 §5.2)."""
        suite = tls.CipherSuite.AES_128_GCM_SHA256
        algorithm = tls.cipher_suite_hash(suite)
        initial = tls.hkdf_extract(algorithm, _INITIAL_SALT, destination)
        names = CIPHER_SUITES[suite]
        for direction, label in (("receive", b"client in"), ("send", b"server in")):
            secret = tls.hkdf_expand_label(algorithm, initial, label, b"", 32)
            key, iv, hp = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=VERSION_1)
            self.core.install_packet_key(
                direction, int(tls.Epoch.INITIAL), (names[1].decode(), names[0].decode()), key, iv, hp, 0, secret,
                VERSION_1,
            )  # fmt: skip

    def begin(self, key: QuicKey) -> None:
        bridge = self._tls
        assert isinstance(bridge, Bridge)
        try:
            bridge.begin(key)
            self._drain_tls()
        except QuicTlsBridgeError as error:
            self._fail(error)
        self._tell_handshake()

    def drain(self) -> int:
        """Pass the library's events on. When the client is gone, nothing is held any more."""
        owner, core, size = self._owner, self._core, 0
        if owner is None or core is None:
            return 0
        while not self.is_held or core.state in _GONE:
            event = core.next_event()
            if event is None:
                self.waiting = 0
                break
            kind = event[0]
            if kind == "stream_data":
                size += len(event[2])
                owner.stream_data(event[1], event[2], event[3])
            elif kind in CREDIT_EVENTS:
                self.windows.take(event)
            elif kind == "stream_finished":
                self.windows.streams.pop(event[1], None)
                owner.stream_finished(event[1])
            elif kind == "stream_reset":
                owner.stream_reset(event[1], event[2])
            elif kind == "stop_sending":
                owner.stop_sending(event[1], event[2])
            elif kind == "crypto_data":
                self._take_crypto(event)
            elif kind == "connection_id_issued":
                owner.connection_id_issued(event[1])
            elif kind == "connection_id_retired":
                owner.connection_id_retired(event[1])
            elif kind == "peer_migration":
                owner.path_begun()
            elif kind == "peer_closed":
                owner.closed_by_peer(event[2], event[4].decode("utf-8", "replace"))
            elif kind == "protocol_error":
                owner.closed_by_peer(event[1], event[3])
            elif kind == "connection_terminated":
                owner.terminated(event[1], event[3].decode("utf-8", "replace"))
                break
        return size

    def unsent(self, stream_id: int | None = None) -> int:
        core = self._core
        try:
            size: int = 0 if core is None else core.get_send_buffer_size(stream_id)
        except ERRORS:
            return 0
        return size

    def forget(self) -> None:
        self._owner = None
        self._core = None
        self._forget_tls()

    def _forget_tls(self) -> None:
        bridge, self._tls = self._tls, None
        if isinstance(bridge, Bridge):
            bridge.release()

    # ── what the library calls ──

    def _drain_core(self) -> None:
        self.drain()

    def _normalize_address(self, addr: Peer) -> Peer:
        return addr

    def _create_core(self, remote_addr: Peer, initial_dcid: bytes, now: float) -> None:
        settings = self._settings
        self._core = QuicConnectionCore(
            False,
            VERSION_1,
            ("0.0.0.0", 0),
            remote_addr,
            self.host_cid,
            initial_dcid,
            self._retry_source_connection_id is not None,
            CONNECTION_IDS,
            MAX_PACKET_BYTES,
            False,  # no probing for larger packets
            settings.idle_s or None,
            3,  # exponent of ACK delays
            MAX_DATAGRAM_FRAME_BYTES,
            None,
            settings.connection_window,
            0,
            settings.stream_window,
            0,
            0,
            0,
            settings.stream_window,  # out of order, of a stream
            settings.max_streams,
            MAX_UNIDIRECTIONAL_STREAMS,
            0,
            0,
            0.333,  # the first guess at the round-trip time (RFC 9002 §6.2.2)
            _ACK_DELAY_S,
            now,
        )
        self._applied_transport_parameters = None
        self._pre_handshake_state_replayed = True

    def _create_tls(self, remote_source_cid: bytes | None) -> Bridge:
        owner = self._owner
        assert owner is not None
        bridge = self._tls = Bridge(
            self._configuration,
            version=VERSION_1,
            local_initial_source_connection_id=self.host_cid,
            remote_initial_source_connection_id=remote_source_cid,
            original_destination_connection_id=self._original_destination_connection_id,
            retry_source_connection_id=self._retry_source_connection_id,
            stateless_reset_token=self._reset_token,
        )
        bridge.use(owner, self._settings)
        return bridge

    def _take_crypto(self, event: tuple[Any, ...]) -> None:
        bridge: Any = self._tls
        try:
            bridge.receive_crypto(tls.Epoch(event[1]), event[3], event[2])
            self._drain_tls()
        except QuicTlsBridgeError as error:
            self._fail(error)
        except Exception:  # the library's parser of handshake messages has no documented errors
            self.core.close(_CRYPTO_ERROR + _DECODE_ERROR, 6, b"")
        self._tell_handshake()

    def _tell_handshake(self) -> None:
        if self._handshake_complete and not self.cipher and self._owner is not None:
            done: Any = self._tls
            schedule = done.tls.key_schedule
            self.cipher = schedule.cipher_suite.name if schedule is not None else "?"
            protocol = done.tls.alpn_negotiated or ""
            self.windows.begin(done.remote_transport_parameters)
            self._events.clear()
            self._forget_tls()  # it is most of the memory
            self._owner.handshake_completed(protocol)

    def _fail(self, error: QuicTlsBridgeError) -> None:
        if error.__cause__ is not None:
            error.__cause__.__traceback__ = None  # a frame in it refers to the cause, which would be a cycle
        self.core.close(int(error.error_code), int(error.frame_type), b"")
        if self._owner is not None:
            self._owner.closed_by_peer(int(error.error_code), error.reason_phrase)


class Bridge(QuicTlsBridge):
    """The library's TLS, with a certificate chosen by the ClientHello."""

    def use(self, owner: Owner, settings: TransportSettings) -> None:
        self._owner = owner
        self._settings = settings
        self._held = b""
        self._is_chosen = False
        self.tls.handshake_extensions = [
            (tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, self.serialize_transport_parameters())
        ]

    def serialize_transport_parameters(self) -> bytes:
        settings: TransportSettings | None = getattr(self, "_settings", None)
        if settings is None:  # called by the library's constructor
            return b""
        parameters = QuicTransportParameters(
            original_destination_connection_id=self.original_destination_connection_id,
            retry_source_connection_id=self.retry_source_connection_id,
            initial_source_connection_id=self.local_initial_source_connection_id,
            stateless_reset_token=self.stateless_reset_token,
            max_idle_timeout=int(settings.idle_s * 1000),
            max_udp_payload_size=MAX_UDP_PAYLOAD_BYTES,
            initial_max_data=settings.connection_window,
            initial_max_stream_data_bidi_local=settings.stream_window,
            initial_max_stream_data_bidi_remote=settings.stream_window,
            initial_max_stream_data_uni=settings.stream_window,
            initial_max_streams_bidi=settings.max_streams,
            initial_max_streams_uni=MAX_UNIDIRECTIONAL_STREAMS,
            ack_delay_exponent=3,
            max_ack_delay=int(_ACK_DELAY_S * 1000),
            active_connection_id_limit=CONNECTION_IDS,
            max_datagram_frame_size=MAX_DATAGRAM_FRAME_BYTES,
        )
        buffer = Buffer(capacity=1024)
        push_quic_transport_parameters(buffer, parameters)
        found: bytes = buffer.data
        return found

    def parse_transport_parameters(self, data: bytes, *, from_session_ticket: bool = False) -> QuicTransportParameters:
        parameters = super().parse_transport_parameters(data, from_session_ticket=from_session_ticket)
        parameters.active_connection_id_limit = CONNECTION_IDS  # the client gets no more of ours
        return parameters

    def receive_crypto(
        self, epoch: tls.Epoch, data: bytes, offset: int | None = None, *, version: int | None = None
    ) -> None:
        if self._is_chosen:
            super().receive_crypto(epoch, data, offset, version=version)
            return
        self._held += data
        if len(self._held) < 4:
            return
        size = 4 + int.from_bytes(self._held[1:4], "big")
        if self._held[0] != tls.HandshakeType.CLIENT_HELLO or size > MAX_HELLO_BYTES:
            raise QuicTlsBridgeError(_CRYPTO_ERROR + _DECODE_ERROR, "no ClientHello, or too long a one")
        if len(self._held) < size:
            return
        try:
            hello = tls.pull_client_hello(Buffer(data=self._held[:size]))
        except tls.Alert as error:
            raise QuicTlsBridgeError(_CRYPTO_ERROR + int(error.description), str(error)) from error
        key = self._owner.hello_received(
            HelloInfo(
                (hello.server_name or "").lower().removesuffix("."),
                tuple(hello.alpn_protocols or ()),
                tuple(hello.signature_algorithms or ()),
            )
        )
        if key is not None:
            self.begin(key)

    def release(self) -> None:
        """Let what calls back go: without a cycle, all is freed at once."""
        self.tls.alpn_cb = self.tls.update_traffic_key_cb = _call_nothing

    def begin(self, key: QuicKey) -> None:
        """Let the library answer the ClientHello."""
        self._is_chosen = True
        self.tls.certificate = key.certificate
        self.tls.certificate_chain = key.chain
        self.tls.certificate_private_key = key.key
        held, self._held = self._held, b""
        super().receive_crypto(tls.Epoch.INITIAL, held, 0)


def _call_nothing(*_: object) -> None:
    """Stands for a call back whose object is over."""
