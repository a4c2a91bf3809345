"""Answer a single-request connection directly on the accepted socket, without creating an asyncio transport.

For plain requests that do not keep their connection and whose answer is prepared (`web.server.http1.answer`): those of
HTTP/1.0 clients, load testers, health checks. Any other connection goes on as an `Http1Connection` with the bytes read.
Called by the acceptor that waits for a connection's first bytes (`listen.first_bytes`).
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from npserver.errors import BadRequest
from npserver.networks import UNIX_PEER
from npserver.runtime.deadlines import NEVER
from npserver.web.server.connection_limits import has_room
from npserver.web.server.http1.answer import prepared_answer
from npserver.web.server.http1.connection import Http1Connection

if TYPE_CHECKING:
    from npserver.listen.first_bytes import DeferredAcceptor
    from npserver.runtime.front import Live
    from npserver.web.server.roles import FrontRole

READ_BYTES = 4096  # a longer head is read by the connection
_DONTWAIT = socket.MSG_DONTWAIT


def try_answer(front: FrontRole, acceptor: DeferredAcceptor, sock: socket.SocketType, peer: object) -> None:
    """Answer on the socket if that is possible, else hand it to the event loop."""
    # hot: static-connect
    try:
        data = sock.recv(READ_BYTES, _DONTWAIT)
    except BlockingIOError:
        _hand_to_event_loop(acceptor, sock, b"")
        return
    except OSError:
        sock.close()  # the client is gone already
        return
    found = front.heads.get(data)
    if found is None and (b"close\r\n" in data or b" HTTP/1.0\r\n" in data) and data.endswith(b"\r\n\r\n"):
        try:
            found = front.find(data)
        except BadRequest:
            pass  # or more than one head: the connection deals with both
    if found is None or found[0].keep_alive or not found[0].is_plain:
        _hand_to_event_loop(acceptor, sock, data)
        return
    client_ip = peer[0].removeprefix("::ffff:") if isinstance(peer, tuple) else UNIX_PEER
    row = front.context.row
    answer = (
        prepared_answer(front, *found, client_ip, "http", is_last=True) if has_room(front, row, client_ip) else None
    )
    if answer is None:
        _hand_to_event_loop(acceptor, sock, data)
        return
    row.slots[front.accepted_slot] += 1
    try:
        if isinstance(answer, bytes):
            unsent = answer[sock.send(answer, _DONTWAIT) :]
        else:
            sent = sock.sendmsg(answer, (), _DONTWAIT)
            unsent = b"".join(answer)[sent:] if sent < len(answer[0]) + len(answer[1]) else b""
    except OSError:
        sock.close()  # the client is gone
        return
    if unsent:
        acceptor.hand_to_event_loop(sock, _Rest(front, acceptor.live, unsent))
    else:
        sock.close()


def _hand_to_event_loop(acceptor: DeferredAcceptor, sock: socket.SocketType, data: bytes) -> None:
    connection = Http1Connection(acceptor.live)
    connection.buffer = data
    acceptor.hand_to_event_loop(sock, connection, connection.serve_buffered if data else None)


class _Rest(asyncio.Protocol):
    """Sends the rest of an answer that the kernel did not take at once, and gives up after `timeouts.write`."""

    __slots__ = ("_context", "_timeout_s", "_unsent", "deadline", "listener", "transport")

    awaits_request = False

    def __init__(self, front: FrontRole, listener: Live, unsent: bytes) -> None:
        self._context = front.context
        self._timeout_s = front.timeouts.write
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
        """Nothing to do: it ends by itself."""

    def expire(self, now: float) -> None:
        """Give up if the client has taken nothing since the last look."""
        if self.transport.get_write_buffer_size() == self._unsent:
            self.transport.abort()
        else:
            self._await_client(now)

    def _await_client(self, now: float) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = now + self._timeout_s
