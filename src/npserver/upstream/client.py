"""What sends one request to a target and reports the response: a connection of HTTP/1.1 or a stream of HTTP/2.

`upstream.http1.HttpClient` and `upstream.http2.stream.Http2Stream` have these methods. The pools give them out, and
`web.handlers.proxy`, `forward_auth` and `mirror` drive them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.upstream.connection_state import ConnectionState
    from npserver.upstream.pool import TargetRole
    from npserver.upstream.response_sink import ClientSettings, ResponseSink


class UpstreamClient(Protocol):
    """One request to a target."""

    state: ConnectionState
    is_private: bool  # whether it belongs to one client, and is never put into the pool
    is_answered: bool  # whether the response's first data has arrived
    is_request_done: bool  # whether all of the request has been written
    is_write_paused: bool  # whether the sink has been asked to stop writing

    @property
    def frames_bodies(self) -> bool:
        """Whether the owner frames bodies in chunks itself, and puts the trailers after the last one."""

    @property
    def target(self) -> TargetRole:
        """The target that it leads to."""

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the connection."""

    def begin(self, sink: ResponseSink, settings: ClientSettings, *, is_head: bool, has_body: bool) -> None:
        """Begin a request: `write` of its head follows, and of its body, if any, with `end`. `is_head`: by HEAD."""

    def send_request(self, sink: ResponseSink, settings: ClientSettings, head: bytes) -> None:
        """Send a request that has no body and whose method is not HEAD: `begin` and `write` in one call."""

    def write(self, data: bytes) -> None:
        """Write the head, with or without the first data of the body, then the body."""

    def end(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """Complete the request's body, with this last data and these trailers."""

    def pause_reading(self) -> None:
        """Stop reading the response until `resume_reading`."""

    def resume_reading(self) -> None:
        """Resume reading the response."""

    def abandon(self) -> None:
        """Break the request off. The sink is not notified."""

    def close(self) -> None:
        """Close it once all data is sent. The sink, if there is one, is not notified."""

    def return_to_pool(self) -> None:
        """Give it back unused."""
