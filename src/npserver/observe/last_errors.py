"""The last warnings and errors of all processes, in shared memory: the status page shows them.

Each process writes its own row, the master the last one; `LastErrors.read` reads all rows. A record is its checksum
(4 bytes), level (1), count (4), time in seconds since 1970 (8-byte float), length of the text (2), and the text, all
little-endian. One that is being written while it is read has a wrong checksum, and is left out.
"""

from __future__ import annotations

import logging
import mmap
import struct
import zlib
from operator import attrgetter

from msgspec import Struct

from npserver.observe.escape import escape_control, replace_surrogates
from npserver.observe.logs import area_of

RECORDS = 16  # of a process
_SIZE = 512
_HEAD = struct.Struct("<BIdH")
_TEXT_BYTES = _SIZE - 4 - _HEAD.size


class LoggedError(Struct, frozen=True):
    """A warning or an error of the log."""

    at: float  # seconds since 1970, of the last one
    level: int  # of `logging`
    text: str  # "area: message"
    count: int = 1  # how often it came


class LastErrors:
    """The memory. Pages that are never written take none."""

    __slots__ = ("_memory", "rows")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._memory = mmap.mmap(-1, rows * RECORDS * _SIZE)

    def read(self) -> list[LoggedError]:
        """Return those of all processes, the newest first; what several have logged is there once."""
        found: dict[tuple[str, int], LoggedError] = {}
        for row in range(self.rows):
            for number in range(RECORDS):
                if (one := self.record(row, number)) is not None:
                    other = found.get((one.text, one.level), LoggedError(0.0, 0, "", 0))
                    newest = max(one.at, other.at)
                    found[one.text, one.level] = LoggedError(newest, one.level, one.text, one.count + other.count)
        return sorted(found.values(), key=attrgetter("at"), reverse=True)

    def record(self, row: int, number: int) -> LoggedError | None:
        """Return one record; None if there is none, or it is being written."""
        start = (row * RECORDS + number) * _SIZE
        data = self._memory[start : start + _SIZE]
        level, count, at, length = _HEAD.unpack_from(data, 4)
        end = 4 + _HEAD.size + min(length, _TEXT_BYTES)
        if not count or zlib.crc32(data[4:end]) != int.from_bytes(data[:4], "little"):
            return None
        return LoggedError(at, level, data[4 + _HEAD.size : end].decode("utf-8", "ignore"), count)

    def write(self, row: int, number: int, one: LoggedError) -> None:
        """Write one record of one's own row; a text that is too long is cut off."""
        text = _bounded(one.text).encode()
        data = _HEAD.pack(min(one.level, 255), min(one.count, 0xFFFFFFFF), one.at, len(text)) + text
        start = (row * RECORDS + number) * _SIZE
        self._memory[start : start + 4 + len(data)] = zlib.crc32(data).to_bytes(4, "little") + data


class Keeper(logging.Handler):
    """Keeps the last warnings and errors of one process; one that comes again takes no other record."""

    outlives_configure = True

    def __init__(self, errors: LastErrors, row: int) -> None:
        super().__init__(logging.WARNING)
        self._errors = errors
        self._row = row
        # A process before may have written some
        self._kept = [errors.record(row, number) or LoggedError(0.0, 0, "", 0) for number in range(RECORDS)]

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                message = f"{message}: {type(record.exc_info[1]).__name__}"  # its text is in the log
            text = _bounded(escape_control(replace_surrogates(f"{area_of(record.name)}: {message}")))
            self._keep(record.created, record.levelno, text)
        except Exception:
            self.handleError(record)

    def _keep(self, at: float, level: int, text: str) -> None:
        kept = self._kept
        oldest = min(range(RECORDS), key=lambda number: kept[number].at)
        number = next((n for n, one in enumerate(kept) if (one.text, one.level) == (text, level)), oldest)
        count = kept[number].count + 1 if kept[number].text == text else 1
        kept[number] = LoggedError(at, level, text, count)
        self._errors.write(self._row, number, kept[number])


def _bounded(text: str) -> str:
    return text.encode("utf-8", "replace")[:_TEXT_BYTES].decode("utf-8", "ignore")


def keep(errors: LastErrors, row: int) -> None:
    """Keep those of this process from now on, in a row of its own.

    Nothing is kept where nothing is logged, such as in an embedding program without logging: Python itself prints its
    warnings as long as there is no handler.
    """
    root = logging.getLogger("npserver")
    root.handlers = [one for one in root.handlers if not isinstance(one, Keeper)]
    if root.hasHandlers():
        root.addHandler(Keeper(errors, row))
