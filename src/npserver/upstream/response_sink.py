"""Callback interface and settings of the upstream HTTP client (`upstream.http1`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.errors import UpstreamError
    from npserver.http.response_parser import ResponseHead


class ResponseSink(Protocol):
    """The receiver of one response, as callbacks of the connection.

    `response_whole`, `response_end`, `response_switch` or `response_lost` comes last; the sink must not use the
    connection after it.
    """

    def response_interim(self, head: ResponseHead) -> None:
        """Called for a 1xx response other than 101."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Called with a complete response, if it arrived in one read or has no body."""

    def response_start(self, head: ResponseHead) -> None:
        """Called with the head of a response whose body follows."""

    def response_data(self, data: bytes) -> None:
        """Called with the next data of the body, without chunk framing."""

    def response_end(self, trailers: bytes) -> None:
        """Called when the response is complete. `trailers`: field lines, each with its CRLF; or empty."""

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Called for a 101 response: the sink takes over the transport. `early`: the data received after the head."""

    def response_lost(self, error: UpstreamError) -> None:
        """Called when the connection failed before the response was complete."""

    def request_pause(self) -> None:
        """Called when the buffer towards the upstream is full: the sink stops writing the request."""

    def request_resume(self) -> None:
        """Called when that buffer has room again."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What requests over a connection go by; seconds."""

    send_timeout_s: float = 60.0
    response_timeout_s: float = 60.0
    read_timeout_s: float = 60.0
    pool_size: int = 64  # 0: never kept
    pool_idle_s: float = 55.0
    buffer_size: int = 64 << 10  # bytes of a request held before the client is made to wait
    send_key: str = "timeouts.send"  # the config keys behind the times, for the log
    response_key: str = "timeouts.response"
    read_key: str = "timeouts.read"
    #: Those of gRPC calls over HTTP/2, with one time: without data in either direction.
    streaming: ClientSettings | None = None
