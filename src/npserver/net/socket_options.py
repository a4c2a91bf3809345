"""Options of stream sockets, set where connections are accepted and opened."""

from __future__ import annotations

import socket
from contextlib import suppress

_CONGESTION = getattr(socket, "TCP_CONGESTION", 0)
_UNPACED = b"reno"  # part of every Linux
_NAME_BYTES = 16  # of a congestion control (TCP_CA_NAME_MAX)


def tune(sock: socket.SocketType, host: str) -> None:
    """Prepare a TCP socket that listens on the address `host`, whose connections inherit it, or that goes to there.

    Small writes are not delayed. Connections within the machine are not paced: BBR, where it is the system's default,
    looks for the capacity of a network that is not there, by timers for each piece that it sends, which costs a fifth
    of the processor time of a large answer (docs/performance.md).
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if (host.startswith("127.") or host == "::1") and _is_paced(sock):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _CONGESTION, _UNPACED)


def _is_paced(sock: socket.SocketType) -> bool:
    """Whether what the socket sends is paced, as it is from the system's default."""
    if not _CONGESTION:
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, _CONGESTION, _NAME_BYTES).startswith(b"bbr")
