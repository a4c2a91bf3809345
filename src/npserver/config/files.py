"""The files that a config is made of: its own text, those that `include` names, and those of `${file:}`.

Each file is read once for a config. A reload sends what the master has read to the other processes: they may lack the
permission, and all must have the same. `-watch` asks whether a file has changed since.
"""

from __future__ import annotations

import glob
import os
import stat
from typing import Any

from npserver.config.jsonc import Places
from npserver.errors import ConfigError, Problem

MAX_FILE_BYTES = 256 << 20
MAX_VALUE_BYTES = 64 << 10

#: What changes with a file: its time, inode and size. A new file may have the time and size of the old one (Nix,
#: archives), but not its inode.
State = tuple[int, int, int]


class ConfigFiles:
    """The files of one config besides its main one, as they were read for it."""

    __slots__ = ("_found", "_is_supplied", "_states", "_texts", "_values")

    def __init__(self, supplied: dict[str, Any] | None = None) -> None:
        """`supplied`: what `content` of another process returned; then no file is read."""
        self._is_supplied = supplied is not None
        self._values: dict[str, str] = supplied["values"] if supplied else {}
        self._texts: dict[str, str] = supplied["texts"] if supplied else {}  # of included files
        self._found: dict[str, list[str]] = supplied["found"] if supplied else {}  # files by pattern
        self._states: dict[str, State | None] = {}

    def content(self) -> dict[str, Any]:
        """Return what has been read, for another process, as JSON has it."""
        return {"values": self._values, "texts": self._texts, "found": self._found}

    @property
    def included(self) -> int:
        """The number of included files."""
        return len(self._texts)

    def text(self, file: str, max_bytes: int) -> str:
        """Return the text of an included file.

        Raises: OSError if it cannot be read; ValueError if it is not a regular file, or too large; ConfigError if it is
        not UTF-8.
        """
        if (known := self._texts.get(file)) is None:
            known = self._texts[file] = decode_text(self._read(file, max_bytes), file)
        return known

    def find(self, pattern: str) -> list[str]:
        """Return the files that a pattern matches, by name. Raises: OSError if there is no directory to read."""
        if (known := self._found.get(pattern)) is None:
            directory = os.path.dirname(pattern) or "."
            if not is_pattern(directory):
                os.listdir(directory)  # `glob` would find nothing where it may not look, or where nothing is
            known = self._found[pattern] = sorted(glob.glob(pattern))
        return known

    def value(self, file: str) -> str:
        """Return the text of a file without the newline at its end.

        Raises: OSError if it cannot be read; ValueError, whose message has no content, if it is not a text for a value.
        """
        if (known := self._values.get(file)) is not None:
            return known
        data = self._read(file, MAX_VALUE_BYTES)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ValueError("not UTF-8: a value is a text") from None
        if "\0" in text:
            raise ValueError("NUL in it: a value is a text")
        text = text.removesuffix("\n").removesuffix("\r")
        self._values[file] = text
        return text

    def has_changed(self) -> bool:
        """Whether a file is another than the one that was read, has appeared or is gone."""
        return any(state_of(file) != state for file, state in self._states.items()) or any(
            sorted(glob.glob(pattern)) != found for pattern, found in self._found.items()
        )

    def _read(self, file: str, max_bytes: int) -> bytes:
        """Return the content of a regular file. Raises: OSError; ValueError for another one, or for its size."""
        if self._is_supplied:
            raise FileNotFoundError(2, "not read by the master")
        self._states[file] = None
        # A named pipe would wait for its writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            self._states[file] = _state(status)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a regular file: name one that is")
            data = stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ValueError(f"larger than {max_bytes >> 10:,} KiB: name another file")
        return data


def is_pattern(name: str) -> bool:
    """Return whether a name of files has `*`, `?` or `[`."""
    return glob.has_magic(name)


def state_of(file: str) -> State | None:
    """Return a value that changes with a file; None if there is no such file."""
    try:
        return _state(os.stat(file))
    except OSError:
        return None


def _state(status: os.stat_result) -> State:
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def read_text(file: str) -> str:
    """Return the text of a config file. Raises: ConfigError if it cannot be read or is not UTF-8."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(f"cannot read the config: {error.strerror or error}", file)]) from error
    return decode_text(data, file)


def decode_text(data: bytes, file: str) -> str:
    """Return the text that `data`, the content of a config file, is. Raises: ConfigError."""
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([Problem(f"larger than {MAX_FILE_BYTES >> 20} MiB", file)])
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError([Problem("the config is UTF-16, expected UTF-8", file, 1, 1)])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        good = data[: error.start].decode()
        line, column = Places(good, {}).at(len(good))
        message = f"not UTF-8: byte {data[error.start]:#04x}"
        raise ConfigError([Problem(message, file, line, column)]) from error
