"""Connect to a literal address without a Task: with the poller to a `SocketStream`, else with asyncio's transports.

A Task takes a tenth of the time that a forwarded connection costs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from npserver.net.poller import POLLER
from npserver.net.socket_options import tune
from npserver.net.socket_stream import SocketStream
from npserver.net.step_coroutine import CoroutineStepper

if TYPE_CHECKING:
    from npserver.net.poller import Poller
    from npserver.runtime.context import Context

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)


class Attempt(Protocol):
    """One attempt to connect."""

    def start(self, host: str, port: int) -> None:
        """Start to connect to a literal address; this may end immediately."""

    def cancel(self) -> None:
        """Stop, and close what has been opened."""


def new_attempt(
    context: Context, factory: Callable[[], asyncio.Protocol], done: Callable[[Exception | None], None]
) -> Attempt:
    """Return an attempt to connect. `factory` makes the protocol once connected.

    `done` is called once with the error or None, perhaps before `start` returns; never after `cancel`.
    """
    poller = POLLER.of(context)
    return LoopAttempt(context.loop, factory, done) if poller is None else SocketAttempt(poller, factory, done)


class LoopAttempt:
    """An attempt with `loop.create_connection`."""

    __slots__ = ("_done", "_factory", "_loop", "_opening")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.Protocol],
        done: Callable[[Exception | None], None],
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._done = done
        self._opening: CoroutineStepper | None = None

    def start(self, host: str, port: int) -> None:
        """Start to connect to a literal address."""
        self._opening = CoroutineStepper(self._loop.create_connection(self._factory, host, port), self._done)
        self._opening.start()

    def cancel(self) -> None:
        """Stop, and close the socket."""
        if self._opening is not None:
            self._opening.cancel()


class SocketAttempt:
    """An attempt with a socket of its own, whose result the poller reports."""

    __slots__ = ("_done", "_factory", "_poller", "_sock")

    def __init__(
        self, poller: Poller, factory: Callable[[], asyncio.Protocol], done: Callable[[Exception | None], None]
    ) -> None:
        self._poller = poller
        self._factory = factory
        self._done = done
        self._sock: socket.SocketType | None = None

    def start(self, host: str, port: int) -> None:
        """Start to connect to a literal address."""
        # hot: tcp-connect
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._sock = sock = socket.SocketType(family, socket.SOCK_STREAM | _NONBLOCK)
            tune(sock, host)
            failure = sock.connect_ex((host, port))
            if failure == errno.EINPROGRESS:
                self._poller.watch(sock.fileno(), self._ready)
                return
        except OSError as error:
            self._drop()
            self._done(error)
            return
        if failure:
            self._failed(failure)
        else:
            self._connected(-1)

    def cancel(self) -> None:
        """Stop, and close the socket."""
        self._drop()

    def _ready(self, events: int) -> None:
        # hot: tcp-connect
        if self._sock is not None:
            if failure := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._failed(failure)
            else:
                self._connected(events)

    def _connected(self, events: int) -> None:
        sock, self._sock = self._sock, None
        SocketStream(self._poller, sock).start(self._factory(), events)  # type: ignore[arg-type]
        self._done(None)

    def _failed(self, failure: int) -> None:
        self._drop()
        self._done(OSError(failure, os.strerror(failure)))

    def _drop(self) -> None:
        if (sock := self._sock) is not None:
            self._sock = None
            self._poller.forget(sock.fileno())
            sock.close()
