"""Sends a part of an open file to a client: by sendfile(2) on plain connections, else by reading and writing.

Used by `web.server.http1.exchange`; owns the file's descriptor. sendfile(2) writes beside the transport, on a duplicate
of its descriptor (event loops refuse to watch their own), so it is used only while the transport has nothing to write.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.web.file_state import is_overwritten

if TYPE_CHECKING:
    from npserver.web.server.roles import Http1ConnectionRole

STEP_BYTES = 8 << 20  # handed to sendfile(2) at once: a millisecond over loopback; networks take less at a time
TURN_BYTES = 4 << 20  # sent before the event loop serves other connections
CHECK_S = 0.05  # between two checks whether the file was overwritten
LAST_BYTES = 2 * STEP_BYTES  # the last bytes are checked before each step: a changed file must not arrive whole
COPY_BYTES = 128 << 10  # read and written at once
_OVERWRITTEN = "file was overwritten while being sent"
_CORK = getattr(socket, "TCP_CORK", 0)

#: Called at the end with the bytes of the file that were sent and, if not all were, the reason.
Done = Callable[[int, str], None]


class FileSender:
    """One file being sent. If the file is overwritten meanwhile, the client gets a truncated response, not a
    mixture."""

    __slots__ = (
        "_check_at",
        "_connection",
        "_done",
        "_file",
        "_head",
        "_is_watching",
        "_length",
        "_offset",
        "_socket",
        "_status",
        "left",
    )

    #: Whether sendfile(2) may be used; tests turn it off to run the plain way.
    uses_kernel = hasattr(os, "sendfile") and sys.platform == "linux"

    def __init__(self, connection: Http1ConnectionRole, file: int, offset: int, length: int) -> None:
        self._connection = connection
        self._file = file
        self._status = os.fstat(file)
        self._check_at = 0.0  # loop time
        self._offset = offset
        self._length = length
        self.left = length
        self._head = b""
        self._done: Done | None = None
        self._socket: socket.socket | None = None
        self._is_watching = False

    def start(self, head: bytes, done: Done) -> None:
        """Send `head`, then the file."""
        transport = self._connection.transport
        self._done = done
        if (
            self.uses_kernel
            and not transport.get_write_buffer_size()
            and transport.get_extra_info("ssl_object") is None
        ):
            with contextlib.suppress(OSError):  # no descriptor may be left
                self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        if self._socket is not None:
            self._head = head
            self._cork(1)
            self._send()
        else:
            transport.write(head)
            self._copy()

    def resume(self) -> None:
        """The transport's buffer has room again: continue."""
        if self._socket is None:
            self._copy()

    def cancel(self) -> None:
        """Stop without calling `done`."""
        self._done = None
        self._release()

    def _send(self) -> None:
        """Let the kernel send as much as it accepts."""
        assert self._socket is not None
        turn = 0
        try:
            while self._head:
                self._head = self._head[self._socket.send(self._head) :]
            if self._is_watching and self._is_overwritten():
                self._end(_OVERWRITTEN)
                return
            while self.left and turn < TURN_BYTES:
                step = min(self.left, STEP_BYTES)
                sent = os.sendfile(self._socket.fileno(), self._file, self._offset, step)
                if not sent:
                    self._end("file became shorter while being sent")
                    return
                self._offset += sent
                self.left -= sent
                turn += sent
                if sent < step:
                    break  # the kernel accepts no more now
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(f"cannot send: {error.strerror}")
            return
        if not self.left:
            self._end("")
            return
        if not self._is_watching:
            self._is_watching = True
            self._connection.context.loop.add_writer(self._socket.fileno(), self._send)
            self._connection.await_client()

    def _copy(self) -> None:
        """Read and write until the transport's buffer is full."""
        connection = self._connection
        turn = 0
        while self.left and self._done is not None and not connection.is_write_paused:
            if turn >= TURN_BYTES:
                connection.context.loop.call_soon(self._copy)
                return
            try:
                data = os.pread(self._file, min(self.left, COPY_BYTES), self._offset)
                if self.left < self._length and is_overwritten(self._file, self._status):
                    self._end(_OVERWRITTEN)
                    return
            except OSError as error:
                self._end(f"cannot read the file: {error.strerror}")
                return
            if not data:
                self._end("file became shorter while being sent")
                return
            self._offset += len(data)
            self.left -= len(data)
            turn += len(data)
            connection.transport.write(data)
        if not self.left:
            self._end("")

    def _is_overwritten(self) -> bool:
        """Return whether the file is known to have been overwritten."""
        now = self._connection.context.loop.time()
        if now < self._check_at and self.left > LAST_BYTES:
            return False
        self._check_at = now + CHECK_S
        return is_overwritten(self._file, self._status)

    def _cork(self, is_corked: int) -> None:
        """Turn TCP_CORK on or off: with it only full segments are sent, which wakes the peer less often."""
        assert self._socket is not None
        if _CORK and self._socket.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # the connection is gone
                self._socket.setsockopt(socket.IPPROTO_TCP, _CORK, is_corked)

    def _end(self, error: str) -> None:
        done, self._done = self._done, None
        self._release()
        if done is not None:
            done(self._length - self.left, error)

    def _release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._socket is not None:
            if self._is_watching:
                self._connection.context.loop.remove_writer(self._socket.fileno())
                self._is_watching = False
            self._cork(0)
            self._socket.close()
            self._socket = None
