"""A WebSocket over HTTP/3, on a stream of a `tests.stage.http3.Client`."""

from __future__ import annotations

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from tests.stage.http3 import Answer, Client


class WebSocket:
    """A WebSocket of the websockets library on a stream of its own (RFC 9220)."""

    def __init__(self, client: Client, path: str) -> None:
        assert client.http is not None
        self.client = client
        self.protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self.stream = client.quic.get_next_available_stream_id()
        self.answer = client.answers[self.stream] = Answer()
        head = {
            ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":path": path,
            ":authority": "localhost", "sec-websocket-version": "13",
        }  # fmt: skip
        client.http.send_headers(self.stream, [(name.encode(), value.encode()) for name, value in head.items()])
        client.send()

    async def answered(self) -> int:
        """Return the status of the answer, once it has come."""
        await self.client.until(lambda: bool(self.answer.fields))
        return self.answer.status

    def send(self, message: bytes) -> None:
        """Send a message."""
        self.protocol.send_binary(message)
        self.client.body(self.stream, b"".join(self.protocol.data_to_send()), has_ended=False)

    async def recv(self) -> bytes:
        """Return the next message."""
        found: list[Frame] = []

        def has_come() -> bool:
            data, self.answer.body = self.answer.body, b""
            self.protocol.receive_data(data)
            found.extend(one for one in self.protocol.events_received() if isinstance(one, Frame))
            return bool(found)

        await self.client.until(has_come)
        assert found[0].opcode == Opcode.BINARY
        return bytes(found[0].data)
