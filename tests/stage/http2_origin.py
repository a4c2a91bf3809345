"""An upstream that speaks HTTP/2, by the library `h2`, which shares nothing with npserver's; and one of raw frames."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, Encoder
from hyperframe import frame as frames

from tests.protocols.proxying import Connection, Origin, until

Fields = list[tuple[str, str]]
PREFACE_BYTES = 24
OK: Fields = [(":status", "200")]


class Received:
    """One request, which the origin's handler answers."""

    def __init__(self, connection: OriginConnection, stream: int, fields: Fields) -> None:
        self.connection = connection
        self.stream = stream
        self.fields = fields
        self.body = b""
        self.trailers: Fields = []
        self.has_ended = False
        self.reset: int | None = None

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.fields)

    async def whole(self) -> bytes:
        """Wait for the end of the request; return its body."""
        await until(lambda: self.has_ended or self.reset is not None)
        return self.body

    def head(self, status: int = 200, fields: Fields = [], *, end: bool = False) -> None:  # noqa: B006
        self.connection.h2.send_headers(self.stream, [(":status", str(status)), *fields], end_stream=end)
        self.connection.flush()

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send data of the body as the windows allow."""
        h2 = self.connection.h2
        while data:
            room = min(h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size)
            if room <= 0:
                self.connection.window.clear()
                await self.connection.window.wait()
                continue
            piece, data = data[:room], data[room:]
            h2.send_data(self.stream, piece, end_stream=end and not data)
            self.connection.flush()

    def finish(self, trailers: Fields = []) -> None:  # noqa: B006
        if trailers:
            self.connection.h2.send_headers(self.stream, trailers, end_stream=True)
        else:
            self.connection.h2.end_stream(self.stream)
        self.connection.flush()

    async def respond(self, body: bytes = b"", status: int = 200, fields: Fields = [], trailers: Fields = []) -> None:  # noqa: B006
        self.head(status, fields, end=not body and not trailers)
        if body:
            await self.data(body, end=not trailers)
        if trailers:
            self.finish(trailers)

    def cut(self, code: int) -> None:
        """Reset the stream."""
        self.connection.h2.reset_stream(self.stream, code)
        self.connection.flush()


Handler = Callable[[Received], Awaitable[None]]


class Http2Origin:
    """An upstream: `handler` answers each request once its head has come."""

    def __init__(
        self,
        handler: Handler,
        *,
        settings: dict[int, int] | None = None,
        context: ssl.SSLContext | None = None,
        holds_windows: bool = False,
    ) -> None:
        self.handler = handler
        self.settings = settings or {}
        self.requests: list[Received] = []
        self.connections: list[OriginConnection] = []
        self.context = context
        self.holds_windows = holds_windows
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: OriginConnection(self), "127.0.0.1", port, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await until(lambda: all(one.is_lost for one in self.connections))

    def close(self) -> None:
        """Stop listening, and close all connections."""
        self.server.close()
        for connection in self.connections:
            connection.transport.abort()

    @property
    def url(self) -> str:
        return f"{'h2c' if self.context is None else 'https'}://127.0.0.1:{self.port}"


class OriginConnection(asyncio.Protocol):
    """One connection that an origin accepted."""

    def __init__(self, origin: Http2Origin) -> None:
        self.origin = origin
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.window = asyncio.Event()
        self.streams: dict[int, Received] = {}
        self.pings = 0
        self.is_lost = False
        self.went_away: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.origin.connections.append(self)
        if self.origin.settings:
            known = {SettingCodes(key): value for key, value in self.origin.settings.items()}
            self.h2.local_settings = Settings(client=False, initial_values={**self.h2.local_settings, **known})
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.flush()
            raise
        for event in events:
            self.take(event)
        self.flush()

    def take(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0))
        if isinstance(event, RequestReceived):
            fields = [(str(name), str(value)) for name, value in event.headers or ()]
            request = self.streams[event.stream_id or 0] = Received(self, event.stream_id or 0, fields)
            self.origin.requests.append(request)
            task = asyncio.get_running_loop().create_task(self.handle(request))
            self.origin.tasks.add(task)
            task.add_done_callback(self.origin.tasks.discard)
        elif isinstance(event, DataReceived) and stream is not None:
            stream.body += event.data or b""
            if not self.origin.holds_windows:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream.stream)
        elif isinstance(event, TrailersReceived) and stream is not None:
            stream.trailers = [(str(name), str(value)) for name, value in event.headers or ()]
        elif isinstance(event, StreamEnded) and stream is not None:
            stream.has_ended = True
        elif isinstance(event, StreamReset) and stream is not None:
            stream.reset = event.error_code
        elif isinstance(event, WindowUpdated):
            self.window.set()
        elif isinstance(event, PingReceived):
            self.pings += 1
        elif isinstance(event, ConnectionTerminated):
            self.went_away = event.error_code

    async def handle(self, request: Received) -> None:
        try:
            await self.origin.handler(request)
        except ProtocolError:
            if request.reset is None and not self.is_lost:
                raise

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def go_away(self, last_stream: int, code: int = 0) -> None:
        """Send GOAWAY, and go on with the streams up to the last one."""
        self.transport.write(frames.GoAwayFrame(0, last_stream_id=last_stream, error_code=code).serialize())

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.window.set()


async def echo(request: Received) -> None:
    """Answer with the request's body, path and trailers."""
    body = await request.whole()
    await request.respond(body or b"ok", fields=[("x-path", request[":path"])], trailers=request.trailers)


