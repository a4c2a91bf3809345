"""Messages between the master and a child over a socketpair: JSON, with open sockets beside it.

Layout: 4-byte big-endian length of the text, 2-byte number of descriptors, the text. Descriptors travel as ancillary
data with the first byte of their message (unix(7), SCM_RIGHTS) and are matched to messages by order. Neither side
ever blocks: what the kernel does not take waits here.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from typing import Any

_HEAD = struct.Struct("!IH")
_READ_BYTES = 256 << 10
MAX_DESCRIPTORS = 250  # Linux takes 253 with one sendmsg (SCM_MAX_FD)

Message = dict[str, Any]


class ChannelClosed(Exception):
    """The other side is gone."""


class MessageChannel:
    """One end. Owns its socket and the descriptors received until they are handed out."""

    __slots__ = ("_data", "_descriptors", "_outgoing", "socket")

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._data = bytearray()
        self._descriptors: deque[int] = deque()

    @classmethod
    def pair(cls) -> tuple[MessageChannel, MessageChannel]:
        """Make both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether `flush` must be called when the socket can be written."""
        return bool(self._outgoing)

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Queue a message and send what the kernel takes. The descriptors are duplicated; the caller keeps its own.

        Raises: ChannelClosed.
        """
        descriptors = [os.dup(number) for number in descriptors or ()]
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors with one message")
        text = json.dumps(message, separators=(",", ":")).encode()
        self._outgoing.append((memoryview(_HEAD.pack(len(text), len(descriptors)) + text), descriptors))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the kernel takes it. Raises: ChannelClosed."""
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self.socket.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            for number in descriptors:
                os.close(number)
            if sent < len(data):
                self._outgoing[0] = (data[sent:], [])
            else:
                self._outgoing.popleft()

    def receive(self) -> list[tuple[Message, list[int]]]:
        """Read what is there; give the messages that are complete, with their descriptors, now the caller's.

        Raises: ChannelClosed at the end, once all complete messages were given.
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
        messages = self._complete()
        if closed and not messages:
            raise ChannelClosed("the other side is gone")
        return messages

    def close(self) -> None:
        """Close the socket and every descriptor still held."""
        self.socket.close()
        for number in self._descriptors:
            os.close(number)
        for _, descriptors in self._outgoing:
            for number in descriptors:
                os.close(number)
        self._descriptors.clear()
        self._outgoing.clear()

    def _complete(self) -> list[tuple[Message, list[int]]]:
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
