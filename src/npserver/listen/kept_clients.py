"""Clients of a datagram socket that one program keeps while another one serves the same address.

The socket of each client is bound to the same address (SO_REUSEPORT) and connected to the client: the kernel gives it
that client's datagrams. `listen.datagrams.OpenSocket.leave` makes them at an upgrade.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from npserver.errors import reason_of
from npserver.networks import plain_ip

if TYPE_CHECKING:
    import asyncio

    from npserver.runtime.front import Client, DatagramSocket

log = logging.getLogger("npserver.server")

BATCH = 64  # datagrams read before other sockets get their turn
MAX_DATAGRAM = 65_535  # more than any UDP payload: nothing is truncated


class ClientSocket:
    """The socket of one client: a `runtime.front.DatagramSocket`."""

    __slots__ = ("_loop", "_shared", "_sock", "_take", "live")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shared: DatagramSocket,
        sock: socket.socket,
        take: Callable[[bytes, DatagramSocket], None],
    ) -> None:
        """Create it, and read from `sock`, which is connected and owned from here on.

        Args:
            shared: the listener's socket, which names the client.
            take: called with each datagram, and this socket.
        """
        sock.setblocking(False)
        self.live = shared.live
        self._loop = loop
        self._shared = shared
        self._sock = sock
        self._take = take
        loop.add_reader(sock, self._read)

    def __repr__(self) -> str:
        return f"<ClientSocket {self._sock!r}>"

    def local(self, client: Client) -> tuple[str, int]:
        """Return the address and port to which the client sent its datagram."""
        return self._shared.local(client)

    def send(self, data: bytes, client: Client) -> None:
        """Send a datagram to the client; dropped if the kernel's send buffer is full."""
        try:
            self._sock.send(data)
        except OSError as error:
            log.debug("%s: datagram to %s dropped: %s", self.live.listener.name, client[:2], reason_of(error))

    def send_run(self, run: Sequence[bytes], client: Client) -> None:
        """Send several datagrams to the client."""
        for data in run:
            self.send(data, client)

    def forget(self, client: Client) -> None:
        """Leave a client, whose session has ended, to the other program."""
        self._shared.forget(client)

    def close(self) -> None:
        """Stop reading and close the socket; later sends are dropped."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _read(self) -> None:
        try:
            for _ in range(BATCH):
                self._take(self._sock.recv(MAX_DATAGRAM), self)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            log.debug("%s: receiving a datagram failed: %s", self.live.listener.name, reason_of(error))
        except Exception:  # an error with one datagram must not end the session
            log.exception("%s: error while serving a datagram", self.live.listener.name)


class KeptClients:
    """The clients at one socket address, of which there are several behind a proxy (`accept_proxy`)."""

    __slots__ = ("_opened", "clients")

    def __init__(self, opened: ClientSocket) -> None:
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


def place_of(client: Client) -> Any:
    """Return the address of a client, and the local one that it sends to where the listener has more than one."""
    return client[2:] if _has_control(client) else client


def _has_control(client: Client) -> bool:
    return len(client) == 4 and isinstance(client[3], tuple)


def keep_clients(
    kept: dict[Any, KeptClients],
    sock: socket.socket,
    clients: Iterable[Client],
    local: Callable[[Client], tuple[str, int]],
    read: Callable[[socket.socket, Client], ClientSocket],
) -> None:
    """Add to `kept`, by their place, the clients that it does not have. What fails is logged.

    Args:
        sock: the one that is shared with the other program.
        local: returns the address to which a client sends.
        read: begins to read from a client's own socket.
    """
    for client in clients:
        place = place_of(client)
        if place not in kept:
            try:
                connected = _connect(sock, local(client), client[2] if _has_control(client) else client)
            except OSError as error:
                log.warning("session of %s is not kept: %s", client[:2], reason_of(error))
                continue
            kept[place] = KeptClients(read(connected, client))
        kept[place].clients.add(client)


def _connect(sock: socket.socket, local: tuple[str, int], address: Any) -> socket.socket:
    """Return a socket for what `address` sends to `local`.

    Between its binding and its connection it may get nothing of other clients. `listen.client_steering` sees to that
    for the sockets of all addresses, and for those of IPv6. Beside a connected socket of IPv4, Linux from 6.13 on takes
    the one bound last instead; but for an IPv4 address it takes a socket of IPv6 only after those of IPv4.
    """
    bound = sock.getsockname()
    if bound[0] in ("::", "0.0.0.0"):
        one = _bind_and_connect(sock, bound, address)
        if plain_ip(one.getsockname()[0]) == local[0]:
            return one
        one.close()  # the kernel would send from another address of this machine
    elif sock.family == socket.AF_INET:
        with contextlib.suppress(OSError):  # a kernel without IPv6
            return _bind_and_connect(sock, (f"::ffff:{bound[0]}", bound[1]), (f"::ffff:{address[0]}", address[1]))
    host = f"::ffff:{local[0]}" if sock.family == socket.AF_INET6 and "." in local[0] else local[0]
    return _bind_and_connect(sock, (host, local[1], 0, address[3]) if ":" in host else (host, local[1]), address)


def _bind_and_connect(sock: socket.socket, local: Any, address: Any) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if one.family == socket.AF_INET6:
            v6_only = sock.family == socket.AF_INET6 and sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(local)
        one.connect(address)
    except OSError:
        one.close()
        raise
    return one
