"""Sample servers that the demo proxies and forwards to: an HTTP app with a WebSocket chat, FastCGI, TCP and UDP.

They handle only what well-behaved clients send, on a loop in a thread of their own.
"""

from __future__ import annotations

import asyncio
import json
import threading
from functools import partial
from typing import Any, Self, cast

from npserver.cli.tour.settings import APPS
from npserver.http.extended_connect import accept_value
from npserver.upstream.fastcgi_records import PARAMS, STDIN

_MAX_HEAD = 64 << 10
SLOW_S = 0.5  # for the answer to /slow, which may be cached
_CACHED_S = 10
_AGAIN_S = 1.0


class Samples:
    """The sample servers, as a context manager. `ports`: by the names in `tour.settings`."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="samples", daemon=True)
        self._apps: dict[str, asyncio.Server] = {}
        self._connections: dict[str, set[asyncio.Transport]] = {name: set() for name in APPS}
        self._chatters: set[asyncio.Transport] = set()

    def __repr__(self) -> str:
        return f"<Samples {self.ports}>"

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop_app(self, name: str, for_s: float) -> None:
        """Let an app die, and come back after a time."""
        self._run(self._stop_app(name, for_s))

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        for name in APPS:
            await self._start_app(name)
        for name, sample in (("scripts", ScriptServer), ("tcp_echo", TcpEcho)):
            server = await self._loop.create_server(sample, "127.0.0.1", 0)
            self.ports[name] = server.sockets[0].getsockname()[1]
        transport, _ = await self._loop.create_datagram_endpoint(UdpEcho, ("127.0.0.1", 0))
        self.ports["udp_echo"] = transport.get_extra_info("sockname")[1]

    async def _start_app(self, name: str) -> None:
        make = partial(HttpApp, name, self._connections[name], self._chatters)
        try:
            server = await self._loop.create_server(make, "127.0.0.1", self.ports.get(name, 0))
        except OSError:  # another program has its port for now
            self._start_later(name, _AGAIN_S)
            return
        self._apps[name] = server
        self.ports[name] = server.sockets[0].getsockname()[1]

    async def _stop_app(self, name: str, for_s: float) -> None:
        server = self._apps.pop(name, None)
        if server is None:
            return
        server.close()
        for transport in list(self._connections[name]):
            transport.abort()
        self._start_later(name, for_s)

    def _start_later(self, name: str, delay_s: float) -> None:
        self._loop.call_later(delay_s, lambda: self._loop.create_task(self._start_app(name)))


class HttpApp(asyncio.Protocol):
    """An app that returns the request it received as JSON.

    After an upgrade it sends what one client says to all, who may be clients of other apps.
    """

    def __init__(self, name: str, connections: set[asyncio.Transport], chatters: set[asyncio.Transport]) -> None:
        self._name = name
        self._connections = connections
        self._chatters = chatters
        self._data = b""
        self._is_websocket = False
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when npserver has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio at the end of the connection."""
        self._connections.discard(self._transport)
        self._chatters.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with data received: requests, or WebSocket frames after an upgrade."""
        self._data += data
        if self._is_websocket:
            self._pass_frames_on()
            return
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            lines = self._data[:end].decode("latin-1").split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            fields = {name.lower(): value for name, value in fields.items()}
            length = int(fields.get("content-length", 0))
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            if fields.get("upgrade", "").lower() == "websocket":
                self._begin_websocket(fields)
                return
            self._answer(lines[0], fields)
        if len(self._data) > _MAX_HEAD:
            self._transport.abort()

    def _answer(self, line: str, fields: dict[str, str]) -> None:
        description = {"served_by": self._name, "request": line, "header": fields}
        body = json.dumps(description, indent=1).encode() + b"\n"
        is_slow = line.startswith("GET /slow ")
        cached = f"Cache-Control: max-age={_CACHED_S}\r\n" if is_slow else ""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{cached}Content-Length: {len(body)}\r\n\r\n"
        data = head.encode() + (b"" if line.startswith("HEAD ") else body)
        if is_slow:
            asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, data)
        else:
            self._transport.write(data)

    def _begin_websocket(self, fields: dict[str, str]) -> None:
        key = fields.get("sec-websocket-key", "").encode()
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_value(key) + b"\r\n\r\n"
        )
        self._is_websocket = True
        greeting = f"hello from {self._name}".encode()
        self._transport.write(bytes([0x81, len(greeting)]) + greeting)
        self._chatters.add(self._transport)
        self._pass_frames_on()

    def _pass_frames_on(self) -> None:
        """Send complete messages to all, unmasked (RFC 6455 §5.2); close the connection after a close frame."""
        while (frame := _take_frame(self._data)) is not None:
            first, payload, self._data = frame
            opcode = first & 0x0F
            answer = 0x8A if opcode == 0x9 else first  # a ping is answered by a pong
            size = len(payload)
            header = bytes([answer, size]) if size < 126 else bytes([answer, 126]) + size.to_bytes(2)
            for one in self._chatters if opcode in (0x1, 0x2) else (self._transport,):
                one.write(header + payload)
            if opcode == 0x8:
                self._transport.close()


def _take_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return the first byte and payload of a masked frame of up to 64 KiB, and the rest; None if it is incomplete."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(data[2:4]), 4
    end = start + 4 + size
    if len(data) < end:
        return None
    mask = data[start : start + 4]
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data[start + 4 : end]))
    return data[0], payload, data[end:]


class ScriptServer(asyncio.Protocol):
    """A FastCGI server that answers each request with the name of the script to run, instead of running it."""

    def __init__(self) -> None:
        self._data = b""
        self._params = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when npserver has connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with data received: records, the last of which is an empty one of STDIN."""
        self._data += data
        while len(self._data) >= 8:
            kind, length = self._data[1], int.from_bytes(self._data[4:6])
            end = 8 + length + self._data[6]
            if len(self._data) < end:
                return
            content, self._data = self._data[8 : 8 + length], self._data[end:]
            if kind == PARAMS:
                self._params += content
            elif kind == STDIN and not content:
                self._answer()
                return

    def _answer(self) -> None:
        start = self._params.index(b"SCRIPT_NAME") + len(b"SCRIPT_NAME")
        size = self._params[start - len(b"SCRIPT_NAME") - 1]
        text = b"Content-Type: text/plain\r\n\r\nthe script is %b\n" % self._params[start : start + size]
        self._transport.write(b"\1\6\0\1" + len(text).to_bytes(2) + b"\0\0" + text)  # STDOUT
        self._transport.write(b"\1\3\0\1\0\10\0\0" + bytes(8))  # END_REQUEST
        self._transport.close()


class TcpEcho(asyncio.Protocol):
    """A TCP echo server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when a client has connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with data received: send it back."""
        self._transport.write(b"tcp echo: " + data)


class UdpEcho(asyncio.DatagramProtocol):
    """A UDP echo server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the socket is open."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by asyncio with a datagram: send it back."""
        self._transport.sendto(b"udp echo: " + data, addr)
