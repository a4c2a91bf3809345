"""Options of TCP sockets, set when they listen or connect."""

from __future__ import annotations

import socket
from contextlib import suppress

_CONGESTION = getattr(socket, "TCP_CONGESTION", 0)
_UNPACED = b"reno"  # part of every Linux
_NAME_BYTES = 16  # of a congestion control (TCP_CA_NAME_MAX)


def tune(sock: socket.SocketType, host: str) -> None:
    """Set the options of a TCP socket that listens on, or connects to, address `host`. Accepted sockets inherit them.

    Small writes are not delayed (TCP_NODELAY). Loopback connections are not paced: where BBR is the system's congestion
    control, its timers would cost a fifth of the CPU time of a large response (docs/performance.md).
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if (host.startswith("127.") or host == "::1") and _is_paced(sock):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _CONGESTION, _UNPACED)


def _is_paced(sock: socket.SocketType) -> bool:
    """Return whether the socket's congestion control paces what it sends."""
    if not _CONGESTION:
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, _CONGESTION, _NAME_BYTES).startswith(b"bbr")
