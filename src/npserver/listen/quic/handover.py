"""Hands datagrams to the worker that has their connection.

The kernel chooses a worker's socket by the addresses and ports of a datagram (SO_REUSEPORT). A client whose address has
changed, as clients behind a NAT or in a mobile network do, would reach a worker that does not know it. All connection
ids in use are therefore in memory that the workers share (`runtime.connection_ids`), and a stray datagram is handed on
by a Unix datagram socket. Handed on are only those whose id is there, once, and as long as the other worker keeps up:
the socket's buffer bounds what waits.
"""

from __future__ import annotations

import marshal
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from npserver.runtime.front import Client

BATCH = 64  # datagrams taken before other sockets get their turn
_MAX_BYTES = 4096  # of a datagram with its client


class HandoverSockets:
    """The sockets of one listener by which each worker is handed datagrams: `sockets(n)` are those of worker n."""

    __slots__ = ("_pairs",)

    def __init__(self, workers: int) -> None:
        self._pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
        for pair in self._pairs:
            for one in pair:
                one.setblocking(False)

    def sockets(self, worker: int) -> tuple[socket.socket, ...]:
        """Return the receiving end of a worker, and then the sending ends to all workers."""
        return (self._pairs[worker][0], *[sender for _, sender in self._pairs])


def pack(place: int, client: Client, data: bytes) -> bytes:
    """Return a datagram with its client, and the place of its socket in the listener."""
    message: Any = (place, client, data)
    return marshal.dumps(message)


def receive_all(receiver: socket.socket) -> Iterator[tuple[int, Client, bytes]]:
    """Yield what other workers have handed on. Only processes of this program have the other end."""
    for _ in range(BATCH):
        try:
            message = receiver.recv(_MAX_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        yield marshal.loads(message)


def split(sockets: Sequence[socket.socket]) -> tuple[list[socket.socket], list[socket.socket]]:
    """Return a listener's UDP sockets, and those for handing on."""
    udp = [one for one in sockets if one.family != socket.AF_UNIX]
    return udp, [one for one in sockets if one.family == socket.AF_UNIX]