REFUSED = int(ErrorCodes.REFUSED_STREAM)


# ── raw frames ──


class RawStream:
    """One connection of an upstream that sends any frames."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.frames: list[frames.Frame] = []

    async def greet(self, settings: dict[int, int] | None = None) -> None:
        """Send SETTINGS, and read the preface."""
        await self.send(frames.SettingsFrame(0, settings=settings or {}))
        await self.connection.exactly(PREFACE_BYTES)

    async def send(self, *sent: frames.Frame | bytes) -> None:
        await self.connection.send(b"".join([one if isinstance(one, bytes) else one.serialize() for one in sent]))

    async def read(self) -> frames.Frame:
        """Return the next frame."""
        head = await self.connection.exactly(9)
        frame, length = frames.Frame.parse_frame_header(memoryview(head))
        frame.parse_body(memoryview(await self.connection.exactly(length)))
        self.frames.append(frame)
        return frame

    async def request(self) -> int:
        """Read up to the next request's head; return its stream."""
        while not isinstance(frame := await self.read(), frames.HeadersFrame):
            pass
        self.decoder.decode(frame.data)
        return frame.stream_id

    async def until(self, kind: type[frames.Frame]) -> Any:
        """Read up to the next frame of a kind, and return it."""
        while not isinstance(frame := await self.read(), kind):
            pass
        return frame

    def headers(self, stream: int, fields: Fields, *flags: str) -> frames.HeadersFrame:
        """Return a HEADERS frame that ends its block."""
        return frames.HeadersFrame(stream, self.encoder.encode(fields), flags=["END_HEADERS", *flags])

    def whole(self, stream: int, body: bytes = b"ok") -> bytes:
        """Return a whole response."""
        return bytes(
            self.headers(stream, OK).serialize() + frames.DataFrame(stream, body, flags=["END_STREAM"]).serialize()
        )


def raw_origin(script: Callable[[RawStream], Awaitable[None]]) -> Origin:
    """Return an upstream whose connections a script serves, after SETTINGS."""

    async def serve(connection: Connection) -> None:
        stream = RawStream(connection)
        await stream.greet()
        await script(stream)

    return Origin(serve)


def h2c(origin: Origin) -> str:
    """Return the URL of a raw origin."""
    return origin.url.replace("http:", "h2c:")
