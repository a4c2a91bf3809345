"""What connections over HTTP/2, their streams, their pool and their target know of each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from npserver.upstream.pool import TargetRole

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.upstream.http2.session import Http2ClientSession


class SharedConnection(Protocol):
    """A connection that carries many requests: `upstream.http2.connection.Http2Connection`."""

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent now."""

    def open_stream(self, *, is_reused: bool) -> Any:
        """Return a stream for one request."""

    def leave(self) -> None:
        """Begin no more requests, and close once the present ones have ended."""


class PoolRole(Protocol):
    """The pool of a connection: `upstream.http2.pool.Http2Pool`."""

    def keeps(self, connection: SharedConnection, limit: int) -> bool:
        """Return whether an idle connection stays in the pool, of which `limit` may."""

    def forget(self, connection: SharedConnection) -> None:
        """Give out no more streams of a connection; nothing if it is not in the pool."""


class Http2TargetRole(TargetRole, Protocol):
    """A target as its connections see it: `upstream.target.Target`."""

    def count_connection(self, change: int) -> None:
        """Count a connection that has been opened, 1, or closed, -1."""

    def count_stream(self, change: int) -> None:
        """Count a stream that has begun, 1, or ended, -1."""


class StreamOwner(Protocol):
    """The connection of a stream: `upstream.http2.connection.Http2Connection`."""

    context: Context
    scheme: bytes
    session: Http2ClientSession
    transport: asyncio.Transport
    max_head_bytes: int  # of a request, as the target's SETTINGS say
    has_tunnels: bool  # the target takes WebSockets (SETTINGS_ENABLE_CONNECT_PROTOCOL)

    @property
    def target(self) -> TargetRole:
        """The target that it leads to."""

    def leave(self) -> None:
        """Begin no more requests, and close once the present ones have ended."""

    def opened(self, stream: Any) -> None:
        """A stream has begun its request."""

    def blocked(self, stream: Any) -> None:
        """A stream waits until more of its request is sent: call `sent_more` then, once."""

    def settle_later(self, stream: Any) -> None:
        """Call `settle` once all that has arrived is processed."""

    def done(self, stream: Any) -> None:
        """A stream needs the connection no more."""

    def flush_soon(self) -> None:
        """Send what the session has."""
