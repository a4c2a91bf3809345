"""Edge-triggered readiness of sockets with epoll(7): each socket is registered once.

The event loop watches one epoll descriptor. It covers the connections that forwards relay (`net.socket_stream`), those
being opened (`net.connect`) and listening sockets (`listen.acceptor`). An event loop's own registrations are
level-triggered: they change whenever reading pauses or writing has to wait. Here a connection takes one system call.

Linux only. Elsewhere `POLLER` is None, and connections are transports of the event loop.
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
BATCH = 256  # events handled before timers and other descriptors get their turn

#: Event bits. READABLE: data or end of file can be read. ENDED: the peer has closed, or the connection has failed.
READABLE = WRITABLE = ENDED = 0
_EDGES = _LEVEL = 0
if IS_POSSIBLE:
    ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    READABLE = select.EPOLLIN | ENDED
    WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
    _LEVEL = select.EPOLLIN
    _EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

#: Called with event bits.
Ready = Callable[[int], None]


class Poller:
    """The poller of one process."""

    __slots__ = ("__weakref__", "_epoll", "_gone", "_is_polling", "_later", "_loop", "_ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self._is_polling = False
        self._gone: set[int] = set()  # descriptors forgotten while events are handled: later events are not theirs
        self._later: list[Callable[[], None]] = []
        loop.add_reader(self._epoll.fileno(), self._poll)

    def __repr__(self) -> str:
        return f"<Poller {len(self._ready)}>"

    def watch(self, number: int, ready: Ready, *, is_listening: bool = False) -> None:
        """Call `ready` with the events of descriptor `number`, first with its present state.

        Listening sockets are level-triggered: `ready` is called as long as clients wait.
        """
        self._ready[number] = ready
        self._epoll.register(number, _LEVEL if is_listening else _EDGES)

    def rewatch(self, number: int, ready: Ready) -> None:
        """Replace the callback of a watched descriptor."""
        self._ready[number] = ready

    def forget(self, number: int) -> None:
        """Drop the callback of a descriptor that is about to be closed; closing ends its registration."""
        if self._ready.pop(number, None) is not None and self._is_polling:
            self._gone.add(number)

    def unwatch(self, number: int) -> None:
        """Drop the callback and the registration of a descriptor that stays open."""
        self.forget(number)
        if not self._epoll.closed:
            self._epoll.unregister(number)

    def close(self) -> None:
        """Stop watching all descriptors. Calls scheduled with `soon` are still made."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._ready.clear()

    def soon(self, call: Callable[[], None]) -> None:
        """Call `call` before the next events are polled, but after the caller has returned."""
        if self._is_polling:
            self._later.append(call)
        else:
            self._loop.call_soon(call)

    def later(self, call: Callable[[], None]) -> None:
        """Call `call` after other events of the loop."""
        self._loop.call_soon(call)

    def _poll(self) -> None:
        """Called by the event loop: handle a batch of events."""
        # hot: tcp-connect, tcp-messages
        listeners, gone = self._ready, self._gone
        self._is_polling = True
        try:
            for number, bits in self._epoll.poll(0, BATCH):
                if gone and number in gone:
                    continue
                ready = listeners.get(number)
                if ready is not None:
                    try:
                        ready(bits)
                    except Exception:  # an error in one connection must not stop the others
                        log.exception("error while serving a socket")
        finally:
            self._is_polling = False
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
                log.exception("error while closing a connection")


#: The poller of a process; None where the system has none.
POLLER: PerProcess[Poller | None] = PerProcess(lambda context: Poller(context.loop) if IS_POSSIBLE else None)
