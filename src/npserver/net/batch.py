"""Many datagrams a system call: recvmmsg(2) and sendmmsg(2), for a front that answers most of them at once.

Used by `net.datagram` for sockets bound to one address; measured with DNS: 2 to 4 us less of some 12 a datagram, since
neither addresses are turned into tuples and back nor the end of the queue is found by an exception. Needs 64-bit
Linux, whose layouts these are; elsewhere `is_possible` says no.

Layout of one `mmsghdr`, 64 bytes: name (8-byte pointer), its length (4, then 4 of padding), iovec (8), their count (8),
control (8), its length (8), flags (4, 4 of padding), the message's length (4, 4 of padding). An iovec is pointer and
length, 8 bytes each.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Sequence
from struct import Struct, calcsize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.serve.front import Client

BATCH = 64  # datagrams a call
SLOT_BYTES = 2048  # longer datagrams are cut; longer answers are sent singly
KNOWN_CLIENTS = 4096
_NAME_BYTES = 28  # sockaddr_in6, the larger of both
_DONTWAIT = 64

_HEADER = Struct("=QIxxxxQQQQixxxxIxxxx")
_IOVEC = Struct("=QQ")
_LENGTH_AT = 56 // 4  # in 4-byte words
_WORDS = _HEADER.size // 4


def is_possible() -> bool:
    """Whether this system has the calls, with the layouts above."""
    is_known = sys.platform == "linux" and sys.byteorder == "little" and calcsize("P") == 8
    return is_known and hasattr(ctypes.CDLL(None), "recvmmsg")


class Batch:
    """The buffers of one socket. `receive`, look at each datagram, `send` the answers."""

    __slots__ = (
        "_in_headers",
        "_in_words",
        "_input",
        "_known",
        "_libc",
        "_memory",
        "_names",
        "_out_headers",
        "_out_lengths",
        "_output",
        "_sock",
    )

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._libc = ctypes.PyDLL(None)  # calls that do not wait need not let other threads run
        self._libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        self._libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
        self._memory: list[object] = []  # what the kernel is given addresses of
        self._input, input_at = self._allocate(BATCH * SLOT_BYTES)
        self._output, output_at = self._allocate(BATCH * SLOT_BYTES)
        self._names, names_at = self._allocate(BATCH * _NAME_BYTES)
        vectors, vectors_at = self._allocate(2 * BATCH * _IOVEC.size)
        headers, self._in_headers = self._allocate(BATCH * _HEADER.size)
        answer_headers, self._out_headers = self._allocate(BATCH * _HEADER.size)
        name_bytes = 28 if sock.family == socket.AF_INET6 else 16
        for slot in range(BATCH):
            name_at = names_at + slot * _NAME_BYTES
            of_input, of_output = _IOVEC.size * slot, _IOVEC.size * (BATCH + slot)
            _IOVEC.pack_into(vectors, of_input, input_at + slot * SLOT_BYTES, SLOT_BYTES)
            _IOVEC.pack_into(vectors, of_output, output_at + slot * SLOT_BYTES, 0)
            at = slot * _HEADER.size
            _HEADER.pack_into(headers, at, name_at, name_bytes, vectors_at + of_input, 1, 0, 0, 0, 0)
            _HEADER.pack_into(answer_headers, at, name_at, name_bytes, vectors_at + of_output, 1, 0, 0, 0, 0)
        self._in_words = headers.cast("I")
        self._out_lengths = vectors.cast("Q")[2 * BATCH + 1 :: 2]
        self._known: dict[bytes, Client] = {}

    def __repr__(self) -> str:
        return f"<Batch of {self._sock!r}>"

    def receive(self) -> list[bytes]:  # hot: dns.hit
        """Give the datagrams that have come, at most `BATCH`."""
        count = self._libc.recvmmsg(self._sock.fileno(), self._in_headers, BATCH, _DONTWAIT, None)
        view, words = self._input, self._in_words
        return [
            bytes(view[slot * SLOT_BYTES : slot * SLOT_BYTES + words[slot * _WORDS + _LENGTH_AT]])
            for slot in range(count)
        ]

    def client(self, slot: int) -> Client:
        """Who sent the datagram number `slot` of the last batch: a socket address with host and port first."""
        raw = bytes(self._names[slot * _NAME_BYTES : (slot + 1) * _NAME_BYTES])
        return self._known.get(raw) or self._describe(raw)

    def send(self, answers: Sequence[bytes | None]) -> None:  # hot: dns.hit
        """Send each datagram of the last batch its answer, if it has one; dropped if the kernel's buffer is full."""
        view, lengths = self._output, self._out_lengths
        at = 0
        for slot, answer in enumerate(answers):
            if answer is None or len(answer) > SLOT_BYTES:
                self._send_some(answers)
                return
            view[at : at + len(answer)] = answer
            lengths[slot] = len(answer)
            at += SLOT_BYTES
        self._flush(0, len(answers))

    def _send_some(self, answers: Sequence[bytes | None]) -> None:
        """There are gaps: send the runs between them."""
        start = 0
        view, lengths = self._output, self._out_lengths
        for slot, answer in enumerate(answers):
            if answer is not None and len(answer) <= SLOT_BYTES:
                view[slot * SLOT_BYTES : slot * SLOT_BYTES + len(answer)] = answer
                lengths[slot] = len(answer)
                continue
            self._flush(start, slot)
            start = slot + 1
            if answer is not None:
                try:
                    self._sock.sendto(answer, self.client(slot))
                except OSError:
                    pass  # as any other datagram that cannot be sent now
        self._flush(start, len(answers))

    def _flush(self, start: int, end: int) -> None:
        sendmmsg, number, headers = self._libc.sendmmsg, self._sock.fileno(), self._out_headers
        while start < end:
            sent = sendmmsg(number, headers + start * _HEADER.size, end - start, _DONTWAIT)
            start += max(sent, 1)  # the first could not be sent: it is dropped

    def _describe(self, raw: bytes) -> Client:
        port = int.from_bytes(raw[2:4], "big")
        if self._sock.family == socket.AF_INET6:
            host = socket.inet_ntop(socket.AF_INET6, raw[8:24])
            client: Client = (host, port, int.from_bytes(raw[4:8], "big"), int.from_bytes(raw[24:28], "little"))
        else:
            client = (socket.inet_ntop(socket.AF_INET, raw[4:8]), port)
        if len(self._known) >= KNOWN_CLIENTS:
            self._known.clear()
        self._known[raw] = client
        return client

    def _allocate(self, size: int) -> tuple[memoryview, int]:
        """Memory that stays where it is, and where that is."""
        memory = (ctypes.c_char * size)()
        self._memory.append(memory)
        return memoryview(memory).cast("B"), ctypes.addressof(memory)
