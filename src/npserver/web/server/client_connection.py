"""Base class of client connections, for HTTP/1.1 and HTTP/2: peer address, connection limits, current front.

The base of `web.server.http1.connection` and `web.server.http2.connection`.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, cast

from npserver.networks import UNIX_PEER
from npserver.runtime.deadlines import NEVER
from npserver.web.server.connection_limits import PER_IP, ConnectionCount

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.front import Live
    from npserver.web.exchange import PrivateUpstream
    from npserver.web.server.roles import FrontRole

LINGER_S = 2.0  # how long a client may go on sending after its connection was refused (RFC 9112 §9.6)
_connection_ids = count(1)


class ClientConnection(asyncio.Protocol):
    """A client's connection."""

    # front     serves the next request; looked up for each one, as a reload replaces it
    # deadline  when the current wait times out; checked by the deadline sweeper
    # unsent    bytes in the transport's buffer at the last check, to see whether the client has read any since
    # private_upstreams  connections to upstreams that carry this client's requests only, by the pool of their target

    __slots__ = (
        "_count", "_local", "client_ip", "client_port", "context", "deadline", "front", "id", "is_write_paused",
        "listener", "misdirected_by", "private_upstreams",
        "read_all", "requests", "scheme", "transport", "unsent",
    )  # fmt: skip

    def __init__(self, listener: Live) -> None:
        self.listener = listener
        self.front = cast("FrontRole", listener.front)
        self.context = listener.context
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else is called
        self.id = next(_connection_ids)
        self.client_ip = ""
        self.client_port = 0
        self.scheme = "https" if listener.listener.address.is_tls else "http"
        self.deadline = NEVER
        self.requests = 0
        self.is_write_paused = False
        self.read_all = False  # the client has ended its side
        self.unsent = 0
        self.private_upstreams: dict[object, PrivateUpstream] | None = None
        self.misdirected_by: Callable[[str], str] | None = None  # see `tls.accept`
        self._count: ConnectionCount | None = None
        self._local: tuple[str, int] | None = None

    def proxied(self, source: tuple[str, int], destination: tuple[str, int]) -> None:
        """Take the addresses that a trusted PROXY header gave; called before `connection_made`."""
        self.client_ip, self.client_port = source
        self._local = destination

    def admit(self, transport: asyncio.BaseTransport) -> str:
        """Record the peer's address and count the connection. Return the config key of a limit that is exceeded, or
        ""."""
        self.transport = cast("asyncio.Transport", transport)
        if not self.client_ip:
            peer = transport.get_extra_info("peername")
            if isinstance(peer, tuple):
                self.client_ip, self.client_port = peer[0].removeprefix("::ffff:"), peer[1]
            else:
                self.client_ip = UNIX_PEER
        if self.scheme == "https":
            self.misdirected_by = transport.get_extra_info("misdirected_by")
        self._count = ConnectionCount(self.front, self.context.row, self.client_ip)
        self.context.connections.add(self)
        self.context.sweeper.watched.add(self)
        limit = self._count.limit_reached()
        if limit == PER_IP and self.front.on_limited is not None:
            self.front.on_limited(self.client_ip)
        return limit

    def follow(self, before: ClientConnection) -> None:
        """Take the place of a connection that has turned out to be another protocol's, and its transport."""
        self.transport, self.id, self.listener = before.transport, before.id, before.listener
        self.client_ip, self.client_port, self._local = before.client_ip, before.client_port, before._local
        self._count, before._count = before._count, None
        before.release()
        self.context.connections.add(self)
        self.context.sweeper.watched.add(self)
        self.transport.set_protocol(self)

    def release(self) -> None:
        """Stop counting the connection, and close what belongs to it."""
        if self.private_upstreams is not None:
            for one in self.private_upstreams.values():
                one.close()
            self.private_upstreams.clear()
        self.context.connections.discard(self)
        self.context.sweeper.watched.discard(self)
        if self._count is not None:
            self._count.release()
            self._count = None

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper when `deadline` has passed."""
        raise NotImplementedError

    @property
    def awaits_request(self) -> bool:
        """Whether the first request is yet to come, or incomplete."""
        return not self.requests

    @property
    def local(self) -> tuple[str, int]:
        """The address and port the client reached; "" and 0 for a Unix socket."""
        if self._local is None:
            name = self.transport.get_extra_info("sockname")
            self._local = (name[0].removeprefix("::ffff:"), name[1]) if isinstance(name, tuple) else ("", 0)
        return self._local
