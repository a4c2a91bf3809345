"""Backends of relays, tunnels and scripts: echoes, a source of bytes, a resolver, a FastCGI server, nghttpd for gRPC.

Each is a process of its own, on the load's core:

python -m bench.backend tcp|udp|dns|websocket|source|fastcgi|grpc PORT
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import Any

import uvloop

from bench import material

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PIECE = bytes(256 << 10)
#: The record that ends a request to a FastCGI server, and an answer of 1 KB to it.
END_OF_STDIN = b"\1\5\0\1\0\0\0\0"
OUTPUT = b"X-Powered-By: PHP/8.4\r\nContent-type: text/html; charset=UTF-8\r\n\r\n" + b"x" * 1024
ANSWER = b"\1\6\0\1" + len(OUTPUT).to_bytes(2) + b"\0\0" + OUTPUT + b"\1\3\0\1\0\x08\0\0" + bytes(8)


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


class Script(Echo):
    """Answers FastCGI requests, which it does not read, over kept connections."""

    def data_received(self, data: bytes) -> None:
        """Answer at the end of a request."""
        if data.endswith(END_OF_STDIN):
            self.transport.write(ANSWER)


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


class Resolver(DatagramEcho):
    """Answers each DNS query, whose EDNS has no options, with the same address."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer a query."""
        head = data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
        question = data[12 : len(data) - 11 * data[11]]
        self.transport.sendto(head + question + b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4\xc6\x33\x64\7", addr)


DATAGRAMS = {"udp": DatagramEcho, "dns": Resolver}


async def serve(kind: str, port: int) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    if kind in DATAGRAMS:
        await loop.create_datagram_endpoint(DATAGRAMS[kind], ("127.0.0.1", port))
    else:
        factory = {"tcp": Echo, "websocket": WebSocketEcho, "source": Source, "fastcgi": Script}[kind]
        await loop.create_server(factory, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


def serve_grpc(port: int) -> None:
    """Become an nghttpd that answers each call with a message of 100 bytes and trailers."""
    nghttpd = shutil.which("nghttpd", path=f"{os.environ['PATH']}:/usr/sbin") or "nghttpd"
    os.execv(nghttpd, [nghttpd, "--no-tls", "--trailer", "grpc-status: 0", "-d", str(material.GRPC), str(port)])


if __name__ == "__main__":
    if sys.argv[1] == "grpc":
        serve_grpc(int(sys.argv[2]))
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
