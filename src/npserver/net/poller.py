"""Readiness of sockets, edge-triggered: each is registered with the kernel once, and told of what is new.

The event loop watches one epoll(7) descriptor; behind it lie the connections that forwards relay (`net.socket_stream`),
those being opened (`net.connect`) and the sockets they are accepted on (`listen.acceptor`). A loop's own registration
is level-triggered: it is looked at again after each event, changed whenever reading stops or writing has to wait, and
taken back at the end. Here it is one system call in a connection's life.

Linux only. Elsewhere `POLLER` gives None, and connections are the loop's own transports.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    import asyncio


log = logging.getLogger("npserver.server")

IS_POSSIBLE = hasattr(select, "epoll")
MOST_AT_ONCE = 256  # events taken before timers and other descriptors get their turn

#: Bits of what is told; READABLE: bytes or an end of them, ENDED: there is such an end, or the connection has failed.
READABLE = WRITABLE = ENDED = 0
_EDGES = _LEVEL = 0
if IS_POSSIBLE:
    ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    READABLE = select.EPOLLIN | ENDED
    WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
    _LEVEL = select.EPOLLIN
    _EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

#: Called with the bits of what has come.
Ready = Callable[[int], None]


class Poller:
    """The sockets of one process."""

    __slots__ = ("__weakref__", "_epoll", "_gone", "_is_turning", "_later", "_loop", "_ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        # the turn
        self._is_turning = False
        self._gone: set[int] = set()  # forgotten in this turn: what it still holds for their numbers is not theirs
        self._later: list[Callable[[], None]] = []
        loop.add_reader(self._epoll.fileno(), self._turn)

    def __repr__(self) -> str:
        return f"<Poller {len(self._ready)}>"

    def watch(self, number: int, ready: Ready, *, is_listening: bool = False) -> None:
        """Tell `ready` of what is new at descriptor `number`, beginning with what is so now. A listening socket is told
        of as long as clients wait."""
        self._ready[number] = ready
        self._epoll.register(number, _LEVEL if is_listening else _EDGES)

    def hand_over(self, number: int, ready: Ready) -> None:
        """Tell another from now on."""
        self._ready[number] = ready

    def forget(self, number: int) -> None:
        """Tell nobody any more. The descriptor is to be closed, which is what ends its registration."""
        if self._ready.pop(number, None) is not None and self._is_turning:
            self._gone.add(number)

    def unwatch(self, number: int) -> None:
        """The same for a descriptor that others hold open."""
        self.forget(number)
        if not self._epoll.closed:
            self._epoll.unregister(number)

    def close(self) -> None:
        """Watch nothing any more. What is left to be told of `soon` still is."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._ready.clear()

    def soon(self, call: Callable[[], None]) -> None:
        """Call before the next events are taken, but not from within the caller."""
        if self._is_turning:
            self._later.append(call)
        else:
            self._loop.call_soon(call)

    def later(self, call: Callable[[], None]) -> None:
        """Call after other events have had their turn."""
        self._loop.call_soon(call)

    def _turn(self) -> None:
        """Tell of everything that is new."""
        # hot: tcp-connect, tcp-messages
        listeners, gone = self._ready, self._gone
        self._is_turning = True
        try:
            for number, bits in self._epoll.poll(0, MOST_AT_ONCE):
                if gone and number in gone:
                    continue
                ready = listeners.get(number)
                if ready is not None:
                    try:
                        ready(bits)
                    except Exception:  # a connection's boundary: streams see to their own, this is for the others
                        log.exception("error in serving a socket")
        finally:
            self._is_turning = False
            gone.clear()
        if self._later:
            self._call_later()

    def _call_later(self) -> None:
        # hot: tcp-connect
        calls, self._later = self._later, []
        for call in calls:
            try:
                call()
            except Exception:
                log.exception("error in ending a connection")


#: The poller of a process; None where the system has none.
POLLER: PerProcess[Poller | None] = PerProcess(lambda context: Poller(context.loop) if IS_POSSIBLE else None)
