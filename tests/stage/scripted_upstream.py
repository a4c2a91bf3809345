"""An upstream in threads, whose answer depends on the last part of the path: whole, cut, none, an upgrade, a login."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading

from websockets.utils import accept_key

HOST = "127.0.0.1"
LARGE = 4_000_000  # bytes of a large answer


class Upstream:
    """An HTTP server, by path: large, half (an answer cut midway), silent, upgrade (then echo), login, else small."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._socket = socket.create_server((HOST, 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            connection = stack.enter_context(plain)
            if self._context is not None:
                connection = stack.enter_context(self._context.wrap_socket(plain, server_side=True))
            connection.settimeout(30)
            while head := read_head(connection):
                if not self._answer(connection, head):
                    return

    def _answer(self, connection: socket.socket, head: bytes) -> bool:
        path = head.split()[1].rpartition(b"/")[2]
        if path == b"large":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE))
        elif path == b"half":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nhalf" % LARGE)
            return False
        elif path == b"silent":
            connection.recv(1)  # until the other side leaves
            return False
        elif path == b"upgrade":
            key = re.search(rb"sec-websocket-key: (.+)\r", head, re.IGNORECASE)
            accept = b"Sec-WebSocket-Accept: %b\r\n" % accept_key(key[1].decode()).encode() if key else b""
            connection.sendall(b"HTTP/1.1 101 Hello\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n" % accept)
            while data := connection.recv(65536):
                connection.sendall(data)
            return False
        elif path == b"login":
            connection.sendall(b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n")
        else:
            if not read_body(connection, head.lower()):
                return False
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")
        return True


def read_body(connection: socket.socket, head: bytes) -> bool:
    """Read a small body, of 4 bytes or in chunks: bytes left over would be the next request. Return whether it came."""
    body = b""
    while (b"content-length: 4\r\n" in head and len(body) < 4) or (
        b"transfer-encoding: chunked\r\n" in head and not body.endswith(b"0\r\n\r\n")
    ):
        piece = connection.recv(1)
        if not piece:
            return False
        body += piece
    return True


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(1)
        if not piece:
            return b""
        head += piece
    return head
