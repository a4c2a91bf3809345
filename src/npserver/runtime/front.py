"""Fronts serve the clients of listeners. `program.compile` makes one per listener; a reload swaps it under them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.listen.listener import LiveListener

#: Where a datagram came from and goes back to: `[0]` is the address, `[1]` the port; hashable, otherwise opaque.
Client = tuple[object, ...]


class StreamFront(Protocol):
    """Serves connections: HTTP, a forward, DNS over TCP."""

    def accept(self, listener: LiveListener) -> asyncio.Protocol:
        """Make the protocol of a new connection.

        A protocol that lives long looks up `listener.front` again for each new request, so that a reload reaches it.
        """

    def close(self) -> None:
        """A reload has put another front in this one's place: end timers; what is in flight goes on."""


class DatagramSocket(Protocol):
    """A listener's socket as a datagram front sees it."""

    @property
    def live(self) -> LiveListener:
        """The listener it belongs to."""

    def local(self, client: Client) -> tuple[str, int]:
        """The address and port that `client` wrote to, as far as known."""

    def send(self, data: bytes, client: Client) -> None:
        """Send a datagram to `client`, from the address it had written to. Dropped if the kernel's buffer is full."""


class DatagramFront(Protocol):
    """Serves datagrams: a forward, DNS over UDP."""

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        """Take one datagram."""

    def close(self) -> None:
        """A reload has put another front in this one's place."""


class Service(Protocol):
    """Something that runs once per server, in the controller: health checks, name resolution, file watching."""

    async def run(self) -> None:
        """Run until cancelled."""
