"""Sample servers that the demo proxies and forwards to: an HTTP app with a WebSocket echo, FastCGI, TCP and UDP.

They handle only what well-behaved clients send.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

from npserver.http.extended_connect import accept_value
from npserver.upstream.fastcgi_records import PARAMS, STDIN

_MAX_HEAD = 64 << 10


class HttpApp(asyncio.Protocol):
    """An app that returns the request it received as JSON; after an upgrade it echoes WebSocket messages."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._data = b""
        self._is_websocket = False
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when npserver has connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with data received: requests, or WebSocket frames after an upgrade."""
        self._data += data
        if self._is_websocket:
            self._echo_frames()
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
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + (b"" if line.startswith("HEAD ") else body))

    def _begin_websocket(self, fields: dict[str, str]) -> None:
        key = fields.get("sec-websocket-key", "").encode()
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_value(key) + b"\r\n\r\n"
        )
        self._is_websocket = True
        greeting = f"hello from {self._name}".encode()
        self._transport.write(bytes([0x81, len(greeting)]) + greeting)
        self._echo_frames()

    def _echo_frames(self) -> None:
        """Send complete frames back, unmasked (RFC 6455 §5.2); close the connection after a close frame."""
        while (frame := _take_frame(self._data)) is not None:
            first, payload, self._data = frame
            opcode = first & 0x0F
            answer = 0x8A if opcode == 0x9 else first  # a ping is answered by a pong
            size = len(payload)
            header = bytes([answer, size]) if size < 126 else bytes([answer, 126]) + size.to_bytes(2)
            self._transport.write(header + payload)
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
