"""Message channel between the master and a child: JSON over a socketpair, with file descriptors attached.

Layout: 4-byte big-endian length of the text, 2-byte number of descriptors, the text. Descriptors are sent as ancillary
data with the first byte of their message (unix(7), SCM_RIGHTS) and are matched to messages by order. Neither side
ever blocks: data that the kernel does not take is queued here.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from typing import Any

from npserver.errors import reason_of

_HEAD = struct.Struct("!IH")
_READ_BYTES = 256 << 10
MAX_DESCRIPTORS = 250  # Linux allows 253 per sendmsg (SCM_MAX_FD)

Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other side has closed its end."""


class MessageChannel:
    """One end of a channel. It owns its socket, and received descriptors until `receive` returns them."""

    __slots__ = ("_data", "_descriptors", "_outgoing", "socket")

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._data = bytearray()
        self._descriptors: deque[int] = deque()

    @classmethod
    def pair(cls) -> tuple[MessageChannel, MessageChannel]:
        """Return the two ends of a new channel."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the socket's descriptor, for a selector or an event loop."""
        return self.socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether data is queued: call `flush` when the socket is writable."""
        return bool(self._outgoing)

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send a message, queueing what the kernel does not take. Descriptors are duplicated; the caller keeps its own.

        Raises: ChannelClosed.
        """
        descriptors = [os.dup(number) for number in descriptors or ()]
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors in one message, at most {MAX_DESCRIPTORS} are possible")
        text = json.dumps(message, separators=(",", ":")).encode()
        self._outgoing.append((memoryview(_HEAD.pack(len(text), len(descriptors)) + text), descriptors))
        self.flush()

    def flush(self) -> None:
        """Send queued data as far as the kernel takes it. Raises: ChannelClosed."""
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self.socket.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelClosed(reason_of(error)) from error
            for number in descriptors:
                os.close(number)
            if sent < len(data):
                self._outgoing[0] = (data[sent:], [])
            else:
                self._outgoing.popleft()

    def receive(self) -> list[tuple[Message, list[int]]]:
        """Read all available data. Return the complete messages, with their descriptors, which the caller then owns.

        Raises: ChannelClosed when the other side has closed and all complete messages have been returned.
        """
        closed = False
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(_READ_BYTES, space)
            except BlockingIOError:
                break
            except OSError:
                closed = True
                break
            for level, kind, rights in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(rights[: len(rights) - len(rights) % numbers.itemsize])
                    self._descriptors.extend(numbers)
            if not data:
                closed = True
                break
            self._data += data
        messages = self._take_complete()
        if closed and not messages:
            raise ChannelClosed("closed by the other side")
        return messages

    def close(self) -> None:
        """Close the socket and all descriptors still owned."""
        self.socket.close()
        for number in self._descriptors:
            os.close(number)
        for _, descriptors in self._outgoing:
            for number in descriptors:
                os.close(number)
        self._descriptors.clear()
        self._outgoing.clear()

    def _take_complete(self) -> list[tuple[Message, list[int]]]:
        messages = []
        start = 0
        while len(self._data) - start >= _HEAD.size:
            length, count = _HEAD.unpack_from(self._data, start)
            end = start + _HEAD.size + length
            if len(self._data) < end:
                break
            text = self._data[start + _HEAD.size : end]
            messages.append((json.loads(text), [self._descriptors.popleft() for _ in range(count)]))
            start = end
        del self._data[:start]
        return messages
