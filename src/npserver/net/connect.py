"""Opening a connection without a task: a socket on its way to being a `SocketStream`, or the loop's own coroutine.

For what happens once per client: a task, its place among all tasks and its turns in the loop are a tenth of what a
forwarded connection costs.
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
from npserver.net.step_coroutine import Opening

if TYPE_CHECKING:
    from npserver.net.poller import Poller
    from npserver.runtime.context import Context

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)


class Attempt(Protocol):
    """A connection to be opened."""

    def start(self, host: str, port: int) -> None:
        """Connect to a literal address: go as far as it goes at once."""

    def cancel(self) -> None:
        """Give up; what was opened is closed."""


def new_attempt(
    context: Context, factory: Callable[[], asyncio.Protocol], done: Callable[[Exception | None], None]
) -> Attempt:
    """What opens a connection in this process. `factory` makes the protocol once connected.

    `done` is then told that all is well, or what went wrong: once, maybe before `start` returns, never after `cancel`.
    """
    poller = POLLER.of(context)
    return LoopConnecting(context.loop, factory, done) if poller is None else Connecting(poller, factory, done)


class LoopConnecting:
    """One attempt, by the loop's own coroutine."""

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
        self._opening: Opening | None = None

    def start(self, host: str, port: int) -> None:
        """Go as far as it goes at once."""
        self._opening = Opening(self._loop.create_connection(self._factory, host, port), self._done)
        self._opening.start()

    def cancel(self) -> None:
        """Give up."""
        if self._opening is not None:
            self._opening.cancel()


class Connecting:
    """One attempt, told by the poller how it went."""

    __slots__ = ("_done", "_factory", "_poller", "_sock")

    def __init__(
        self, poller: Poller, factory: Callable[[], asyncio.Protocol], done: Callable[[Exception | None], None]
    ) -> None:
        self._poller = poller
        self._factory = factory
        self._done = done
        self._sock: socket.SocketType | None = None

    def start(self, host: str, port: int) -> None:
        """Go as far as it goes at once."""
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
            self._made(-1)

    def cancel(self) -> None:
        """Give up."""
        self._drop()

    def _ready(self, events: int) -> None:
        # hot: tcp-connect
        if self._sock is not None:
            if failure := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._failed(failure)
            else:
                self._made(events)

    def _made(self, events: int) -> None:
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
