"""A connection to a resolver over HTTPS (RFC 8484): each question is a POST on a stream of HTTP/2.

HTTP/2 is `upstream.http2.session`'s. Questions have id 0, so that answers could be cached (RFC 8484 §4.1). An answer
has status 200, the media type of DNS, and at most 65,535 bytes; what is in it is checked as over any other transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.dns.message.header import MAX_MESSAGE_BYTES
from npserver.errors import clip
from npserver.nameserver.resolver.connection import ResolverConnection
from npserver.runtime.deadlines import NEVER
from npserver.upstream.http2.outcomes import CANCEL, NO_ERROR, code_name
from npserver.upstream.http2.session import Http2ClientSession, SessionError
from npserver.upstream.http2.settings import Http2Settings

if TYPE_CHECKING:
    import ssl

    from npserver.http.request import Fields
    from npserver.nameserver.resolver.connection import ChannelRole, Exchange
    from npserver.runtime.context import Context

MAX_STREAMS = 100
MAX_CONTROL_FRAMES = 10_000  # on one connection, besides the answers
MEDIA_TYPE = b"application/dns-message"
_FED_BYTES = 16 << 10  # given to the session at once, so that a flood is noticed early
_SETTINGS = Http2Settings(MAX_STREAMS, 64 << 10, 0.0, 0.0, 0.0, MAX_CONTROL_FRAMES, "dns_forward")


class _Stream:
    """One question and what has come of its answer."""

    __slots__ = ("body", "exchange", "fault")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body = b""
        self.fault = "no response"


class HttpsConnection(ResolverConnection):
    """One connection of a `nameserver.resolver.channel.Channel`."""

    def __init__(self, context: Context, channel: ChannelRole) -> None:
        super().__init__(context, channel)
        self._address = channel.address
        self._session = Http2ClientSession(self, _SETTINGS)
        self._streams: dict[int, _Stream] = {}
        self._max_streams = 1  # until the resolver's SETTINGS have come
        self._is_leaving = False  # no more questions are sent
        self._is_feeding = False
        self._controls = 0

    def __repr__(self) -> str:
        return f"<HttpsConnection {'closed' if self.is_closed else 'open'} {len(self._streams)}>"

    def start(self) -> None:
        """Offer the connection to its channel."""
        if self._channel is None:
            return
        self._watch()
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._lose("it does not offer HTTP/2 (ALPN h2)")
            return
        self._flush()
        if self._channel is not None:
            self._channel.opened(self)

    # ── called by the loop ──

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with bytes of the resolver."""
        self._is_feeding = True
        try:
            for at in range(0, len(data), _FED_BYTES):
                if self.is_closed:
                    return
                self._session.feed(data[at : at + _FED_BYTES])
        except SessionError as error:
            self._lose(f"broke HTTP/2: {error}")
            return
        finally:
            self._is_feeding = False
        self._flush()
        if self._is_leaving and not self._streams:
            self._lose("the resolver ends the connection")
        elif self._channel is not None:
            self._channel.proceed()
        self._rest()

    # ── called by the channel ──

    def has_room(self) -> bool:
        """Whether another question may be sent."""
        return not self._is_leaving and len(self._streams) < self._max_streams

    def send(self, exchange: Exchange) -> None:
        """Send a question."""
        exchange.sent = b"\0\0" + exchange.sent[2:]
        fields = (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", self._address.authority.encode()),
            (b":path", self._address.path.encode()),
            (b"accept", MEDIA_TYPE),
            (b"content-type", MEDIA_TYPE),
            (b"content-length", b"%d" % len(exchange.sent)),
        )
        stream = self._session.open(fields, has_ended=False)
        if not stream:
            self._leave()
            return
        self._streams[stream] = _Stream(exchange)
        self._session.write(stream, exchange.sent)
        self._session.finish(stream, ())
        self.deadline = NEVER
        self._flush()

    def forget(self, exchange: Exchange) -> None:
        """Await the answer to a question no more."""
        for number, stream in self._streams.items():
            if stream.exchange is exchange:
                del self._streams[number]
                self._session.reset(number, CANCEL)
                self._flush()
                break
        self._rest()

    # ── called by the session ──

    def settings_received(self, max_streams: int, max_head_bytes: int, has_tunnels: bool) -> None:
        """The resolver's limits."""
        self.heard_at = self._context.loop.time()
        self._max_streams = min(max_streams, MAX_STREAMS)

    def interim_received(self, stream_id: int, fields: Fields) -> None:
        """A 1xx response has come."""
        self.control_frame()

    def head_received(self, stream_id: int, fields: Fields, has_ended: bool) -> None:
        """A response's head has come."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self.heard_at = self._context.loop.time()
        found = dict(fields)
        status, kind = found.get(b":status", b""), found.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if status != b"200":
            stream.fault = f"HTTP status {clip(status.decode('latin-1'))}"
        elif kind != MEDIA_TYPE:
            stream.fault = f"not an answer of DNS: content-type {clip(kind.decode('latin-1'))}"
        else:
            stream.fault = ""
        if has_ended:
            self._ended(stream_id)

    def body_received(self, stream_id: int, data: bytes, has_ended: bool) -> None:
        """A piece of a response's body has come."""
        self._session.acknowledge(stream_id, len(data))
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if not stream.fault:
            stream.body += data
            if len(stream.body) > MAX_MESSAGE_BYTES:
                stream.fault, stream.body = "an answer longer than 65535 bytes", b""
        if stream.fault:
            self._session.reset(stream_id, CANCEL)
            self._ended(stream_id)
        elif has_ended:
            self._ended(stream_id)

    def trailers_received(self, stream_id: int, fields: Fields) -> None:
        """A response has ended, with trailers."""
        self._ended(stream_id)

    def stream_closed(self, stream_id: int, code: int, by_target: bool) -> None:
        """A stream is closed; one without its whole response has failed."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.fault = f"the resolver reset the request: {code_name(code)}"
            self._ended(stream_id)

    def window_updated(self) -> None:
        """The resolver has opened a window."""
        self.control_frame()

    def control_frame(self) -> None:
        """A frame without a response has come; too many are a flood."""
        self._controls += 1
        if self._controls > MAX_CONTROL_FRAMES:
            self._leave()
            if self._channel is not None and not self._streams:
                self._lose("too many frames without an answer")

    def went_away(self, last_stream_id: int, code: int, text: bytes) -> None:
        """The resolver ends the connection: what it does not answer any more is sent again."""
        self._leave()
        if code or any(number > last_stream_id for number in self._streams):
            self._lose(f"the resolver ends the connection: {code_name(code)}")

    def session_ended(self, code: int, text: bytes) -> None:
        """The resolver has broken the protocol."""
        self._lose(f"broke HTTP/2: {code_name(code)}")

    # ── private ──

    def _ended(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        channel = self._channel
        if stream is None or channel is None:
            return
        if stream.fault:
            channel.refused(stream.exchange, stream.fault)
        elif not channel.answered(stream.exchange, stream.body):
            channel.refused(stream.exchange, "the answer does not match the question")
        self._controls = max(0, self._controls - 10)  # frames that answers explain

    def _leave(self) -> None:
        self._is_leaving = True
        if not self._streams and not self._is_feeding:
            self._lose("the resolver ends the connection")

    def _flush(self) -> None:
        if self.is_closed or self._is_feeding:
            return
        try:
            data = self._session.take(1 << 20)
            if data:
                self._transport.write(data)
            self._session.tell()
        except SessionError as error:
            self._lose(f"broke HTTP/2: {error}")

    def _is_awaited(self) -> bool:
        return bool(self._streams)

    def _end(self, reason: str) -> None:
        self._streams.clear()
        last = self._session.terminate(NO_ERROR)
        self._session.close()
        if last:
            self._transport.write(last)
        self._transport.close()
