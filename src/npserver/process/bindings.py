"""All listening sockets of the program. The master, or the single process, owns them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.errors import StartError, reason_of
from npserver.listen.binding import Binding, bind, explain

if TYPE_CHECKING:
    from npserver.listen.listener import Listener
    from npserver.process.upgrade.handed_sockets import HandedSockets

CHOICES = 10  # of a port by the system: that of TCP, for HTTP/3, may be another program's for UDP
RELEASE_WITHIN_S = 10.0  # a worker may hold a removed socket this long, to accept connections queued on it


class Bindings:
    """The open bindings by listener key. A reload prepares the next set and then commits or abandons it."""

    __slots__ = ("_handed", "_inherited", "_owner", "_removed", "_workers", "current")

    def __init__(
        self,
        workers: int,
        inherited: Sequence[socket.socket] = (),
        handed: Mapping[str, HandedSockets] | None = None,
        owner: int | None = None,
    ) -> None:
        """Create it without bindings.

        Args:
            handed: sockets of the npserver that this one succeeds, by listener key.
            owner: the user that the workers run as, if it is another one.
        """
        self.current: dict[str, Binding] = {}
        self._handed = dict(handed or {})
        self._workers = workers
        self._inherited = inherited
        self._owner = owner
        self._removed: dict[int, float] = {}  # ports that a reload has removed, with the time

    def prepare(self, listeners: Sequence[Listener], *, choices: int = CHOICES) -> dict[str, Binding]:
        """Bind the listeners that are not bound yet. Return the bindings of all `listeners` by key.

        Clients can connect at once at the start; to those that a reload adds, when they are committed: a reload that is
        abandoned has taken no client. `choices`: how often the system may choose other ports.

        Raises: StartError, with the new bindings closed again.
        """
        prepared: dict[str, Binding] = {}
        ports = {address.port for binding in self.current.values() for address in binding.addresses}
        ports |= {address[1] for one in self._handed.values() for address in _inet_names(one)}
        ports |= {port for port, when in self._removed.items() if when + RELEASE_WITHIN_S > monotonic()}
        try:
            for listener in listeners:
                binding = self.current.get(listener.key) or self._open(listener, prepared, ports)
                prepared[listener.key] = binding
                ports |= {address.port for address in binding.addresses}
        except StartError:
            self.abandon(prepared)
            if choices > 1 and listener.port_of and not listener.address.port:
                return self.prepare(listeners, choices=choices - 1)
            raise
        return prepared

    def _open(self, listener: Listener, prepared: dict[str, Binding], ports: set[int]) -> Binding:
        handed = self._handed.get(listener.key)
        if handed is not None:
            try:
                return handed.binding(listener, self._workers)
            except OSError as error:
                reason = explain(error, listener.address)
                raise StartError(f"listener {listener.name!r} ({listener.place}): {reason}") from error
        return bind(
            _with_port(listener, prepared),
            self._workers,
            own_ports=ports,
            inherited=self._inherited,
            listens=not self.current,
            owner=self._owner,
        )

    def own(self) -> None:
        """The npserver that this one succeeds has ended its listeners: from now on nobody else serves the sockets."""
        for binding in self.current.values():
            binding.own()

    def lend(self, keys: Iterable[str]) -> None:
        """Another npserver succeeds this one, and serves the sockets of these listeners."""
        for key in keys:
            if key in self.current:
                self.current[key].is_borrowed = True

    def discard_handed(self) -> list[str]:
        """Close the handed sockets of listeners that the config does not have. Return the keys of the others."""
        used = [key for key in self._handed if key in self.current]
        for key, handed in self._handed.items():
            if key not in self.current:
                handed.close()
        self._handed = {}
        return used

    @property
    def inherited(self) -> Sequence[socket.socket]:
        """The sockets that the service manager has passed to this program, used or not."""
        return self._inherited

    def abandon(self, prepared: dict[str, Binding]) -> None:
        """Close the bindings that `prepare` made for a config that is not used."""
        for key, binding in prepared.items():
            if key not in self.current:
                binding.close()

    def commit(self, prepared: dict[str, Binding], listeners: Iterable[Listener]) -> list[str]:
        """Make `prepared` the current bindings, and close those that are not among them.

        Return what could not be applied to those that stay.
        """
        faults: list[str] = []
        for key, binding in self.current.items():
            if key not in prepared:
                self._removed |= dict.fromkeys([address.port for address in binding.addresses], monotonic())
                binding.take_no_more()
                binding.close()
        for listener in listeners:
            binding = prepared[listener.key]
            try:
                if listener.key not in self.current:
                    binding.listen()
                binding.relisten(listener)
            except OSError as error:
                reason = reason_of(error)
                faults.append(f"listener {listener.name!r} ({listener.place}): its sockets cannot be changed: {reason}")
        self.current = prepared
        return faults

    def sockets(self, worker: int) -> dict[str, tuple[socket.socket, ...]]:
        """Return the sockets that `worker` serves, by listener key; none for the controller (-1)."""
        if worker < 0:
            return {}
        return {key: binding.sockets[worker] for key, binding in self.current.items()}

    def close_all_but(self, worker: int) -> None:
        """Close the sockets that other processes serve. Called in a child."""
        kept = {one for group in self.sockets(worker).values() for one in group}
        for binding in self.current.values():
            for group in binding.sockets:
                for one in group:
                    if one not in kept:
                        one.close()

    def close(self) -> None:
        """Let no further client connect, close all sockets, and remove the files of Unix sockets."""
        for binding in self.current.values():
            binding.take_no_more()
            binding.close()
        self.current = {}


def _inet_names(handed: HandedSockets) -> list[tuple[str, int]]:
    return [one.getsockname()[:2] for one in handed.groups[0] if one.family != socket.AF_UNIX]


def _with_port(listener: Listener, prepared: dict[str, Binding]) -> Listener:
    """Return the listener with the port of the one that it shares it with, if the kernel has chosen that."""
    if not listener.port_of or listener.address.port:
        return listener
    port = prepared[listener.port_of].addresses[0].port
    return replace(listener, address=replace(listener.address, port=port))
