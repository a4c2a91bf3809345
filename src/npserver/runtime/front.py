"""Fronts serve the clients of listeners. `program.compile` makes one per listener; a reload swaps it under them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.runtime.context import Context

#: Where a datagram came from and goes back to: `[0]` is the address, `[1]` the port; hashable, otherwise opaque.
Client = tuple[object, ...]


class ListenerInfo(Protocol):
    """A compiled listener as fronts see it: `listen.listener.Listener`."""

    @property
    def key(self) -> str:
        """The text that identifies it across reloads: its URI."""

    @property
    def name(self) -> str:
        """The name for log lines."""

    @property
    def address(self) -> Address:
        """The address it listens on."""


class Live(Protocol):
    """A listener in one process, as fronts and their connections see it: `listen.live_listener.LiveListener`."""

    @property
    def listener(self) -> ListenerInfo:
        """The listener, as of the last reload."""

    @property
    def front(self) -> StreamFront | DatagramFront:
        """The front that serves it, as of the last reload."""

    @property
    def context(self) -> Context:
        """The data plane it belongs to."""


class StreamFront(Protocol):
    """Serves connections: HTTP, a forward, DNS over TCP.

    One with a true `wants_first_bytes` is offered plain TCP connections with their first bytes, before they have a
    transport (`listen.first_bytes`).
    """

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Make the protocol of a new connection; `alpn` is what its TLS handshake has agreed on.

        A protocol that lives long looks up `live.front` for each new request, so that a reload reaches it.
        """

    def close(self) -> None:
        """A reload has put another front in this one's place: end timers; what is in flight goes on."""


class DatagramSocket(Protocol):
    """A listener's socket as a datagram front sees it."""

    @property
    def live(self) -> Live:
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
