"""What `upstream.http1` asks of its users: who is told of an answer, by what times it goes; and its states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.errors import UpstreamError
    from npserver.http.response_parser import ResponseHead


class ResponseSink(Protocol):
    """Whoever asked. After `response_whole`, `response_end`, `response_lost` or `response_switch` the connection is no
    longer its own."""

    def response_interim(self, head: ResponseHead) -> None:
        """A 1xx answer other than 101."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """The answer came in one read."""

    def response_start(self, head: ResponseHead) -> None:
        """The answer's head; its body follows."""

    def response_data(self, data: bytes) -> None:
        """A piece of the body, free of framing."""

    def response_end(self, trailers: bytes) -> None:
        """The answer is complete."""

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """A 101 answer: the transport is the sink's, with the bytes that came after the head."""

    def response_lost(self, error: UpstreamError) -> None:
        """No answer, or no more of it, will come."""

    def request_pause(self) -> None:
        """Write no more of the request for now."""

    def request_resume(self) -> None:
        """Go on."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What requests over a connection go by; seconds."""

    send_timeout_s: float = 60.0
    response_timeout_s: float = 60.0
    read_timeout_s: float = 60.0
    pool_size: int = 64  # 0: never kept
    pool_idle_s: float = 55.0
    buffer_size: int = 64 << 10  # bytes of a request held before the client is made to wait
    response_key: str = "timeouts.response"  # the config keys behind the times, for the log
    read_key: str = "timeouts.read"
