"""Ports that are free on 127.0.0.1 and on ::1, for TCP and UDP, and stay so until the test binds them."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from pathlib import Path

# Below the kernel's range for outgoing connections, so that no client socket takes a port between look and bind;
# each process of a parallel test run has a stretch of its own, entered at a place that depends on its id.
_FIRST, _LENGTH, _STRETCH = 11_000, 20_000, 2_000
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
_start = _FIRST + _worker * _STRETCH % _LENGTH
_entry = os.getpid() * 37 % _STRETCH
_candidates = itertools.cycle(_start + (_entry + step) % _STRETCH for step in range(_STRETCH))


def free_port() -> int:
    """Return a port that nothing is bound to; never the same twice within thousands of calls."""
    for _ in range(_STRETCH):
        port = next(_candidates)
        if port not in _avoided and all(_is_free(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            return port
    raise RuntimeError("no free port")


def takes_datagrams(host: str, port: int) -> bool:
    """Return whether a UDP socket is bound to this address.

    It is looked up: who tries to bind it has the port for a moment, in which the program that is waited for cannot.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    packed = socket.inet_pton(family, address[0])
    words = "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))
    table = Path("/proc/net/udp6" if family == socket.AF_INET6 else "/proc/net/udp")
    rows = table.read_text().splitlines()[1:] if table.exists() else []  # some machines are without IPv6
    return any(row.split()[1] == f"{words}:{port:04X}" for row in rows)


#: Ports that browsers refuse to visit.
_avoided = frozenset({10080})


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
