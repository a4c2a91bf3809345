"""A FastCGI server in threads, whose answer depends on the last part of the path: whole, cut, none, with errors."""

from __future__ import annotations

import contextlib
import socket

from tests.stage.scripted_upstream import HOST, Upstream

LARGE_RECORDS = 60  # of 65,535 bytes, in a large answer
END_OF_STDIN = b"\x01\x05\x00\x01\x00\x00\x00\x00"
END = b"\x01\x03\x00\x01\x00\x08\x00\x00" + bytes(8)


def output(data: bytes, kind: int = 6) -> bytes:
    return b"\x01%c\x00\x01" % kind + len(data).to_bytes(2) + b"\x00\x00" + data


class FastcgiUpstream(Upstream):
    """A FastCGI server, by path: large, half (an answer cut midway), silent, late (works on after its answer), else
    small."""

    @property
    def uri(self) -> str:
        return f"tcp://{HOST}:{self.port}"

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            request = b""
            while data := connection.recv(65536):
                request += data
                if request.endswith(END_OF_STDIN):
                    if not self._answer(connection, request) or not request[10] & 1:
                        return
                    request = b""

    def _answer(self, connection: socket.socket, request: bytes) -> bool:
        if b"/silent" in request:
            connection.recv(1)  # until the other side leaves
            return False
        if b"/half" in request:
            connection.sendall(output(b"Content-Type: a/b\r\n\r\nhalf"))
            return False
        if b"/late" in request:
            connection.sendall(output(b"Content-Length: 2\r\n\r\nok"))
            connection.sendall(output(b"late", 7) + END)
        elif b"/large" in request:
            connection.sendall(output(b"Content-Type: a/b\r\n\r\n") + output(bytes(65_535)) * LARGE_RECORDS + END)
        else:
            connection.sendall(output(b"bad", 7) + output(b"Content-Type: a/b\r\n\r\nsmall") + END)
        return True
