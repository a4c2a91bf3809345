"""Opens the TCP and UDP sockets of a listener, for `listen.binding`.

On Linux, where the kernel balances clients between SO_REUSEPORT sockets, each worker gets sockets of its own; elsewhere
all workers share one.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import TYPE_CHECKING

from npserver.address import QUIC, Address
from npserver.listen.client_steering import prefer_connected, steer

if TYPE_CHECKING:
    from npserver.listen.listener import Listener

BALANCES_PORTS = sys.platform.startswith("linux")  # the kernel balances between SO_REUSEPORT sockets

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def bind_inet(
    listener: Listener, workers: int, own_ports: frozenset[int] | set[int], owner: int | None = None
) -> tuple[list[tuple[socket.socket, ...]], int]:
    """Return the sockets of each worker, and how many of an address share its clients (`listen.client_steering`).

    Args:
        own_ports: on which this program listens already.
        owner: the user that datagram sockets belong to, if another one than ours: workers add theirs
            (`listen.kept_clients`), and the kernel lets only sockets of one user share an address.

    Raises: OSError.
    """
    address = listener.address
    opened: list[socket.socket] = []
    columns: list[list[socket.socket]] = []
    steered = workers
    try:
        for family, place in _places(address):
            first, is_steered = _open_first(
                listener, family, place, workers, is_shared=address.port in own_ports, owner=owner
            )
            opened.append(first)
            steered = steered if is_steered else 0
            column = [first] * workers
            if BALANCES_PORTS:
                # The first socket is bound without SO_REUSEPORT, so that a port in use is an error; then it is shared.
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                for number in range(1, workers):
                    column[number] = _open(
                        first.family, first.type, first.getsockname(), dual=not address.host, shared=True, owner=owner
                    )
                    opened.append(column[number])
                if is_steered and first.family == socket.AF_INET and address.host:
                    prefer_connected(first)
            columns.append(column)
    except OSError:
        for one in opened:
            one.close()
        raise
    return [tuple(column[number] for column in columns) for number in range(workers)], steered


def widen(
    listener: Listener, groups: list[tuple[socket.socket, ...]], workers: int, *, listens: bool = True
) -> list[tuple[socket.socket, ...]]:
    """Return the sockets of `workers` processes made from those of another number of them. Raises: OSError.

    `listens`: whether clients can connect to further ones. None may be left out: the kernel gives each its part of the
    clients.
    """
    columns: dict[object, list[socket.socket]] = {}  # by address
    for one in dict.fromkeys(one for group in groups for one in group):
        columns.setdefault((one.family, one.getsockname()), []).append(one)
    found: list[tuple[socket.socket, ...]] = [()] * workers
    for column in columns.values():
        first = column[0]
        dual = first.family == socket.AF_INET6 and not first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        owner = os.fstat(first.fileno()).st_uid
        while len(column) < workers:
            column.append(_open(first.family, first.type, first.getsockname(), dual=dual, shared=True, owner=owner))
            if listens and listener.address.is_stream:
                column[-1].listen(listener.backlog)
        for number, one in enumerate(column):
            found[number % workers] += (one,)
    return add_handover(found) if listener.address.scheme == QUIC and workers > 1 else found


def add_handover(sockets: list[tuple[socket.socket, ...]]) -> list[tuple[socket.socket, ...]]:
    """Add the sockets by which workers hand each other datagrams of QUIC."""
    from npserver.listen.quic.handover import HandoverSockets

    handover = HandoverSockets(len(sockets))
    return [(*own, *handover.sockets(worker)) for worker, own in enumerate(sockets)]


def _kind(address: Address) -> socket.SocketKind:
    return socket.SOCK_STREAM if address.is_stream else socket.SOCK_DGRAM


def _places(address: Address) -> list[tuple[socket.AddressFamily, SocketAddress]]:
    """Return the family and the socket address of each socket to open."""
    if not address.host:
        if socket.has_ipv6:
            return [(socket.AF_INET6, ("::", address.port))]
        return [(socket.AF_INET, ("0.0.0.0", address.port))]
    host = address.host.encode("ascii")  # a str would make Python import its IDNA tables
    found = socket.getaddrinfo(host, address.port, type=_kind(address), flags=socket.AI_PASSIVE)
    places: dict[tuple[socket.AddressFamily, SocketAddress], None] = {}
    for family, _, _, _, place in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            places[family, place] = None  # type: ignore[index]
    ordered = sorted(places, key=lambda one: one[0] != socket.AF_INET)
    return ordered if address.port else ordered[:1]  # two sockets would get different ports


def _open_first(
    listener: Listener,
    family: socket.AddressFamily,
    place: SocketAddress,
    workers: int,
    *,
    is_shared: bool,
    owner: int | None,
) -> tuple[socket.socket, bool]:
    """Return the first socket of an address, and whether only `workers` of them will share its clients.

    `is_shared`: this program listens on the port already.
    """
    address = listener.address
    kind, dual = _kind(address), not address.host
    try:
        if kind is socket.SOCK_DGRAM and BALANCES_PORTS:
            try:
                return _open_steered(family, place, workers, dual=dual, owner=owner)
            except OSError as error:
                if not is_shared or error.errno != errno.EADDRINUSE:
                    raise
        return _open(family, kind, place, dual=dual, shared=is_shared, owner=owner), False
    except OSError as error:
        if address.host or family != socket.AF_INET6 or not _lacks_ipv6(error):
            raise
        # a kernel without IPv6: listen on all IPv4 addresses
        return _open_first(
            listener, socket.AF_INET, ("0.0.0.0", address.port), workers, is_shared=is_shared, owner=owner
        )


def _open_steered(
    family: socket.AddressFamily, place: SocketAddress, workers: int, *, dual: bool, owner: int | None
) -> tuple[socket.socket, bool]:
    one = _make(family, socket.SOCK_DGRAM, dual=dual, owner=owner)
    try:
        is_steered = steer(one, workers)
        one.bind(place)
    except OSError:
        one.close()
        raise
    return one, is_steered


def _open(
    family: int, kind: int, place: SocketAddress, *, dual: bool = False, shared: bool = False, owner: int | None = None
) -> socket.socket:
    one = _make(family, kind, dual=dual, owner=owner)
    try:
        if shared and BALANCES_PORTS:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(place)
    except OSError:
        one.close()
        raise
    return one


def _make(family: int, kind: int, *, dual: bool, owner: int | None) -> socket.socket:
    """Return a socket that is not bound. `dual`: an IPv6 one takes IPv4, too."""
    one = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_DGRAM and owner not in (None, os.geteuid()):
            os.fchown(one.fileno(), owner, -1)
        one.setblocking(False)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if kind == socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
    except OSError:
        one.close()
        raise
    return one


def _lacks_ipv6(error: OSError) -> bool:
    return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
