"""A gRPC server for health checks, whose HTTP/2 is the library `h2`, which shares nothing with npserver's."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded

Fields = list[tuple[str, str]]
HEAD: Fields = [(":status", "200"), ("content-type", "application/grpc")]
OK: Fields = [("grpc-status", "0")]


def framed(message: bytes, *, flag: int = 0) -> bytes:
    """Return a message with the prefix that gRPC gives each."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@dataclass
class Answer:
    """What the server sends to a request; without trailers, the body ends the stream."""

    body: bytes = framed(b"\x08\x01")
    head: Fields = field(default_factory=lambda: HEAD)
    trailers: Fields = field(default_factory=lambda: OK)
    is_reset: bool = False
    goes_away: bool = False


class GrpcServer:
    """Answers each request on a loopback port with `answer`; `requests` has the fields and bodies that came."""

    def __init__(self, answer: Answer | None = None, context: ssl.SSLContext | None = None) -> None:
        self.answer = answer or Answer()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self._context = context

    async def __aenter__(self) -> GrpcServer:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


class _Connection(asyncio.Protocol):
    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._fields: dict[str, str] = {}
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._http2.initiate_connection()
        transport.write(self._http2.data_to_send())

    def data_received(self, data: bytes) -> None:
        for event in self._http2.receive_data(data):
            if isinstance(event, RequestReceived):
                self._fields = dict(event.headers)  # type: ignore[arg-type]
            elif isinstance(event, DataReceived):
                self._body += event.data or b""
            elif isinstance(event, StreamEnded):
                self._server.requests.append((self._fields, self._body))
                self._reply(event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                self._transport.close()
        self._transport.write(self._http2.data_to_send())

    def _reply(self, stream: int) -> None:
        answer, http2 = self._server.answer, self._http2
        if answer.goes_away:
            http2.close_connection(error_code=11, additional_data=b"too_many_pings", last_stream_id=0)
        elif answer.is_reset:
            http2.reset_stream(stream, error_code=7)
        elif not answer.body:
            http2.send_headers(stream, [*answer.head, *answer.trailers], end_stream=True)
        else:
            http2.send_headers(stream, answer.head)
            http2.send_data(stream, answer.body, end_stream=not answer.trailers)
            if answer.trailers:
                http2.send_headers(stream, answer.trailers, end_stream=True)
