"""Accepting connections with their first bytes, for the front to answer before the loop makes a transport of them.

Much of what a short connection costs is its transport: registered with the kernel, known to the loop, closed in turns.
Here the kernel holds connections back until their first bytes have come (TCP_DEFER_ACCEPT in tcp(7); silent ones come a
second later), and a front with a `greet` looks at the socket first. What it does not end there is handed to the loop
(`hand_over`) and goes the ordinary way. Used by `net.listener` where clients speak first and in the clear: HTTP over
TCP, without TLS or a PROXY header.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Protocol

from npserver.net.opening import Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.net.listener import LiveListener

log = logging.getLogger("npserver.server")

IS_POSSIBLE = hasattr(socket, "TCP_DEFER_ACCEPT")  # Linux
DEFER_S = 1  # silent connections are accepted too after that time; less is not possible
MOST_AT_ONCE = 32  # connections accepted before others get their turn
PAUSE_S = 0.1  # after a failure that will not be over at once, such as having no descriptor left


class Caller(Protocol):
    """A connection's socket as the system has it: calls do not wait with `socket.MSG_DONTWAIT`."""

    def recv(self, size: int, flags: int, /) -> bytes: ...

    def send(self, data: bytes, flags: int, /) -> int: ...

    def sendmsg(self, buffers: tuple[bytes, ...], ancillary: tuple[()], flags: int, /) -> int: ...

    def detach(self) -> int: ...

    def close(self) -> None: ...


class Greeting(Protocol):
    """A front that looks at connections first."""

    def greet(self, greeter: Greeter, caller: Caller, peer: object) -> None:
        """Answer and close, or hand over. `peer`: the address as `accept` gives it. Never raises."""


class Greeter:
    """Accepts on one socket, which it closes in the end."""

    __slots__ = ("_family", "_loop", "_pause", "_sock", "live")

    def __init__(self, live: LiveListener, sock: socket.socket) -> None:
        self.live = live
        self._loop = live.context.loop
        self._sock = sock
        self._family = int(sock.family)
        self._pause: asyncio.TimerHandle | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_S)
        self._loop.add_reader(sock.fileno(), self._accept)

    def __repr__(self) -> str:
        return f"<Greeter {self.live!r}>"

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)  # others may go on with it
        self._sock.close()

    def hand_over(self, caller: Caller, protocol: asyncio.Protocol, then: Callable[[], None] | None = None) -> None:
        """Make a transport of the connection; `then` is called when `protocol` has it."""
        sock = socket.socket(self._family, socket.SOCK_STREAM, 0, caller.detach())

        def done(error: Exception | None) -> None:
            if error is not None:
                log.debug("%s: connection lost as soon as accepted: %s", self.live.listener.name, error)
                sock.close()
            elif then is not None:
                then()

        Opening(self._loop.connect_accepted_socket(lambda: protocol, sock), done).start()

    def _accept(self) -> None:
        # hot: static-connect
        greet = self.live.front.greet  # type: ignore[union-attr]
        for _ in range(MOST_AT_ONCE):
            try:
                number, peer = self._sock._accept()  # type: ignore[attr-defined]  # without a socket object of Python's
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # gone while it was queued
            except OSError as error:
                self._rest(error)
                return
            caller = socket.SocketType(self._family, socket.SOCK_STREAM, 0, number)
            greet(self, caller, peer)

    def _rest(self, error: OSError) -> None:
        """Nothing can be accepted now: leave it queued, and do not ask again at once."""
        log.warning("%s: no connection can be accepted for now: %s", self.live.listener.name, error.strerror)
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)
