"""A datagram socket connected to a target: UDP or Unix.

Each session has one, so that the kernel assigns replies to sessions and reports refusals (ICMP, RFC 1122 §4.1.3.3).
Used by `forward.datagrams` and `forward.messages`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.errors import Phase, UpstreamError, reason_of
from npserver.net.dialer import explain
from npserver.net.resolver import RESOLVER

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.runtime.context import Context

BATCH = 64  # datagrams read before other sockets get their turn
SINGLES = 16  # reads of a single datagram before it is tried again whether there are several
MAX_DATAGRAM = 65_535


def connect_now(context: Context, address: Address) -> socket.socket | None:
    """Return a socket connected to `address`; None if its host must be resolved first. Raises: OSError."""
    if address.is_unix:
        return _connect_unix(address.path)
    hosts = RESOLVER.of(context).known(address.host)
    return None if hosts is None else _connect_ip(hosts, address.port)


async def connect(context: Context, address: Address, timeout_s: float) -> socket.socket:
    """Resolve the host of `address`, and return a connected socket. Raises: UpstreamError."""
    try:
        async with asyncio.timeout(timeout_s):
            hosts = await RESOLVER.of(context).resolve(address.host)
    except OSError as error:
        raise UpstreamError(
            f"{address}: host {address.host} does not resolve: {reason_of(error)}", str(address), Phase.RESOLVE
        ) from error
    try:
        return _connect_ip(hosts, address.port)
    except OSError as error:
        raise UpstreamError(f"{address}: {explain(error)}", str(address), Phase.DIAL) from error


class DatagramLink:
    """A connected datagram socket, read by the event loop."""

    __slots__ = ("_failed", "_is_reading", "_loop", "_path", "_receive", "_singles", "_sock", "_take", "send")

    #: Send one datagram. Raises: BlockingIOError if the send buffer is full; ConnectionError for an earlier datagram.
    send: Callable[[bytes], int]

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        take: Callable[[bytes], None],
        failed: Callable[[OSError], None],
    ) -> None:
        """Own `sock` from here on. `take` is called with each datagram, `failed` with errors of the network."""
        self._loop = loop
        self._sock = sock
        self._take = take
        self._failed = failed
        self._is_reading = True
        self._singles = 0
        self._receive = sock.recv
        self.send = sock.send
        name = sock.getsockname() if sock.family == getattr(socket, "AF_UNIX", None) else ""
        self._path = name if isinstance(name, str) else ""  # removed at the end; abstract names are bytes
        loop.add_reader(sock, self._read)

    def __repr__(self) -> str:
        return f"<DatagramLink {self._sock!r}>"

    def pause(self) -> None:
        """Pause reading; the kernel buffers some datagrams and drops the rest."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        """Resume reading."""
        if not self._is_reading and self._sock.fileno() >= 0:
            self._is_reading = True
            self._loop.add_reader(self._sock, self._read)

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the socket is writable."""

        def ready() -> None:
            self._loop.remove_writer(self._sock)
            callback()

        self._loop.add_writer(self._sock, ready)

    def close(self) -> None:
        """Stop reading, and close the socket."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._is_reading = False
        self._sock.close()
        if self._path:
            _remove(self._path)

    def _read(self) -> None:  # hot: udp
        """Called by the event loop: read one datagram, or all if there tend to be several."""
        try:
            data = self._receive(MAX_DATAGRAM)
        except (BlockingIOError, InterruptedError):
            self._watch_again()  # `send` has reported the error that woke the event loop
            return
        except OSError as error:
            self._fail(error)
            return
        self._take(data)
        if self._singles:
            self._singles -= 1
            return
        count = 0
        receive, take = self._receive, self._take
        try:
            while self._is_reading and count < BATCH:
                take(receive(MAX_DATAGRAM))
                count += 1
        except (BlockingIOError, InterruptedError):
            if not count:
                self._singles = SINGLES
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Report an error of the network, such as a refusal (ICMP); the socket stays usable."""
        if self._sock.fileno() >= 0:
            self._watch_again()
            self._failed(error)

    def _watch_again(self) -> None:
        """Register the socket again. After an error libuv, and with it uvloop, no longer watches it."""
        if self._is_reading:
            self._loop.remove_reader(self._sock)
            self._loop.add_reader(self._sock, self._read)


def _connect_ip(hosts: tuple[str, ...], port: int) -> socket.socket:
    """Return a socket connected to the first address that has a route. Raises: OSError."""
    failure: OSError | None = None
    for host in hosts:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.connect((host, port))
        except OSError as error:
            sock.close()
            failure = failure or error
        else:
            return sock
    raise failure or OSError("no address")


def _connect_unix(path: str) -> socket.socket:
    """Return a connected Unix datagram socket with a name of its own, so that the target can reply."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = ""
    if sys.platform != "linux":  # Linux has abstract names
        import tempfile

        name = f"{tempfile.gettempdir()}/npserver-{secrets.token_hex(8)}.sock"
    try:
        sock.setblocking(False)
        sock.bind(name)  # Linux: autobind to an abstract name (unix(7))
        sock.connect(path)
    except OSError:
        sock.close()
        if name:
            _remove(name)
        raise
    return sock


def _remove(path: str) -> None:
    """Remove a socket file if it exists."""
    try:
        os.unlink(path)
    except OSError:
        pass
