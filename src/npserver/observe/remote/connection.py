"""Send the messages of a log to a syslog server or the journal, without ever keeping a request or a query waiting.

Messages wait in a bounded queue while the receiver cannot be reached or is slow; what does not fit is dropped and
counted, and the server log says when that begins and ends. `observe.line_log` calls `write_lines` with new messages,
and every quarter of a second as long as `is_behind`, which is when connecting is tried again. Each process has its own
connection. Syslog over UDP (RFC 5426), over TCP with octet counting (RFC 6587 §3.4.1), over TLS (RFC 5425).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, cast

from npserver.errors import clip
from npserver.observe.log_file import ignore
from npserver.observe.remote.destinations import Destination, parse_destination
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.observe.config import LogDestination

log = logging.getLogger("npserver.server")

MAX_WAITING = 1 << 20  # bytes of messages that wait
MAX_DATAGRAM = 60_000  # bytes; longer messages are cut
CONNECT_S = 5.0  # to resolve the name, to connect, and for the TLS handshake
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before each further attempt to connect
QUIET_S = 10.0  # a receiver works again when nothing was dropped or refused for so long


class RemoteLog:
    """The connection of one process to one receiver."""

    is_coloured = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        destination: Destination,
        tls: ssl.SSLContext | None = None,
        what: str = "access log",
        key: str = "logging.access_log",
    ) -> None:
        """Make it; nothing is connected before there is a message. `what` and `key`: of messages about it."""
        self._what, self._key = what, key
        self._loop = loop
        self._name = name
        self._to = destination
        self._tls = tls
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._socket: socket.socket | None = None
        self._stream: _Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0  # attempts to connect in a row
        self._next_try = 0.0  # monotonic
        self._connected_at = 0.0
        self._refused_at = 0.0
        self._is_failing = False
        self._is_closed = False
        self.dropped = 0  # lines since the receiver could be reached last
        self.on_lost: Callable[[int], None] = ignore  # called with the number of lines that are dropped

    def __repr__(self) -> str:
        return f"<RemoteLog {self._name} waiting={len(self._queue)} dropped={self.dropped}>"

    @property
    def is_behind(self) -> bool:
        """Whether messages wait."""
        return bool(self._queue)

    def write_lines(self, lines: Sequence[str]) -> None:
        """Send messages, after those that wait."""
        for line in lines:
            message = line.encode("utf-8", "backslashreplace")
            if self._to.is_stream:
                message = b"%d %b" % (len(message), message)
            elif len(message) > MAX_DATAGRAM:
                message = (
                    message[:MAX_DATAGRAM].decode("utf-8", "ignore").encode() + b"\n"[: self._to.form == "journal"]
                )
            if self._queued_bytes + len(message) > MAX_WAITING:
                self._drop(1)
            else:
                self._queue.append(message)
                self._queued_bytes += len(message)
        self._pump()

    def reopen(self) -> None:
        """Do nothing: it is no file that could be moved."""

    def close(self) -> None:
        """Send what can be sent at once, and break off the connection; the rest is dropped."""
        if not self._is_closed:
            self._pump()
        self._is_closed = True
        if self._queue:
            self._drop(len(self._queue))
            self._queue.clear()
            self._queued_bytes = 0
        if self._task is not None:
            self._task.cancel()
        if self._stream is not None:
            self._stream.transport.abort()  # a loop of uvloop would not end before a slow receiver has read everything
        self._close_socket()

    async def finish(self, timeout_s: float) -> None:
        """Send what waits, for `timeout_s` at most, and close the connection."""
        self._next_try = 0.0
        try:
            async with asyncio.timeout(timeout_s):
                while self._queue:
                    self._pump()
                    await asyncio.sleep(0.01)
                if self._stream is not None:
                    self._stream.transport.close()
                    await self._stream.lost.wait()
        except TimeoutError:
            pass
        self.close()

    # ── sending ──

    def _pump(self) -> None:
        """Send messages as long as the receiver takes them."""
        if not self._queue or self._is_closed:
            return
        if self._to.is_stream:
            self._pump_stream()
        else:
            self._pump_datagrams()

    def _pump_stream(self) -> None:
        stream = self._stream
        if stream is None:
            self._connect_soon()
            return
        while self._queue and not stream.is_paused and not stream.transport.is_closing():
            stream.transport.write(self._take())
        self._note_success()

    def _pump_datagrams(self) -> None:
        if self._socket is None and not self._open_socket():
            return
        assert self._socket is not None
        while self._queue:
            try:
                self._socket.send(self._queue[0])
            except BlockingIOError:
                return  # the receiver is slow
            except ConnectionRefusedError as error:
                self._refused(error)
                if self._to.path:
                    return
                self._drop(1)
                continue  # an ICMP message about an earlier datagram, which is lost
            except OSError as error:
                self._take()
                self._drop(1)
                self._refused(error)
                if self._to.path:
                    return
                continue
            self._take()
        self._note_success()

    def _note_success(self) -> None:
        if self._is_failing and not self._queue and monotonic() - self._refused_at > QUIET_S:
            self._reached()

    def _take(self) -> bytes:
        message = self._queue.popleft()
        self._queued_bytes -= len(message)
        return message

    # ── connecting ──

    def _open_socket(self) -> bool:
        """Open the socket of datagrams. Return whether there is one now."""
        if not self._to.path:
            self._connect_soon()
            return False
        if monotonic() < self._next_try:
            return False
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        try:
            sock.connect(self._to.path)
        except OSError as error:
            sock.close()
            self._failed(error)
            return False
        self._socket = sock
        self._reached()
        return True

    def _connect_soon(self) -> None:
        if self._task is None and monotonic() >= self._next_try and self._loop.is_running():
            self._task = spawn(self._connect(), f"connecting to {self._name}", None)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                if self._to.is_stream:
                    name = self._to.host if self._tls is not None else None
                    _, self._stream = await self._loop.create_connection(
                        lambda: _Stream(self), self._to.host, self._to.port, ssl=self._tls, server_hostname=name
                    )
                else:
                    (family, kind, protocol, _, address), *_ = await self._loop.getaddrinfo(
                        self._to.host, self._to.port, type=socket.SOCK_DGRAM
                    )
                    sock = socket.socket(family, kind, protocol)
                    sock.setblocking(False)
                    sock.connect(address)
                    self._socket = sock
        except (OSError, TimeoutError) as error:  # `ssl.SSLError` too
            self._task = None
            self._failed(error)
            return
        self._task = None
        if self._is_closed:
            self.close()
            return
        self._reached()
        self._pump()

    def stream_lost(self, error: Exception | None) -> None:
        """Called when the stream is closed."""
        self._stream = None
        if monotonic() - self._connected_at > QUIET_S:
            self._failures = 0  # else it does not accept what it is sent
        if not self._is_closed:
            self._failed(error or ConnectionResetError("connection closed"))

    def _refused(self, error: OSError) -> None:
        """A datagram was not taken. The receiver of a Unix socket is gone: it is connected to again."""
        if self._to.path:
            self._close_socket()
            self._failed(error)
            return
        self._refused_at = monotonic()
        self._tell(error)

    def _failed(self, error: BaseException) -> None:
        """The receiver cannot be reached: it is tried again after a pause."""
        self._next_try = monotonic() + PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
        self._failures += 1
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.error(
                "cannot send the %s to %s (%s); %d KB of lines wait, more are dropped: %s",
                self._what, clip(self._name), self._key, MAX_WAITING >> 10,
                getattr(error, "strerror", None) or str(error) or "timed out",
            )  # fmt: skip

    def _reached(self) -> None:
        self._connected_at = monotonic()
        if self._is_failing:
            self._is_failing = False
            log.warning("the %s is sent to %s again, %d lines were dropped", self._what, clip(self._name), self.dropped)
            self.dropped = 0

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self.on_lost(lines)
        self._refused_at = monotonic()
        if not self._is_failing and not self._is_closed:
            self._is_failing = True
            log.error("%s takes the %s too slowly (%s), lines are dropped", clip(self._name), self._what, self._key)

    def _close_socket(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()


def make_remote_log(
    loop: asyncio.AbstractEventLoop, config: LogDestination, directory: str, what: str, key: str
) -> tuple[RemoteLog, str]:
    """Return the connection for `to` of a log, which has been checked, and the form of its messages."""
    destination = parse_destination(config.to)
    assert destination is not None
    tls = None
    if destination.uses_tls:
        try:
            tls = make_tls_context(config.ca, directory)
        except OSError as error:
            why = error.strerror or "no certificates in it"
            log.error("cannot read the certificates of the %s %s (ca): %s", what, clip(config.to), why)
            tls = ssl.create_default_context()
    return RemoteLog(loop, config.to, destination, tls, what, key), destination.form


def make_tls_context(ca: str | None, directory: str) -> ssl.SSLContext:
    """Return the settings of TLS for a syslog server. Raises: OSError."""
    return ssl.create_default_context(cafile=None if ca is None else os.path.join(directory, ca))


class _Stream(asyncio.Protocol):
    """A connection to a syslog server, which sends nothing."""

    def __init__(self, log: RemoteLog) -> None:
        self._log = log
        self.is_paused = False
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._log.write_lines(())

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
        self._log.stream_lost(error)
