"""The interfaces between listeners and fronts. A front serves the clients of one listener: HTTP, a forward, DNS.

`program.compile` creates the fronts; a reload replaces the front of a listener while its sockets stay open.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.runtime.context import Context

#: The sender of a datagram, to which replies go: `[0]` is the address, `[1]` the port; hashable, otherwise opaque.
Client = tuple[object, ...]


class ListenerInfo(Protocol):
    """A compiled listener as fronts see it: `listen.listener.Listener`."""

    @property
    def key(self) -> str:
        """The text that identifies the listener across reloads: its URI."""

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
        """The context of the process."""

    @property
    def is_draining(self) -> bool:
        """Whether it takes no new clients: `npserver drain`."""


class StreamFront(Protocol):
    """Serves stream connections: HTTP, a forward, DNS over TCP.

    A front whose `wants_first_bytes` is true is offered new TCP connections together with their first bytes, before a
    transport is created (`listen.first_bytes`).

    A front that has `drain` is asked by it for the one that serves while the listener is drained, and that by `undrain`
    for the one afterwards: both may be itself. So it is with fronts of datagrams.
    """

    def accept(self, live: Live, alpn: str | None = None) -> asyncio.Protocol:
        """Return the protocol for a new connection; `alpn` is the protocol name that its TLS handshake selected.

        A protocol of long connections reads `live.front` for each new request, so that a reload takes effect.
        """

    def close(self) -> None:
        """Called when a reload has replaced this front: stop its timers; requests in progress continue."""


class DatagramSocket(Protocol):
    """A listener's socket as a datagram front sees it."""

    @property
    def live(self) -> Live:
        """The listener of the socket."""

    def local(self, client: Client) -> tuple[str, int]:
        """Return the address and port to which `client` sent its datagram, as far as known."""

    def send(self, data: bytes, client: Client) -> None:
        """Send a datagram to `client`, from the address it wrote to; dropped if the kernel's send buffer is full."""

    def forget(self, client: Client) -> None:
        """The session of `client` has ended: called where a front has sessions."""


class DatagramFront(Protocol):
    """Serves datagrams: a forward, DNS over UDP."""

    def datagram(self, data: bytes, client: Client, socket: DatagramSocket) -> None:
        """Called for each datagram received."""

    def close(self) -> None:
        """Called when a reload has replaced this front."""


class Service(Protocol):
    """A background job that runs once per server, in the controller: health checks, name resolution, file watching."""

    async def run(self) -> None:
        """Run until cancelled."""
