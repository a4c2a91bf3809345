"""Servers for the load to reach through npserver: HTTP, WebSockets, TCP and UDP echo, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

HOST = "127.0.0.1"
BACKLOG = 1024


class HttpTarget:
    """Answers each request with its method, its path and its body. It can go away and come back at its port."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._is_open = False

    async def open(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._serve, HOST, self.port, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]
        self._is_open = True

    def close(self) -> None:
        """Refuse connections; those that are open end after the next request."""
        self._is_open = False
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            is_last = False
            while not is_last:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                body = f"{method} {path} ".encode() + body
                is_last = not self._is_open or fields.get("connection") == "close"
                more = "Connection: close\r\n" if is_last else ""
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body)
                await writer.drain()


class Targets:
    """All of them; `await open()` in the loop that is to run them."""

    def __init__(self) -> None:
        self.http = [HttpTarget(), HttpTarget()]
        self.websocket_ports: list[int] = []
        self.tcp_ports: list[int] = []
        self.udp_ports: list[int] = []
        self._closing: list[Any] = []

    async def open(self) -> None:
        """Listen on free ports."""
        for one in self.http:
            await one.open()
        for _ in range(2):
            websocket = await serve(_echo_messages, HOST, 0, ping_interval=None, backlog=BACKLOG)
            self.websocket_ports.append(next(iter(websocket.sockets)).getsockname()[1])
            tcp = await asyncio.start_server(_echo_bytes, HOST, 0, backlog=BACKLOG)
            self.tcp_ports.append(tcp.sockets[0].getsockname()[1])
            udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(_UdpEcho, local_addr=(HOST, 0))
            self.udp_ports.append(udp.get_extra_info("sockname")[1])
            self._closing += [websocket, websocket.server, tcp, udp]  # the first closes the second in a task: too late

    async def close(self) -> None:
        """End all servers and their connections."""
        for one in (*self.http, *self._closing):
            one.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close in later turns of the loop


async def _echo_messages(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def _echo_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError), contextlib.closing(writer):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


class _UdpEcho(asyncio.DatagramProtocol):
    """Sends back each datagram, with the port from which it came: a session that goes on has the same."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data + f" {addr[1]}".encode(), addr)
