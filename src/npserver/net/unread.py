"""Inspect or drain what the kernel holds of a connection.

Its receive buffer: before the connection is reused, and after a write error. Its send buffer: whether the peer reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import socket
import sys
import termios
from collections.abc import Iterator

_READ_BYTES = 256 << 10


@contextlib.contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Yield a socket for a descriptor that a transport owns; it takes none itself, of which there may be no more."""
    same = socket.socket(fileno=descriptor)
    try:
        yield same
    finally:
        same.detach()


def has_no_pending_input(transport: asyncio.Transport) -> bool:
    """Return whether the receive buffer is empty: neither data nor end of file has arrived."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return not poll.poll(0)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes written to a connection the peer's system has not acknowledged yet.

    Between two calls without a write, it has shrunk if the peer has read. Outside Linux those in the kernel do not
    count.
    """
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or sys.platform != "linux":
        return waiting
    try:
        queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ, tcp(7)
    except OSError:
        return waiting
    return waiting + int.from_bytes(queued, sys.byteorder)


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
    with borrowed(sock.fileno()) as same:
        try:
            while piece := same.recv(_READ_BYTES):
                pieces.append(piece)
        except OSError:
            return b"".join(pieces), False
    return b"".join(pieces), isinstance(error, BrokenPipeError)
