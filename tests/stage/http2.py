"""An HTTP/2 client that sends any frames to the real connection over memory.

Frames and header compression are hyperframe's and hpack's, which share nothing with the library of the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder
from hyperframe import frame as frames

from npserver.address import Address
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.web.server.http2.connection import Http2Connection
from tests.protocols.memory import MemoryTransport, Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Fields = list[tuple[str, str]]
GET: Fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "example.com")]
POST: Fields = [(":method", "POST"), *GET[1:]]


def server(handler: Any, **settings: Any) -> Server:
    """Return a server whose listener speaks HTTPS."""
    made = Server(handler, **settings)
    address = Address("https", "127.0.0.1", 443)
    made.live = LiveListener(Listener("https://127.0.0.1:443", "web", address, 16, "test"), made.front, made.context)
    return made


@dataclass(slots=True)
class Answer:
    """A response as far as it has come on its stream."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[list[tuple[str, str]]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    has_ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.fields)[":status"])

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]


class Client:
    """The other end of one connection."""

    def __init__(
        self, server: Server, *, settings: dict[int, int] | None = None, greets: bool = True, acknowledges: bool = True
    ) -> None:
        self.server = server
        self.connection = Http2Connection(server.live)
        self.transport = MemoryTransport(self.connection, server.loop, ("192.0.2.1", 40000))
        self.encoder, self.decoder = Encoder(), Decoder()
        self.answers: dict[int, Answer] = {}
        self.frames: list[frames.Frame] = []  # all but those of answers
        self._unread = b""
        self._last = -1
        self.connection.connection_made(self.transport)
        self.server.loop.settle()
        if greets:
            self.raw(PREFACE)
            self.send(frames.SettingsFrame(0, settings=settings or {}))
            if acknowledges:
                self.send(frames.SettingsFrame(0, flags=["ACK"]))

    # ── sending ──

    def raw(self, data: bytes) -> None:
        """Send bytes, and read the reply."""
        if not self.transport.is_closed:
            self.connection.data_received(data)
        self.read()

    def send(self, *sent: frames.Frame) -> None:
        """Send frames in one read."""
        self.raw(b"".join([one.serialize() for one in sent]))

    def headers(self, stream: int, fields: Fields, *flags: str) -> frames.HeadersFrame:
        """Return a HEADERS frame that ends its block."""
        return frames.HeadersFrame(stream, self.encoder.encode(fields), flags=["END_HEADERS", *flags])

    def request(self, fields: Fields, body: bytes | None = None, *, stream: int = 0) -> Answer:
        """Send a whole request; return its response, which is filled in as it comes."""
        self._last = stream or self._last + 2
        answer = self.answers[self._last] = Answer()
        if body is None:
            self.send(self.headers(self._last, fields, "END_STREAM"))
        else:
            self.send(self.headers(self._last, fields), frames.DataFrame(self._last, body, flags=["END_STREAM"]))
        return answer

    def begin(self, fields: Fields) -> tuple[int, Answer]:
        """Send a request's head; its body is to follow."""
        self._last += 2
        answer = self.answers[self._last] = Answer()
        self.send(self.headers(self._last, fields))
        return self._last, answer

    # ── what has come ──

    def read(self) -> None:
        """Parse the frames that the server has sent."""
        self.server.loop.settle()
        data = self._unread + bytes(self.transport.sent)
        self.transport.sent.clear()
        while len(data) >= 9:
            frame, length = frames.Frame.parse_frame_header(memoryview(data[:9]))
            if len(data) < 9 + length:
                break
            frame.parse_body(memoryview(data[9 : 9 + length]))
            data = data[9 + length :]
            self._take(frame)
        self._unread = data

    def _take(self, frame: frames.Frame) -> None:
        answer = self.answers.setdefault(frame.stream_id, Answer()) if frame.stream_id else Answer()
        if isinstance(frame, frames.HeadersFrame):
            assert "END_HEADERS" in frame.flags
            fields = [(str(name), str(value)) for name, value in self.decoder.decode(frame.data)]
            if not any(name == ":status" for name, _ in fields):
                answer.trailers = fields
            elif fields[0][1].startswith("1"):
                answer.interim.append(fields)
            else:
                answer.fields = fields
        elif isinstance(frame, frames.DataFrame):
            answer.body += frame.data
        elif isinstance(frame, frames.RstStreamFrame):
            answer.reset = frame.error_code
        else:
            self.frames.append(frame)
        if "END_STREAM" in frame.flags:
            answer.has_ended = True

    def of(self, kind: type[frames.Frame]) -> list[Any]:
        """Return the frames of one kind that have come, without those of responses."""
        return [frame for frame in self.frames if isinstance(frame, kind)]

    @property
    def end(self) -> tuple[int, int] | None:
        """Return error code and last stream of the last GOAWAY, once the connection has ended."""
        if not (self.transport.is_closed or self.transport.has_eof):
            return None
        last = self.of(frames.GoAwayFrame)[-1]
        return last.error_code, last.last_stream_id


class Mirror:
    """A handler that answers with a description of the request."""

    def handle(self, exchange: Any) -> None:
        Echo(exchange)


class Echo:
    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange
        self.body = b""
        exchange.receive(self)

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self, trailers: bytes) -> None:
        request = self.exchange.request
        self.exchange.respond(
            200,
            f"X-Method: {request.method}\r\nX-Path: {request.path}\r\nX-Host: {request.host}\r\n"
            f"X-Cookie: {request.fields.get(b'cookie', b'').decode()}\r\nX-Trailers: {trailers!r}\r\n".encode(),
            self.body,
        )

    def body_lost(self, reason: str) -> None:
        assert self.exchange.is_gone


class Silent:
    def handle(self, exchange: Any) -> None:
        pass


def connect(**settings: Any) -> Client:
    return Client(server(Mirror(), **settings))


class Keeper:
    """A handler that keeps its exchanges for the test to answer, as sink and source of each."""

    def __init__(self, *, receives: bool = False) -> None:
        self.exchanges: list[Any] = []
        self.receives = receives
        self.body = b""
        self.calls: list[str] = []

    def handle(self, exchange: Any) -> None:
        self.exchanges.append(exchange)
        exchange.source = self
        if self.receives:
            exchange.receive(self)

    def body_data(self, data: bytes) -> None:
        self.body += data

    def body_end(self, trailers: bytes) -> None:
        self.calls.append("end")

    def body_lost(self, reason: str) -> None:
        self.calls.append(f"lost: {reason}")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def cancel(self) -> None:
        self.calls.append("cancel")


def begin(**settings: Any) -> tuple[Keeper, Client]:
    handler = Keeper(receives=settings.pop("receives", False))
    return handler, Client(server(handler, **settings))


def head(method: str) -> list[tuple[str, str]]:
    return [(":method", method), *GET[1:]]
