"""Moving bulk bytes from one connected socket to another inside the kernel: splice(2), Linux.

Used by `net.relay` once a direction has proved to be bulk; elsewhere the relay goes on by itself. The pipe between is
owned here, as are the duplicated descriptors: a loop refuses to watch one that belongs to a transport.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import Protocol

CHUNK = 1 << 20  # bytes asked of one call, and the pipe's size where the system allows it
ROUNDS = 8  # calls before other sockets get their turn
MAX_SPLICES = 256  # directions at once per process: each holds four descriptors

_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
_active: set[Splice] = set()


def can_splice() -> bool:
    """Whether this system has splice(2)."""
    return hasattr(os, "splice")


class SpliceOwner(Protocol):
    """The end of a relay whose received bytes are moved."""

    def spliced(self, size: int) -> None:
        """So many bytes have been moved."""

    def splice_ended(self, error: OSError | None, *, by_receiver: bool) -> None:
        """The sender has sent all (no error), or one side failed. The splice has stopped."""


class Splice:
    """One direction: sender, pipe, receiver."""

    __slots__ = ("_held", "_loop", "_owner", "_pipe_in", "_pipe_out", "_receiver", "_sender")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, owner: SpliceOwner, descriptors: tuple[int, int, int, int]
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._sender, self._receiver, self._pipe_out, self._pipe_in = descriptors
        self._held = 0  # bytes in the pipe
        _active.add(self)
        loop.add_reader(self._sender, self._move)

    @classmethod
    def between(
        cls,
        loop: asyncio.AbstractEventLoop,
        sender: asyncio.BaseTransport,
        receiver: asyncio.BaseTransport,
        owner: SpliceOwner,
    ) -> Splice | None:
        """Start moving; None where it cannot be done. Nothing may be left in the receiver's write buffer."""
        if len(_active) >= MAX_SPLICES:
            return None
        opened: list[int] = []
        try:
            opened.append(os.dup(sender.get_extra_info("socket").fileno()))
            opened.append(os.dup(receiver.get_extra_info("socket").fileno()))
            opened += os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            for descriptor in opened[:2]:
                os.set_blocking(descriptor, False)  # accepted ones may be otherwise, and splice(2) would wait
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            return None
        try:
            fcntl.fcntl(opened[3], fcntl.F_SETPIPE_SZ, CHUNK)
        except (OSError, AttributeError):
            pass  # the default size works too
        return cls(loop, owner, (opened[0], opened[1], opened[2], opened[3]))

    def stop(self) -> bytes:
        """Free everything. Gives the bytes that the receiver has not taken yet."""
        if self not in _active:
            return b""
        _active.discard(self)
        self._loop.remove_reader(self._sender)
        self._loop.remove_writer(self._receiver)
        left = os.read(self._pipe_out, self._held) if self._held else b""
        for descriptor in (self._sender, self._receiver, self._pipe_out, self._pipe_in):
            os.close(descriptor)
        return left

    def _move(self) -> None:  # hot: tcp-bulk
        """Fill the pipe from the sender and empty it into the receiver."""
        for _ in range(ROUNDS):
            try:
                size = os.splice(self._sender, self._pipe_in, CHUNK, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error, by_receiver=False)
                return
            if not size:
                self._end(None, by_receiver=False)
                return
            self._held += size
            self._owner.spliced(size)
            if not self._drain():
                return

    def _drain(self) -> bool:
        """Empty the pipe. Whether it is empty; if not, the receiver is waited for, and the sender waits too."""
        while self._held:
            try:
                self._held -= os.splice(self._pipe_out, self._receiver, self._held, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                self._loop.remove_reader(self._sender)
                self._loop.add_writer(self._receiver, self._resume)
                return False
            except OSError as error:
                self._end(error, by_receiver=True)
                return False
        return True

    def _resume(self) -> None:
        if self._drain():
            self._loop.remove_writer(self._receiver)
            self._loop.add_reader(self._sender, self._move)

    def _end(self, error: OSError | None, *, by_receiver: bool) -> None:
        self.stop()
        self._owner.splice_ended(error, by_receiver=by_receiver)
