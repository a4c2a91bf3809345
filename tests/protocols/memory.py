"""Drives the real server protocol without sockets: an in-memory transport and a loop whose clock the test holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from npserver.address import Address
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.web.config import Limits, Timeouts
from npserver.web.exchange import Middleware, Route, make_route
from npserver.web.server.front import HttpFront
from npserver.web.server.http1.connection import Http1Connection
from tests.stage.worker import make_context


class MemoryLoop:
    """The few methods of a loop that the data plane calls; time stands still until the test lets it pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._ready: list[Callable[[], Any]] = []
        self._timers: list[tuple[float, Callable[[], Any]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        self._ready.append(lambda: callback(*args))

    def call_later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        self._timers.append((self.now + delay_s, lambda: callback(*args)))
        return None  # type: ignore[return-value]

    def settle(self) -> None:
        """Run the callbacks that are ready, and those that they make ready."""
        while self._ready:
            ready, self._ready = self._ready, []
            for callback in ready:
                callback()


class MemoryTransport(asyncio.Transport):
    """Keeps what is written. `limit` is how much the client takes before it stops reading."""

    def __init__(self, protocol: asyncio.BaseProtocol, loop: MemoryLoop, peer: tuple[str, int] | str) -> None:
        super().__init__({"peername": peer, "sockname": ("127.0.0.1", 80)})
        self.protocol = protocol
        self.loop = loop
        self.sent = bytearray()
        self.unsent = bytearray()
        self.is_stalled = False
        self.is_paused = False
        self.has_eof = False
        self.is_closed = False
        self.is_aborted = False

    def write(self, data: Any) -> None:
        assert not self.is_closed, "written after close"
        assert not self.has_eof, "written after end"
        if self.is_stalled:
            was_below = len(self.unsent) <= 65536
            self.unsent += data
            if was_below and len(self.unsent) > 65536:
                self.protocol.pause_writing()
        else:
            self.sent += data

    def unstall(self) -> None:
        """The client reads everything."""
        was_above = len(self.unsent) > 65536
        self.sent += self.unsent
        self.unsent.clear()
        self.is_stalled = False
        if was_above:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the limits: the test decides when writing is paused."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.has_eof = True

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if not self.unsent:
                self.loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.is_aborted = True
        self.unsent.clear()
        self.is_closed = True
        self.loop.call_soon(self.protocol.connection_lost, None)


class OneRoute:
    """A router with a single rule."""

    def __init__(self, route: Route) -> None:
        self.route = route

    def find(self, host: str, path: str) -> Route | None:
        return self.route


class Server:
    """An HTTP front over memory: `connect()` gives connections to feed and look at."""

    def __init__(
        self,
        handler: Any,
        *,
        max_body_size: int = 1 << 20,
        middleware: tuple[Middleware, ...] = (),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008
        caches_heads: bool = True,
    ) -> None:
        self.loop = MemoryLoop()
        self.context = make_context(self.loop)
        self.route = make_route("test", handler, max_body_size, middleware)
        self.front = HttpFront(OneRoute(self.route), self.context, limits, timeouts, caches_heads=caches_heads)
        self.live = LiveListener(
            Listener("http://127.0.0.1:80", "web", Address("http", "127.0.0.1", 80), 16, "test"),
            self.front,
            self.context,
        )

    def connect(self, peer: tuple[str, int] | str = ("192.0.2.1", 40000)) -> Client:
        return Client(self, peer)

    def pass_time(self, seconds: float) -> None:
        """Let time pass and the sweeper check all deadlines."""
        self.loop.now += seconds
        self.context.sweeper._sweep()
        self.loop.settle()


class Client:
    """The other end of one connection."""

    def __init__(self, server: Server, peer: tuple[str, int] | str) -> None:
        self.server = server
        self.connection = Http1Connection(server.live)
        self.transport = MemoryTransport(self.connection, server.loop, peer)
        self.connection.connection_made(self.transport)
        server.loop.settle()

    def send(self, data: bytes) -> None:
        """Send, as one segment."""
        if not self.transport.is_closed:
            self.connection.data_received(data)
        self.server.loop.settle()

    def end(self) -> None:
        """End the client's side."""
        if not self.transport.is_closed and not self.connection.eof_received():
            self.transport.close()
        self.server.loop.settle()

    @property
    def received(self) -> bytes:
        return bytes(self.transport.sent)

    @property
    def is_ended(self) -> bool:
        """Return whether the server has ended its side."""
        return self.transport.is_closed or self.transport.has_eof

    def take(self) -> bytes:
        """Return the bytes received since the last call."""
        data = bytes(self.transport.sent)
        self.transport.sent.clear()
        return data
