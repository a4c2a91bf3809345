"""Binds the sockets of listeners, in the master.

Those of TCP and UDP are made by `listen.inet_sockets`. The master keeps all sockets open, so that a worker's end loses
no queued connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.address import QUIC, Address
from npserver.errors import StartError
from npserver.listen import drained_sockets, inet_sockets
from npserver.listen.client_steering import steer_more
from npserver.listen.inet_sockets import add_handover, bind_inet
from npserver.listen.last_connections import take_again, take_no_more
from npserver.listen.unix_socket import bind_unix, file_identity

if TYPE_CHECKING:
    from npserver.listen.listener import Listener


class Binding:
    """The open sockets of a listener: `sockets[n]` are those of worker n, one for each address of the host."""

    __slots__ = ("_identity", "is_borrowed", "is_drained", "is_inherited", "key", "listener", "owns_file", "sockets",
                 "steered")  # fmt: skip

    def __init__(
        self,
        listener: Listener,
        sockets: list[tuple[socket.socket, ...]],
        *,
        owns_file: bool = False,
        is_inherited: bool = False,
        is_borrowed: bool = False,
        is_drained: bool = False,
        steered: int = 0,
    ) -> None:
        self.key = listener.key
        self.steered = steered  # how many sockets of an address share its clients (`listen.client_steering`); 0: all
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
    def _every_socket(self) -> set[socket.socket]:
        """Its sockets, each once: workers may share one."""
        return {one for group in self.sockets for one in group}

    @property
    def handed(self) -> list[tuple[socket.socket, ...]]:
        """The sockets of each worker that clients reach: without those by which workers hand on datagrams of QUIC."""
        if self.listener.address.scheme != QUIC:
            return self.sockets
        return [tuple(one for one in group if one.family != socket.AF_UNIX) for group in self.sockets]

    def relisten(self, listener: Listener) -> None:
        """Apply the backlog and mode of the same listener in a new config."""
        if listener.address.is_stream and listener.backlog != self.listener.backlog:
            for one in self._every_socket:
                if drained_sockets.is_listening(one):
                    one.listen(listener.backlog)
        if listener.address.is_unix and listener.mode is not None and listener.mode != self.listener.mode:
            os.chmod(self.file, listener.mode)
        self.listener = listener

    def listen(self) -> None:
        """Let clients connect, after a `bind` that did not, unless it is drained. Raises: OSError."""
        if not self.is_drained and self.listener.address.is_stream:
            for one in self._every_socket:
                one.listen(self.listener.backlog)

    def own(self) -> None:
        """Nobody else serves the sockets any more: those that were added since share the clients, too."""
        self.is_borrowed = False
        columns: dict[object, list[socket.socket]] = {}  # by address
        for one in {one for group in self.handed for one in group}:
            columns.setdefault(one.getsockname(), []).append(one)
        count = max(map(len, columns.values()), default=0)
        if 0 < self.steered < count:
            are_steered = [steer_more(column[0], count) for column in columns.values()]  # at each address, in any case
            self.steered = count if all(are_steered) else 0

    def take_no_more(self) -> None:
        """Let no further client connect: the listener ends, and the processes that serve it accept those that have."""
        if not self.is_inherited and not self.is_borrowed:
            for one in self._every_socket:
                take_no_more(one)

    def drain(self) -> None:
        """Let no further client connect until `undrain`; the processes that serve it accept those that have. Raises:
        OSError."""
        if self.listener.address.is_stream and not self.is_drained:
            if self.listener.address.is_unix:
                drained_sockets.hide(self.listener.address.path)
            for one in self._every_socket:
                take_no_more(one)
        self.is_drained = True

    def undrain(self) -> None:
        """Let clients connect again. Raises: OSError."""
        if self.listener.address.is_stream and self.is_drained:
            if self.listener.address.is_unix:
                drained_sockets.show(self.listener.address.path)
            for one in self._every_socket:
                drained_sockets.admit_clients(one, self.listener.backlog)
        self.is_drained = False

    def close(self, *, unlink: bool = True) -> None:
        """Close the sockets. With `unlink` the file of a Unix socket is removed, unless it was replaced.

        Sockets of the service manager listen again: it starts the program at the next client.
        """
        if self.is_drained and self.is_inherited and not self.is_borrowed and unlink:
            with contextlib.suppress(OSError):
                self.undrain()
        for one in self._every_socket:
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
    owner: int | None = None,
) -> Binding:
    """Bind `listener` for `workers` processes.

    Args:
        own_ports: ports on which this program listens already: they are shared, not reported as in use.
        inherited: sockets bound by the service manager (systemd socket activation).
        listens: whether clients can connect already; if not, they are refused until `Binding.listen` is called.
        owner: the user that the workers run as, if it is another one.

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
            sockets, steered = bind_inet(listener, workers, own_ports, owner)
            if listener.address.scheme == QUIC and workers > 1:
                balances = inet_sockets.BALANCES_PORTS
                sockets = add_handover(sockets) if balances else share_between(listener, sockets[0], workers)
            binding = Binding(listener, sockets, steered=steered)
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


def share_between(
    listener: Listener, sockets: tuple[socket.socket, ...], workers: int
) -> list[tuple[socket.socket, ...]]:
    """Return the sockets of each worker where there are not some for each of them.

    All share these; of QUIC one worker has them alone, as the kernel would give each datagram of a client to another.
    """
    if listener.address.scheme == QUIC:
        return [sockets, *[()] * (workers - 1)]
    return [sockets] * workers


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
