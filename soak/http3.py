"""One connection of HTTP/3 as a client that heeds GOAWAY uses it (RFC 9114 §5.2), for `soak.clients`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aioquic.buffer import Buffer
from aioquic.h3.connection import FrameType

from tests.stage.http3 import Answer, Client

HANDSHAKE_WITHIN_S = ANSWER_WITHIN_S = 15.0
_REQUEST_REJECTED = 0x10B


class Connection:
    """A connection whose handshake is complete."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def _goaway(self) -> int | None:
        """The first stream that the server does not take; None if it has not said so. aioquic does not tell."""
        http: Any = self._client.http
        control = http._peer_control_stream_id
        got = b"".join(one.data for one in self._client.events if getattr(one, "stream_id", -1) == control)
        frames, found = Buffer(data=got[1:]), None  # after the type of the stream
        while not frames.eof():
            kind, size = frames.pull_uint_var(), frames.pull_uint_var()
            data = frames.pull_bytes(size)
            if kind == FrameType.GOAWAY:
                found = Buffer(data=data).pull_uint_var()
        return found

    @property
    def closed(self) -> str:
        """How the server has closed it; "" if it has not."""
        closed = self._client.closed
        return "" if closed is None else f"closed: {closed.error_code:#x} {closed.reason_phrase}, GOAWAY {self._goaway}"

    async def request(self, method: str, path: str, body: bytes | None) -> Answer | None:
        """Return the answer to a request, as far as it has come; None if the server has not taken the request."""
        client = self._client
        if self._goaway is not None or client.closed is not None:
            return None
        length = [] if body is None else [("content-length", str(len(body)))]  # lest the target gets chunks
        stream, answer = client.begin(method, path, fields=length, has_body=body is not None)
        if body is not None:
            client.body(stream, body)
        await client.until(
            lambda: answer.has_ended or answer.reset is not None or client.closed is not None, ANSWER_WITHIN_S
        )
        is_refused = answer.reset == _REQUEST_REJECTED or ((goaway := self._goaway) is not None and stream >= goaway)
        if is_refused and not answer.has_ended:
            return None
        return answer


@asynccontextmanager
async def http3_client(port: int) -> AsyncIterator[Connection]:
    """Yield a connection to a port of this machine. Raises: OSError if there is none."""
    client = Client(port)
    try:
        client.quic.connect(client.server, client._loop.time())
        made = Connection(client)
        client.send()
        await client.until(lambda: client.has_shaken or client.closed is not None, HANDSHAKE_WITHIN_S)
        if client.closed is not None:
            raise ConnectionError(made.closed)
        yield made
        client.leave()
    finally:
        client.close()
