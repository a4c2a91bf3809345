"""What the kernel holds for a connection that the loop has not read: looked at where an exchange hangs on it."""

from __future__ import annotations

import asyncio
import select
import socket

_READ_BYTES = 256 << 10


def has_no_pending_input(transport: asyncio.Transport) -> bool:
    """Whether nothing has come from the other side, neither bytes nor its end."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


def read_unread(transport: asyncio.Transport, error: Exception) -> tuple[bytes, bool]:
    """Read what is left of a plain connection that failed under our writing: the other side may have answered early.

    Gives the bytes, and whether the other side had ended properly after them. TLS connections give nothing.
    `error` is what the writing failed by. It alone tells an end from a reset: once told, the kernel reports either by
    an empty read. EPIPE: the end had come before the reset (tcp(7)); ECONNRESET: it had not.
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
