"""A connection whose first request is its last, answered before there is a transport (`listen.first_bytes`).

For plain requests that are not to keep the connection and whose answer waits in memory (`web.server.http1.prepared`):
clients of HTTP/1.0, load testers, health checks. Everything else becomes an `HttpConnection` with what has been read.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from npserver.errors import BadRequest
from npserver.runtime.deadlines import NEVER
from npserver.web.server.connection_limits import has_room
from npserver.web.server.http1.connection import HttpConnection
from npserver.web.server.http1.prepared import answer_ready
from npserver.web.server.http1.state import IDLE

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.listen.first_bytes import Greeter
    from npserver.listen.listener import LiveListener
    from npserver.web.server.front import HttpFront

READ_BYTES = 4096  # more than a head is seldom: it is read on the ordinary way
_DONTWAIT = socket.MSG_DONTWAIT


def greet(front: HttpFront, greeter: Greeter, caller: socket.SocketType, peer: object) -> None:
    """Answer a newcomer at once if that is possible, else go on with it as with any other connection."""
    # hot: static-connect
    try:
        data = caller.recv(READ_BYTES, _DONTWAIT)
    except BlockingIOError:
        _settle(greeter, caller, b"")
        return
    except OSError:
        caller.close()  # it is gone already
        return
    found = front.heads.get(data)
    if found is None and (b"close\r\n" in data or b" HTTP/1.0\r\n" in data) and data.endswith(b"\r\n\r\n"):
        try:
            found = front.find(data)
        except BadRequest:
            pass  # or more than one head: the ordinary way is for both
    if found is None or found[0].keep_alive or not found[0].is_plain or found[1].ready is None:
        _settle(greeter, caller, data)
        return
    client_ip = peer[0].removeprefix("::ffff:") if isinstance(peer, tuple) else "unix:"
    row = front.context.row
    newcomer = Newcomer(front, caller, client_ip)
    if not has_room(front, row, client_ip) or not answer_ready(newcomer, *found):
        _settle(greeter, caller, data)
        return
    row.slots[front.accepted_slot] += 1
    if newcomer.unsent:
        greeter.hand_over(caller, _Rest(front, greeter.live, newcomer.unsent))
    else:
        caller.close()


def _settle(greeter: Greeter, caller: socket.SocketType, data: bytes) -> None:
    """Go on as any other connection."""
    connection = HttpConnection(greeter.live)
    connection.buffer = data
    greeter.hand_over(caller, connection, connection.serve_buffered if data else None)


class Newcomer:
    """What `answer_ready` needs of a connection, and of its transport."""

    __slots__ = ("_caller", "client_ip", "context", "deadline", "front", "requests", "state", "unsent")

    is_misdirected = None
    read_all = False
    scheme = "http"

    def __init__(self, front: HttpFront, caller: socket.SocketType, client_ip: str) -> None:
        self.front = front
        self.context = front.context
        self.client_ip = client_ip
        self.requests = 0
        self.state = IDLE
        self.deadline = NEVER
        self.unsent = b""
        self._caller = caller

    @property
    def transport(self) -> Newcomer:
        """What is written to."""
        return self

    def write(self, data: bytes) -> None:
        """Send as much as the kernel takes."""
        try:
            self.unsent = data[self._caller.send(data, _DONTWAIT) :]
        except OSError:
            pass  # it is gone, as any client may be

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        """The same for several buffers."""
        try:
            size = self._caller.sendmsg(parts, (), _DONTWAIT)
        except OSError:
            return
        if size < sum(map(len, parts)):
            self.unsent = b"".join(parts)[size:]

    def leave(self, request: Request) -> None:
        """The answer was the last, as `greet` knows."""


class _Rest(asyncio.Protocol):
    """The end of an answer that the kernel did not take at once: sent within `timeouts.write` or given up."""

    __slots__ = ("_context", "_timeout_s", "_unsent", "deadline", "listener", "transport")

    def __init__(self, front: HttpFront, listener: LiveListener, unsent: bytes) -> None:
        self._context = front.context
        self._timeout_s = front.settings.write_timeout_s
        self._unsent: bytes | int = unsent
        self.listener = listener
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self.deadline = NEVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._context.connections.add(self)
        self._context.sweeper.watched.add(self)
        self.transport.write(cast("bytes", self._unsent))
        self.transport.close()
        self._await_client(self._context.loop.time())

    def connection_lost(self, error: Exception | None) -> None:
        self._context.connections.discard(self)
        self._context.sweeper.watched.discard(self)

    def shut_down(self) -> None:
        """It ends by itself."""

    def expire(self, now: float) -> None:
        """Look whether the client has taken any."""
        if self.transport.get_write_buffer_size() == self._unsent:
            self.transport.abort()
        else:
            self._await_client(now)

    def _await_client(self, now: float) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = now + self._timeout_s
