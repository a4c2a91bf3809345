"""Inspect or drain the socket receive buffer of a connection: before reusing it, and after a write error."""

from __future__ import annotations

import asyncio
import select
import socket

_READ_BYTES = 256 << 10


def has_no_pending_input(transport: asyncio.Transport) -> bool:
    """Return whether the receive buffer is empty: neither data nor end of file has arrived."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


def read_unread(transport: asyncio.Transport, error: Exception) -> tuple[bytes, bool]:
    """Read the rest of a connection after a write error: the peer may have responded before it closed.

    Return the data, and whether the peer had closed its side properly after it. For TLS connections there is none.
    Only `error`, the write error, tells a close from a reset, since the kernel reports both as end of file from then
    on. EPIPE: the peer had closed before it reset (tcp(7)); ECONNRESET: it had not.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or transport.get_extra_info("ssl_object") is not None:
        return b"", False
    pieces: list[bytes] = []
    with socket.socket(fileno=socket.dup(sock.fileno())) as same:
        same.setblocking(False)
        try:
            while piece := same.recv(_READ_BYTES):
                pieces.append(piece)
        except OSError:
            return b"".join(pieces), False
    return b"".join(pieces), isinstance(error, BrokenPipeError)
