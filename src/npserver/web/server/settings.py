"""The settings of the HTTP server, and the role of its router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from npserver.http.request_parser import HeadLimits
from npserver.web.exchange import Route

if TYPE_CHECKING:
    pass


class Router(Protocol):
    """Finds the route of a request: `web.routing.Router`."""

    def find(self, host: str, path: str) -> Route | None:
        """Return the most specific route for a request."""


class Http2Limits(Struct, frozen=True):
    """Limits on what an HTTP/2 client may do on one connection."""

    max_streams: int = 100
    window_bytes: int = 256 << 10  # of a stream; the connection's is four times as large
    max_resets: int = 500  # a minute
    max_control_frames: int = 6000  # a minute


class HttpSettings(Struct, frozen=True):
    """The config's limits (bytes) and timeouts (seconds) for the HTTP server."""

    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 60.0
    write_timeout_s: float = 60.0
    max_connections: int = 10_000
    max_connections_per_ip: int = 500
    max_requests_per_connection: int = 10_000
    head_limits: HeadLimits = field(default_factory=HeadLimits)
    server_header: str = "npserver"  # "" for none
    remember_heads: bool = True
    http2: Http2Limits = field(default_factory=Http2Limits)
