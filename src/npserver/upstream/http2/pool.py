"""The pool of a target that is spoken to over HTTP/2: its connections, each of which carries many requests.

`idle` looks like the list of idle connections that `upstream.pool.Pool` has: it is true while a request can be sent at
once, and `pop` returns what to send it with: a new stream, or an idle HTTP/1.1 connection to a target that has not
chosen HTTP/2 in the TLS handshake. So the proxy needs to know nothing of HTTP/2.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, SupportsIndex

from npserver.net.unread import has_no_pending_input
from npserver.upstream.pool import Pool

if TYPE_CHECKING:
    from npserver.upstream.http2.roles import SharedConnection


class IdleStreams(list[Any]):
    """The idle HTTP/1.1 connections of a target, and before them the streams that its connections have left."""

    def __init__(self, connections: list[SharedConnection]) -> None:
        super().__init__()
        self._connections = connections

    def __bool__(self) -> bool:
        return len(self) > 0 or self.find() is not None

    def find(self) -> SharedConnection | None:
        """Return the newest connection with room for a request; None if there is none."""
        for connection in reversed(self._connections):
            if connection.has_room:
                return connection
        return None

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Return what to send a request with."""
        connection = self.find()
        return connection.open_stream(is_reused=True) if connection is not None else super().pop(index)


class Http2Pool(Pool[Any]):
    """The connections of one worker to one target."""

    __slots__ = ("connections", "dialing", "is_http1")

    idle: IdleStreams

    def __init__(self) -> None:
        super().__init__()
        self.connections: list[SharedConnection] = []
        self.idle = IdleStreams(self.connections)
        #: The attempt to connect that requests wait for, if there is one.
        self.dialing: asyncio.Future[None] | None = None
        #: Whether the target has chosen HTTP/1.1 in the last TLS handshake: a connection then is for one request.
        self.is_http1 = False

    def __repr__(self) -> str:
        return f"<Http2Pool connections={len(self.connections)} idle={len(self.idle)}>"

    def keeps(self, connection: SharedConnection, limit: int) -> bool:
        """Return whether an idle connection stays in the pool, of which `limit` may."""
        return connection in self.connections and len(self.connections) <= limit

    def take(self, *, is_reused: bool) -> Any | None:
        """Return a stream of a connection with room; None if there is none."""
        connection = self.idle.find()
        return None if connection is None else connection.open_stream(is_reused=is_reused)

    def take_checked(self, *, is_upgrade: bool = False) -> Any | None:
        """Return a stream, or an idle HTTP/1.1 connection that the target has not closed; None if there is none.

        `is_upgrade`: only the latter will do.
        """
        stream = None if is_upgrade else self.take(is_reused=True)
        if stream is not None:
            return stream
        while len(self.idle):
            client = list.pop(self.idle)
            if has_no_pending_input(client.transport):
                return client
            client.close()
        return None

    def forget(self, connection: SharedConnection) -> None:
        """Give out no more streams of a connection; nothing if it is not in the pool."""
        if connection in self.connections:
            self.connections.remove(connection)
