"""Bodies that wait: in memory up to a bound, the rest in a file without a name.

A `SpoolFile` is written by threads, so that a slow disk does not stop the event loop; what is not yet written is read
from memory. Used by `web.handlers.proxy.buffered_upload` and `web.handlers.proxy.response_buffer`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.runtime.context import Context

PIECE_BYTES = 64 << 10  # read at once
BEHIND_BYTES = 256 << 10  # that wait to be written: the sender pauses


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where the bytes of one body are kept."""

    memory_bytes: int
    directory: str | None  # None: the system's for temporary files
    key: str  # the config key, for the log
    counter: int  # slot of the scoreboard for the bytes written to files
    file_bytes: int | None = None  # None: no bound but that of the body


class SpoolFile:
    """Bytes appended to a file without a name, which ends with the process at the latest.

    Args:
        context: of the process, whose threads write.
        settings: of the rule; the file is made with the first bytes.
        told: called after each write, and after one that has failed. What could not be written stays in memory.
    """

    # size       the bytes appended
    # error      of the last write; nothing more is written then
    # _written   bytes in the file
    # _writing   being written by a thread
    # _pending   not yet

    __slots__ = (
        "_context", "_file", "_is_closed", "_pending", "_settings", "_told", "_writing", "_written", "error", "size",
    )  # fmt: skip

    def __init__(self, context: Context, settings: SpoolSettings, told: Callable[[], None]) -> None:
        self._context = context
        self._settings = settings
        self._told: Callable[[], None] | None = told
        self._file: FileIO | None = None
        self._pending = bytearray()
        self._writing = b""
        self._written = 0
        self._is_closed = False
        self.error: OSError | None = None
        self.size = 0

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be written that the sender should pause."""
        return self.error is not None or len(self._pending) + len(self._writing) > BEHIND_BYTES

    @property
    def is_writing(self) -> bool:
        """Whether a thread is writing."""
        return bool(self._writing)

    def append(self, data: bytes) -> None:
        """Append data."""
        self._pending += data
        self.size += len(data)
        if not self._writing and self.error is None:
            self._write_on()

    def read(self, offset: int) -> bytes:
        """Return bytes from `offset` on, at most `PIECE_BYTES`; none at the end. Raises: OSError."""
        if offset < self._written:
            assert self._file is not None
            data = os.pread(self._file.fileno(), min(PIECE_BYTES, self._written - offset), offset)
            if not data:
                raise OSError("the file has been cut")
            return data
        offset -= self._written
        if offset < len(self._writing):
            return self._writing[offset : offset + PIECE_BYTES]
        offset -= len(self._writing)
        return bytes(self._pending[offset : offset + PIECE_BYTES])

    def close(self) -> None:
        """Close the file, which frees its disk space; `told` is not called again."""
        self._told = None
        self._is_closed = True
        if self._file is not None and not self._writing:
            self._file.close()
        self._pending.clear()

    def _write_on(self) -> None:
        self._writing = bytes(self._pending)
        self._pending.clear()
        loop = self._context.loop
        loop.run_in_executor(None, self._write, self._writing, self._written).add_done_callback(self._wrote)

    def _write(self, data: bytes, offset: int) -> None:
        """Write data. Called by a thread."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._settings.directory)  # noqa: SIM115
        descriptor = self._file.fileno()
        view = memoryview(data)
        while view:
            count = os.pwrite(descriptor, view, offset)
            offset += count
            view = view[count:]

    def _wrote(self, future: asyncio.Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None or future.cancelled():
            self.error = error if isinstance(error, OSError) else OSError(str(error or "cancelled"))
            self._pending[:0] = self._writing  # read from there
        else:
            self._written += len(self._writing)
            self._context.row.slots[self._settings.counter] += len(self._writing)
        self._writing = b""
        if self._is_closed:
            self.close()
            return
        if self._pending and self.error is None:
            self._write_on()
        if self._told is not None:
            self._told()


class Spool:
    """The bytes of one body, read in the order in which they were appended.

    Args:
        context: of the process, whose threads write the file.
        settings: of the rule.
        keeps: whether all stays to be read again, by `rewind`; else the space of what was read is used again.
        told: called when `is_full` or `error` may have changed.
    """

    # size       the bytes appended, since all had been read unless `keeps`
    # _position  the bytes of them that were read

    __slots__ = ("_context", "_file", "_keeps", "_memory", "_position", "_settings", "_told", "size")

    def __init__(self, context: Context, settings: SpoolSettings, told: Callable[[], None], *, keeps: bool) -> None:
        self._context = context
        self._settings = settings
        self._told: Callable[[], None] | None = told
        self._keeps = keeps
        self._memory = bytearray()
        self._file: SpoolFile | None = None
        self._position = 0
        self.size = 0

    @property
    def is_read(self) -> bool:
        """Whether nothing is left to read."""
        return self._position == self.size

    @property
    def is_full(self) -> bool:
        """Whether the sender should pause, until `told` is called or more has been read."""
        file, bound = self._file, self._settings.file_bytes
        if file is None:
            return bound == 0 and len(self._memory) >= self._settings.memory_bytes
        return file.is_behind or (bound is not None and file.size >= bound)

    @property
    def error(self) -> OSError | None:
        """Why the file could not be written; what was appended can still be read."""
        return self._file.error if self._file is not None else None

    def append(self, data: bytes) -> None:
        """Append data; what comes while it `is_full` is taken too."""
        self.size += len(data)
        bound = self._settings.file_bytes
        if self._file is None:
            if bound == 0 or len(self._memory) + len(data) <= self._settings.memory_bytes:
                self._memory += data
                return
            self._file = SpoolFile(self._context, self._settings, self._file_changed)
        self._file.append(data)

    def read(self) -> bytes:
        """Return the next bytes; none if there are none now. Raises: OSError."""
        position, in_memory = self._position, len(self._memory)
        if position < in_memory:
            data = bytes(self._memory[position : position + PIECE_BYTES])
        elif self._file is not None:
            data = self._file.read(position - in_memory)
        else:
            return b""
        self._position += len(data)
        if self._position == self.size and not self._keeps and not (self._file is not None and self._file.is_writing):
            self._clear()
        return data

    def rewind(self) -> None:
        """Read from the start again."""
        self._position = 0

    def close(self) -> None:
        """Free memory and file. `told` is not called again."""
        self._told = None
        self._clear()

    def _file_changed(self) -> None:
        if not self._keeps and self._position == self.size:
            self._clear()
        if self._told is not None:
            self._told()

    def _clear(self) -> None:
        self._memory.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._position = self.size = 0
