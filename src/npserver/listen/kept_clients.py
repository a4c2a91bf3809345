"""Clients of a datagram socket that one program keeps while another one serves the same address.

The socket of each client is bound to the same address (SO_REUSEPORT) and connected to the client: the kernel gives it
that client's datagrams. `listen.datagrams.OpenSocket.leave` makes them at an upgrade.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from npserver.errors import reason_of

if TYPE_CHECKING:
    from npserver.runtime.front import Client

log = logging.getLogger("npserver.server")


class Opened(Protocol):
    """A socket that is read: `listen.datagrams.OpenSocket`."""

    def close(self) -> None:
        """Stop reading and close it."""


class KeptClients:
    """The clients at one socket address, of which there are several behind a proxy (`accept_proxy`)."""

    __slots__ = ("_opened", "clients")

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.clients: set[Client] = set()

    def __repr__(self) -> str:
        return f"<KeptClients {len(self.clients)} {self._opened!r}>"

    def discard(self, client: Client) -> bool:
        """Forget a client; close the socket and return True if it was the last one."""
        self.clients.discard(client)
        if self.clients:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Close the socket."""
        self._opened.close()


def address_of(client: Client) -> Any:
    """Return the socket address of a client: it is the client itself where the listener has one address."""
    return client[2] if len(client) == 4 and isinstance(client[3], tuple) else client


def keep_clients(
    sock: socket.socket,
    clients: Sequence[Client],
    local: Callable[[Client], tuple[str, int]],
    read: Callable[[socket.socket], Opened],
) -> dict[Any, KeptClients]:
    """Return the clients by their address, each read from a socket of its own. What fails is logged.

    Args:
        sock: the one that is shared with the other program.
        local: returns the address to which a client sends.
        read: begins to read from a client's own socket.
    """
    kept: dict[Any, KeptClients] = {}
    for client in clients:
        address = address_of(client)
        if address not in kept:
            try:
                connected = _connect(sock, local(client), address)
            except OSError as error:
                log.warning("session of %s is not kept: %s", client[:2], reason_of(error))
                continue
            kept[address] = KeptClients(read(connected))
        kept[address].clients.add(client)
    return kept


def _connect(sock: socket.socket, local: tuple[str, int], address: Any) -> socket.socket:
    one = socket.socket(sock.family, socket.SOCK_DGRAM)
    try:
        if sock.family == socket.AF_INET6:
            v6_only = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
            host = f"::ffff:{local[0]}" if "." in local[0] else local[0]
        else:
            host = local[0]
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, local[1], 0, address[3]) if sock.family == socket.AF_INET6 else (host, local[1]))
        one.connect(address)
    except OSError:
        one.close()
        raise
    return one
