"""Binds the sockets of listeners, in the master.

On Linux, where the kernel balances connections between SO_REUSEPORT sockets, each worker gets sockets of its own;
elsewhere all workers share one. The master keeps all sockets open, so that a worker's end loses no queued connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.address import QUIC, Address
from npserver.errors import StartError
from npserver.listen import drained_sockets
from npserver.listen.last_connections import take_again, take_no_more
from npserver.listen.unix_socket import bind_unix, file_identity

if TYPE_CHECKING:
    from npserver.listen.listener import Listener

BALANCES_PORTS = sys.platform.startswith("linux")  # the kernel balances between SO_REUSEPORT sockets

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class Binding:
    """The open sockets of a listener: `sockets[n]` are those of worker n, one for each address of the host."""

    __slots__ = ("_identity", "is_borrowed", "is_drained", "is_inherited", "key", "listener", "owns_file", "sockets")

    def __init__(
        self,
        listener: Listener,
        sockets: list[tuple[socket.socket, ...]],
        *,
        owns_file: bool = False,
        is_inherited: bool = False,
        is_borrowed: bool = False,
        is_drained: bool = False,
    ) -> None:
        self.key = listener.key
        self.is_drained = is_drained  # no new clients: `npserver drain`
        self.is_inherited = is_inherited  # the service manager keeps the sockets open
        self.is_borrowed = is_borrowed  # another npserver serves them too: when they are closed here, nothing ends
        self.owns_file = owns_file
        self.listener = listener
        self.sockets = sockets
        self._identity = file_identity(self.file) if owns_file else None

    def __repr__(self) -> str:
        return f"<Binding {self.key} {' '.join(map(str, self.addresses))}>"

    @property
    def addresses(self) -> list[Address]:
        """The addresses that clients connect to, with the port that the kernel chose for port 0."""
        address = self.listener.address
        if address.is_unix:
            return [address]
        names = [one.getsockname() for one in self.sockets[0] if one.family != socket.AF_UNIX]
        names = list(dict.fromkeys(names))
        return [replace(address, host=address.host and name[0].lower(), port=name[1]) for name in names]

    @property
    def file(self) -> str:
        """The file of its Unix socket; "" for others."""
        path = self.listener.address.path
        return path + drained_sockets.ENDING if path and self.is_drained and self.listener.address.is_stream else path

    @property
    def handed(self) -> list[tuple[socket.socket, ...]]:
        """The sockets of each worker that clients reach: without those by which workers hand on datagrams of QUIC."""
        if self.listener.address.scheme != QUIC:
            return self.sockets
        return [tuple(one for one in group if one.family != socket.AF_UNIX) for group in self.sockets]

    def relisten(self, listener: Listener) -> None:
        """Apply the backlog and mode of the same listener in a new config."""
        if listener.address.is_stream and listener.backlog != self.listener.backlog:
            for one in {one for group in self.sockets for one in group}:
                if drained_sockets.is_listening(one):
                    one.listen(listener.backlog)
        if listener.address.is_unix and listener.mode is not None and listener.mode != self.listener.mode:
            os.chmod(self.file, listener.mode)
        self.listener = listener

    def listen(self) -> None:
        """Let clients connect, after a `bind` that did not, unless it is drained. Raises: OSError."""
        if not self.is_drained and self.listener.address.is_stream:
            for one in {one for group in self.sockets for one in group}:
                one.listen(self.listener.backlog)

    def take_no_more(self) -> None:
        """Let no further client connect: the listener ends, and the processes that serve it accept those that have."""
        if not self.is_inherited and not self.is_borrowed:
            for one in {one for group in self.sockets for one in group}:
                take_no_more(one)

    def drain(self) -> None:
        """Let no further client connect until `undrain`; the processes that serve it accept those that have. Raises:
        OSError."""
        if self.listener.address.is_stream and not self.is_drained:
            if self.listener.address.is_unix:
                drained_sockets.hide(self.listener.address.path)
            for one in {one for group in self.sockets for one in group}:
                take_no_more(one)
        self.is_drained = True

    def undrain(self) -> None:
        """Let clients connect again. Raises: OSError."""
        if self.listener.address.is_stream and self.is_drained:
            if self.listener.address.is_unix:
                drained_sockets.show(self.listener.address.path)
            for one in {one for group in self.sockets for one in group}:
                drained_sockets.admit_clients(one, self.listener.backlog)
        self.is_drained = False

    def close(self, *, unlink: bool = True) -> None:
        """Close the sockets. With `unlink` the file of a Unix socket is removed, unless it was replaced.

        Sockets of the service manager listen again: it starts the program at the next client.
        """
        if self.is_drained and self.is_inherited and not self.is_borrowed and unlink:
            with contextlib.suppress(OSError):
                self.undrain()
        for group in self.sockets:
            for one in group:
                one.close()
        path = self.file
        if unlink and not self.is_borrowed and self._identity is not None and file_identity(path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(path)


def bind(
    listener: Listener,
    workers: int,
    *,
    own_ports: frozenset[int] | set[int] = frozenset(),
    inherited: Sequence[socket.socket] = (),
    listens: bool = True,
) -> Binding:
    """Bind `listener` for `workers` processes.

    Args:
        own_ports: ports on which this program listens already: they are shared, not reported as in use.
        inherited: sockets bound by the service manager (systemd socket activation).
        listens: whether clients can connect already; if not, they are refused until `Binding.listen` is called.

    Raises: StartError with the listener, its place in the config and the remedy.
    """
    address = listener.address
    try:
        if adopted := _adopt(listener, inherited):
            return Binding(listener, share_between(listener, adopted, workers), is_inherited=True)
        if address.is_unix:
            kind = socket.SOCK_STREAM if address.is_stream else socket.SOCK_DGRAM
            binding = Binding(
                listener, [(bind_unix(listener.address.path, kind, listener.mode),)] * workers, owns_file=True
            )
        else:
            sockets = _bind_inet(listener, workers, own_ports)
            if listener.address.scheme == QUIC and workers > 1:
                sockets = _add_handover(sockets) if BALANCES_PORTS else share_between(listener, sockets[0], workers)
            binding = Binding(listener, sockets)
        if listens:
            try:
                binding.listen()
            except OSError:
                binding.close()
                raise
        return binding
    except OSError as error:
        raise StartError(f"listener {listener.name!r} ({listener.place}): {explain(error, address)}") from error


def explain(error: OSError, address: Address) -> str:
    """Return an error message for a listener on `address`: what is wrong, and the remedy."""
    if isinstance(error, socket.gaierror):
        return f"no address found for host {address.host!r}: use an address of this machine, or leave the host empty"
    if address.is_unix:
        return _explain_unix(error, address.path)
    if error.errno == errno.EADDRINUSE:
        from npserver.listen.port_owner import name_port_owner

        owner = name_port_owner(address.port, is_stream=address.is_stream)
        by = f" by {owner}" if owner else ""
        port = f"port {address.port}" if address.is_stream else f"UDP port {address.port}"
        return f"{port} is in use{by}: end that program, or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM) and address.port < 1024:
        return (
            f'port {address.port} needs privileges: run as root (and set "user"), give Python the capability '
            "cap_net_bind_service, or choose a port from 1024 up"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address.host} is not an address of this machine: `ip address` shows those that are"
    return f"cannot listen on {address}: {error.strerror or error}"


def _explain_unix(error: OSError, path: str) -> str:
    directory = os.path.dirname(path) or "."
    if error.errno == errno.EADDRINUSE:
        return f"another program listens on {path}: end it, or choose another path"
    if error.errno == errno.EEXIST:
        return f"{path} exists and is not a socket: remove it, or choose another path"
    if error.errno == errno.ENOENT:
        return f"directory {directory} does not exist: create it"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to create {path}: allow writing to {directory}, or choose another path"
    if error.errno in (None, errno.ENAMETOOLONG, errno.EINVAL):
        return f"path {path} is too long for a Unix socket (about 100 bytes): choose a shorter one"
    return f"cannot listen on {path}: {error.strerror or error}"


# ── TCP and UDP ──────────────────────────────────────────────────────────────────────────────────


def _bind_inet(
    listener: Listener, workers: int, own_ports: frozenset[int] | set[int]
) -> list[tuple[socket.socket, ...]]:
    address = listener.address
    kind = socket.SOCK_STREAM if address.is_stream else socket.SOCK_DGRAM
    opened: list[socket.socket] = []
    columns: list[list[socket.socket]] = []
    try:
        for family, place in _places(address, kind):
            try:
                first = _open(family, kind, place, dual=not address.host, shared=address.port in own_ports)
            except OSError as error:
                if address.host or family != socket.AF_INET6 or not _lacks_ipv6(error):
                    raise
                # a kernel without IPv6: listen on all IPv4 addresses
                first = _open(socket.AF_INET, kind, ("0.0.0.0", address.port), shared=address.port in own_ports)
            opened.append(first)
            column = [first] * workers
            if BALANCES_PORTS:
                # The first socket is bound without SO_REUSEPORT, so that a port in use is an error; then it is shared.
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                for number in range(1, workers):
                    column[number] = _open(first.family, kind, first.getsockname(), dual=not address.host, shared=True)
                    opened.append(column[number])
            columns.append(column)
    except OSError:
        for one in opened:
            one.close()
        raise
    return [tuple(column[number] for column in columns) for number in range(workers)]


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
        while len(column) < workers:
            column.append(_open(first.family, first.type, first.getsockname(), dual=dual, shared=True))
            if listens and listener.address.is_stream:
                column[-1].listen(listener.backlog)
        for number, one in enumerate(column):
            found[number % workers] += (one,)
    return _add_handover(found) if listener.address.scheme == QUIC and workers > 1 else found


def share_between(
    listener: Listener, sockets: tuple[socket.socket, ...], workers: int
) -> list[tuple[socket.socket, ...]]:
    """Return the sockets of each worker where there are not some for each of them.

    All share these; of QUIC one worker has them alone, as the kernel would give each datagram of a client to another.
    """
    if listener.address.scheme == QUIC:
        return [sockets, *[()] * (workers - 1)]
    return [sockets] * workers


def _add_handover(sockets: list[tuple[socket.socket, ...]]) -> list[tuple[socket.socket, ...]]:
    """Add the sockets by which workers hand each other datagrams of QUIC."""
    from npserver.listen.quic.handover import HandoverSockets

    handover = HandoverSockets(len(sockets))
    return [(*own, *handover.sockets(worker)) for worker, own in enumerate(sockets)]


def _places(address: Address, kind: socket.SocketKind) -> list[tuple[socket.AddressFamily, SocketAddress]]:
    """Return the family and the socket address of each socket to open."""
    if not address.host:
        if socket.has_ipv6:
            return [(socket.AF_INET6, ("::", address.port))]
        return [(socket.AF_INET, ("0.0.0.0", address.port))]
    host = address.host.encode("ascii")  # a str would make Python import its IDNA tables
    found = socket.getaddrinfo(host, address.port, type=kind, flags=socket.AI_PASSIVE)
    places: dict[tuple[socket.AddressFamily, SocketAddress], None] = {}
    for family, _, _, _, place in found:
        if family in (socket.AF_INET, socket.AF_INET6):
            places[family, place] = None  # type: ignore[index]
    ordered = sorted(places, key=lambda one: one[0] != socket.AF_INET)
    return ordered if address.port else ordered[:1]  # two sockets would get different ports


def _open(
    family: int, kind: socket.SocketKind, place: SocketAddress, *, dual: bool = False, shared: bool = False
) -> socket.socket:
    one = socket.socket(family, kind)
    try:
        one.setblocking(False)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        if kind is socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        if shared and BALANCES_PORTS:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(place)
    except OSError:
        one.close()
        raise
    return one


def _lacks_ipv6(error: OSError) -> bool:
    return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


# ── Sockets bound by the service manager ─────────────────────────────────────────────────────────


def _adopt(listener: Listener, inherited: Sequence[socket.socket]) -> tuple[socket.socket, ...]:
    """Return the inherited sockets that match the listener's address."""
    kind = socket.SOCK_STREAM if listener.address.is_stream else socket.SOCK_DGRAM
    adopted = tuple(one for one in inherited if one.type == kind and _serves(one, listener.address))
    for one in adopted:
        one.setblocking(False)
        if kind is socket.SOCK_STREAM:
            take_again(one)  # a program that was killed may have drained it
            one.listen(listener.backlog)
    return adopted


def _serves(one: socket.socket, address: Address) -> bool:
    name = one.getsockname()
    if one.family == socket.AF_UNIX:
        return address.is_unix and bool(name == address.path)
    if address.is_unix or name[1] != address.port:
        return False
    return name[0] in ((address.host,) if address.host else ("::", "0.0.0.0"))
