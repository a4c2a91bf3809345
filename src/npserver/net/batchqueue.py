"""Many datagrams a system call for a front whose answers come later: forwards of UDP.

Used by `net.datagram` for sockets bound to one address. What is read at once is told one by one, each with a client
that carries its socket address as the kernel has it; answers wait for the end of the loop's round and leave together.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, cast

from npserver.net.batch import BATCH, KNOWN_CLIENTS, NAME_BYTES, Batch

if TYPE_CHECKING:
    from npserver.serve.front import Client

SLOT_BYTES = 2048  # longer than what fits an Ethernet frame; the rest of longer ones is copied once more
LONGEST = 65_535  # more than any UDP payload: nothing is cut

_NAMES = [Struct(f"{NAME_BYTES}s" * count) for count in range(BATCH + 1)]  # the socket addresses of so many


class BatchQueue(Batch):
    """The buffers of one socket, and the answers that wait."""

    __slots__ = ("_answers", "_clients", "_loop", "_to")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        super().__init__(sock, SLOT_BYTES, LONGEST - SLOT_BYTES)
        self._loop = loop
        self._clients: dict[bytes, Client] = {}
        self._answers: list[bytes] = []
        self._to: list[bytes] = []  # their socket addresses

    def receive_from(self) -> Iterable[tuple[bytes, Client]]:  # hot: udp
        """Give the datagrams that have come, at most `BATCH`, and the client of each: host, port, socket address."""
        datagrams = self.receive()
        names = _NAMES[len(datagrams)].unpack_from(self._names)
        clients = list(map(self._clients.get, names))
        if None in clients:
            clients = [self._clients.get(name) or self._name(name) for name in names]
        return zip(datagrams, cast("list[Client]", clients), strict=True)

    def queue(self, data: bytes, client: Client) -> None:  # hot: udp
        """Send `data` to `client` at the end of the loop's round; dropped if the kernel's buffer is full then."""
        if not self._answers:
            self._loop.call_soon(self.flush)
        self._answers.append(data)
        self._to.append(client[2])  # type: ignore[arg-type]

    def flush(self) -> None:  # hot: udp
        """Send what waits."""
        answers, to = self._answers, self._to
        self._answers, self._to = [], []
        if self._sock.fileno() < 0:
            return
        for start in range(0, len(answers), BATCH):
            names = b"".join(to[start : start + BATCH])
            self._names[: len(names)] = names
            self.send(answers[start : start + BATCH])

    def _name(self, raw: bytes) -> Client:
        host, port = self._describe(raw)[:2]
        if len(self._clients) >= KNOWN_CLIENTS:
            self._clients.clear()
        self._clients[raw] = client = (host, port, raw)
        return client
