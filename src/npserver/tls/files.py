"""Reads certificate and key files, also in processes that have no permission to read them.

Workers that run as another user can usually not read private keys. The master can: it reads the files again and
supplies their contents over the control channel, never on disk. A process that was supplied with nothing reads the
files themselves.

Files of the store are read by the store's own rules: they belong to the workers' user, who could lead the master
astray with a link. The workers read them, and are never supplied with them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator

from npserver.errors import StoreError

#: The state of a file: modification time in ns, inode, size. Another state means other content.
FileState = tuple[int, int, int]

MAX_FILE_BYTES = 4 << 20  # of one file; the largest CA bundles have a quarter of that
_UNSEEN: FileState = (0, 0, 0)  # a file that does not exist or is not visible

#: Contents by path, as JSON can express them: the state, and the data in base64.
Supplies = dict[str, tuple[FileState, str]]


class TlsFiles:
    """The files that a process has used, and the contents that it was supplied with."""

    __slots__ = ("_stores", "_supplied", "used")

    def __init__(self) -> None:
        self.used: set[str] = set()
        self._supplied: dict[str, tuple[FileState, bytes]] = {}
        self._stores: dict[str, Callable[[str], bytes | None]] = {}  # by directory, with a slash: reads a key's value

    def __repr__(self) -> str:
        return f"<TlsFiles {len(self.used)} used, {len(self._supplied)} supplied>"

    def supply(self, contents: Supplies) -> None:
        """Use these contents from now on instead of the files."""
        for file, (state, text) in contents.items():
            changed, inode, size = state
            self._supplied[file] = (changed, inode, size), b64decode(text)

    def put(self, file: str, data: bytes) -> None:
        """Use this content of `file` from now on: it is made in this process, and need not be on disk."""
        self._supplied[file] = (0, 0, len(data)), data

    def is_supplied(self, file: str) -> bool:
        """Whether the contents of `file`, an absolute path, were supplied."""
        return file in self._supplied

    def add_store(self, directory: str, read: Callable[[str], bytes | None]) -> None:
        """Read the files below `directory`, the store's, by `read`, which takes a key and raises StoreError."""
        self._stores[f"{directory}/"] = read

    def is_in_store(self, file: str) -> bool:
        """Whether `file`, an absolute path, is read by the store's rules."""
        return any(file.startswith(directory) for directory in self._stores)

    def contents(self) -> Supplies:
        """Read all files used so far, to supply another process, but those of the store.

        Files that cannot be read are left out.
        """
        found: Supplies = {}
        for file in sorted(self.used):
            if self.is_in_store(file):
                continue
            with contextlib.suppress(OSError):
                found[file] = self.state(file), b64encode(self.read(file)).decode()
        return found

    def snapshot(self, files: Iterable[str]) -> TlsFiles:
        """Return these files as they are now: replaced meanwhile, they stay the same for whoever reads them twice.

        Raises: OSError.
        """
        found = TlsFiles()
        for file in files:
            found._supplied[file] = self.state(file), self.read(file)
        return found

    def read(self, file: str) -> bytes:
        """Return the content of `file`, an absolute path. Raises: OSError, also for a file above MAX_FILE_BYTES."""
        self.used.add(file)
        if file in self._supplied:
            return self._supplied[file][1]
        for directory, read in self._stores.items():
            if file.startswith(directory):
                return _from_store(file, read, file.removeprefix(directory))
        with open(file, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES} bytes")
        return data

    def state(self, file: str) -> FileState:
        """Return the state of `file`; zeros if it does not exist or is not visible."""
        if file in self._supplied:
            return self._supplied[file][0]
        try:
            status = os.stat(file)
        except OSError:
            return _UNSEEN
        return (status.st_mtime_ns, status.st_ino, status.st_size)

    @contextlib.contextmanager
    def readable(self, file: str) -> Iterator[str]:
        """Yield a path from which OpenSSL can read `file`: its own, or that of a temporary copy in memory."""
        self.used.add(file)
        if file not in self._supplied and not self.is_in_store(file):
            yield file
            return
        data = self.read(file)
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("npserver-tls", os.MFD_CLOEXEC)
            try:
                with open(descriptor, "wb", closefd=False) as copy:
                    copy.write(data)
                yield f"/proc/self/fd/{descriptor}"
            finally:
                os.close(descriptor)
        else:
            import tempfile

            with tempfile.NamedTemporaryFile() as copy:  # readable only by its owner
                copy.write(data)
                copy.flush()
                yield copy.name


def _from_store(file: str, read: Callable[[str], bytes | None], key: str) -> bytes:
    try:
        value = read(key)
    except StoreError as error:
        raise OSError(errno.EIO, str(error), file) from error
    if value is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
    return value
