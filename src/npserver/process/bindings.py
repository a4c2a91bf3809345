"""All listening sockets of the program, through start, reload and end. Held by the master, or by the single process."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from npserver.errors import StartError
from npserver.listen.binding import Binding, bind

if TYPE_CHECKING:
    from npserver.listen.listener import Listener

LETTING_GO_S = 10.0  # so long a worker may hold a removed socket, taking those who had connected


class Bindings:
    """The open bindings by listener key. A reload prepares the next set and then commits or abandons it."""

    __slots__ = ("_inherited", "_removed", "_workers", "current")

    def __init__(self, workers: int, inherited: Sequence[socket.socket] = ()) -> None:
        self.current: dict[str, Binding] = {}
        self._workers = workers
        self._inherited = inherited
        self._removed: dict[int, float] = {}  # ports that a reload has removed, and when

    def prepare(self, listeners: Iterable[Listener]) -> dict[str, Binding]:
        """Bind what is not bound yet. Raises: StartError, with nothing left open that was not before."""
        prepared: dict[str, Binding] = {}
        ports = {address.port for binding in self.current.values() for address in binding.addresses}
        ports |= {port for port, when in self._removed.items() if when + LETTING_GO_S > monotonic()}
        try:
            for listener in listeners:
                binding = self.current.get(listener.key) or bind(
                    listener, self._workers, own_ports=ports, inherited=self._inherited
                )
                prepared[listener.key] = binding
                ports |= {address.port for address in binding.addresses}
        except StartError:
            self.abandon(prepared)
            raise
        return prepared

    def abandon(self, prepared: dict[str, Binding]) -> None:
        """Close what was bound for a config that is not used after all."""
        for key, binding in prepared.items():
            if key not in self.current:
                binding.close()

    def commit(self, prepared: dict[str, Binding], listeners: Iterable[Listener]) -> None:
        """Make the prepared set the current one; close what it no longer holds."""
        for key, binding in self.current.items():
            if key not in prepared:
                self._removed |= dict.fromkeys([address.port for address in binding.addresses], monotonic())
                binding.close()
        for listener in listeners:
            prepared[listener.key].relisten(listener)
        self.current = prepared

    def sockets(self, worker: int) -> dict[str, tuple[socket.socket, ...]]:
        """What `worker` serves, by listener key; nothing for the controller (-1)."""
        if worker < 0:
            return {}
        return {key: binding.sockets[worker] for key, binding in self.current.items()}

    def close_all_but(self, worker: int) -> None:
        """In a child: close what the other processes serve."""
        kept = {one for group in self.sockets(worker).values() for one in group}
        for binding in self.current.values():
            for group in binding.sockets:
                for one in group:
                    if one not in kept:
                        one.close()

    def close(self) -> None:
        """Close everything; Unix sockets' files go too."""
        for binding in self.current.values():
            binding.close()
        self.current = {}
