"""A target over HTTP/2 in memory that sends any bytes to the real connection, and what its requests are told."""

from __future__ import annotations

import asyncio
from typing import Any

from hpack import Encoder
from hyperframe import frame as frames

from npserver.upstream.config import UpstreamHttp2
from npserver.upstream.http2.connection import Http2Connection
from npserver.upstream.http2.pool import Http2Pool
from npserver.upstream.http2.settings import http2_settings
from npserver.upstream.response_sink import ClientSettings
from tests.protocols.memory import MemoryLoop, MemoryTransport
from tests.stage.worker import make_context

HEAD = b"POST /path HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
GET = b"GET /path HTTP/1.1\r\nHost: a\r\n\r\n"
SOCKET = b"GET /socket HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\nUpgrade: websocket\r\n\r\n"
OK = frames.HeadersFrame(1, Encoder().encode([(":status", "200")]), flags=["END_HEADERS"]).serialize()


class _Loop(MemoryLoop):
    def create_future(self) -> asyncio.Future[Any]:
        loop: Any = self
        return asyncio.Future(loop=loop)

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> None:
        super().call_soon(callback, *args)


class Relay(asyncio.Protocol):
    """The user of a tunnel."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.is_lost = False
        transport.set_protocol(self)
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert data
        assert not self.is_lost
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.is_lost
        self.is_lost = True


class Sink:
    """What one request is told; a state machine that knows the grammar of `ResponseSink`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.has_started = False
        self.has_ended = False
        self.client: Any = None
        self.relay: Relay | None = None

    def _tell(self, what: str) -> None:
        assert not self.has_ended, f"{what} after {self.told}"
        self.told.append(what)

    def response_interim(self, head: Any) -> None:
        self._tell(f"interim {head.status}")
        assert not self.has_started

    def response_whole(self, head: Any, body: bytes) -> None:
        self._tell(f"whole {head.status}")
        assert not self.has_started
        assert head.length in (None, len(body)) or head.status in (304, 431)
        self.has_ended = True

    def response_start(self, head: Any) -> None:
        self._tell(f"start {head.status}")
        assert not self.has_started
        self.has_started = True

    def response_data(self, data: bytes) -> None:
        self._tell("data")
        assert data
        assert self.has_started

    def response_end(self, trailers: bytes) -> None:
        self._tell("end")
        assert self.has_started
        assert trailers == b"" or trailers.endswith(b"\r\n")
        self.has_ended = True

    def response_switch(self, head: Any, early: bytes) -> None:
        self._tell(f"switch {head.status}")
        assert head.upgrade == b"websocket"
        self.has_ended = True
        self.relay = Relay(self.client.transport)

    def response_lost(self, error: Any) -> None:
        self._tell(f"lost: {error}")
        self.has_ended = True

    def request_pause(self) -> None:
        self._tell("pause")

    def request_resume(self) -> None:
        self._tell("resume")


class Target:
    """A target with one connection and four requests: two whole, one with half of its body, one for a WebSocket."""

    uri = "h2c://127.0.0.1:1"
    cached_size = -1

    def __init__(self, *, greets: bool = True) -> None:
        self.connections = self.streams = 0
        self.loop = _Loop()
        self.context = make_context(self.loop)  # type: ignore[arg-type]
        self.pool = Http2Pool()
        http2 = http2_settings(UpstreamHttp2(max_control_frames=50), "http2")
        role: Any = self
        self.connection = Http2Connection(self.context, role, http2, ClientSettings(), self.pool)
        self.transport = MemoryTransport(self.connection, self.loop, ("127.0.0.1", 1))
        self.connection.connection_made(self.transport)
        self.sinks: list[Sink] = []
        self.clients: list[Any] = []
        if greets:
            self.raw(frames.SettingsFrame(0, settings={3: 4, 8: 1}).serialize())
            self.pool.connections.append(self.connection)
            for head, has_body in ((GET, False), (GET, False), (HEAD, True), (SOCKET, False)):
                self.request(head, has_body=has_body)

    def request(self, head: bytes, *, has_body: bool) -> None:
        client = self.pool.idle.pop()
        sink = Sink()
        sink.client = client
        client.begin(sink, ClientSettings(), is_head=False, has_body=has_body)
        client.write(head)
        if has_body:
            client.write(b"ha")
        self.sinks.append(sink)
        self.clients.append(client)
        self.loop.settle()

    def raw(self, data: bytes) -> None:
        """Send bytes in one read."""
        if not self.transport.is_closed:
            self.connection.data_received(data)
        self.loop.settle()

    def count_connection(self, change: int) -> None:
        self.connections += change

    def count_stream(self, change: int) -> None:
        self.streams += change

    def cache_head(self, head: bytes, parsed: Any) -> None:
        raise AssertionError("that is of HTTP/1.1")

    def check(self) -> None:
        """Assert what holds after any input; ends the connection."""
        connection = self.connection
        tunnels = [sink.relay for sink in self.sinks if sink.relay is not None]
        assert self.streams == len(connection.streams)
        open_requests = sum(not sink.has_ended for sink in self.sinks)
        assert open_requests <= self.streams <= open_requests + len(tunnels)
        if self.transport.is_closed:
            assert not self.pool.connections
            assert self.streams == 0
        else:
            assert self.connections == 1
        self.transport.abort()
        self.loop.settle()
        assert (self.connections, self.streams, connection.reserved) == (0, 0, 0)
        assert all(sink.has_ended for sink in self.sinks)
        assert all(tunnel.is_lost for tunnel in tunnels)
        assert self.context.sweeper.watched == set()
        assert not self.pool.connections
