"""Moves bulk data from one socket to another inside the kernel, with splice(2) on Linux.

Used by `net.relay_end` once a direction has proved to carry bulk data. The pipe between the sockets is owned here, as
are duplicates of their descriptors: event loops refuse to watch a descriptor that belongs to a transport.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import Protocol

CHUNK = 1 << 20  # bytes per call, and the size of the pipe where the system allows it
ROUNDS = 8  # calls made before other sockets get their turn
MAX_SPLICES = 256  # simultaneous directions per process; each takes four descriptors

_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)
_active: set[Splice] = set()


def can_splice() -> bool:
    """Return whether this system has splice(2)."""
    return hasattr(os, "splice")


class SpliceOwner(Protocol):
    """The end of a relay whose received data is moved."""

    def spliced(self, size: int) -> None:
        """Called when `size` bytes have been moved."""

    def splice_ended(self, error: OSError | None, *, by_receiver: bool) -> None:
        """Called when the splice has stopped: the sender has closed its side (no error), or one side failed."""


class Splice:
    """One direction: from the sender through a pipe to the receiver."""

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
        """Start a splice; None if that is not possible. The receiver's write buffer must be empty."""
        if len(_active) >= MAX_SPLICES:
            return None
        opened: list[int] = []
        try:
            opened.append(os.dup(sender.get_extra_info("socket").fileno()))
            opened.append(os.dup(receiver.get_extra_info("socket").fileno()))
            opened += os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            for descriptor in opened[:2]:
                os.set_blocking(descriptor, False)  # accepted sockets may be blocking, and splice(2) would block
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
        """Stop, and close the descriptors. Return the data still in the pipe."""
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
        """Move data from the sender through the pipe to the receiver."""
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
        """Empty the pipe. Return whether it is empty; if not, wait for the receiver, and pause the sender."""
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
