"""Backends of relays and tunnels: echoes and a source of bytes. Each is a process on the load's core.

python -m bench.backend tcp|udp|websocket|source PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PIECE = bytes(256 << 10)


class Echo(asyncio.Protocol):
    """Sends back all bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Send the bytes back."""
        self.transport.write(data)


class WebSocketEcho(Echo):
    """Answers the upgrade, then sends frames back as bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request's head."""
        super().connection_made(transport)
        self.is_open = False

    def data_received(self, data: bytes) -> None:
        """Answer the head, then send frames back."""
        if self.is_open:
            self.transport.write(data)
        elif data.endswith(b"\r\n\r\n"):
            self.is_open = True
            self.transport.write(SWITCH)


class Source(asyncio.Protocol):
    """Sends without end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to send."""
        self.transport: Any = transport
        self.is_paused = False
        asyncio.get_running_loop().call_soon(self._fill)

    def pause_writing(self) -> None:
        """Called by asyncio when the write buffer passes its high-water mark: stop sending."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Called by asyncio when the write buffer has drained below its low-water mark: send again."""
        self.is_paused = False
        self._fill()

    def _fill(self) -> None:
        while not self.is_paused and not self.transport.is_closing():
            self.transport.write(PIECE)


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send the datagram back."""
        self.transport.sendto(data, addr)


async def serve(kind: str, port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    if kind == "udp":
        await loop.create_datagram_endpoint(DatagramEcho, ("127.0.0.1", port))
    else:
        factory = {"tcp": Echo, "websocket": WebSocketEcho, "source": Source}[kind]
        await loop.create_server(factory, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
