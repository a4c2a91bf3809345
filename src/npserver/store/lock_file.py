"""Locks of a store, as files below `.locks` that hold when the lock expires. Blocking; called by `store.directory`.

The kernel's lock on the file (flock(2)) frees it when its process dies. A process that hangs keeps the kernel's lock:
once the time in the file has passed, the next one removes the file and makes another one, which it locks. The times are
those of `time.monotonic`, which all processes of a machine share and no change of the clock moves.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from npserver.errors import StoreError, reason_of
from npserver.store.files import StoreFiles, open_folder, try_flock
from npserver.store.keys import split_key

_FOLDER = ".locks"


class LockFile:
    """A lock that is held."""

    __slots__ = ("_descriptor", "_expiry_s", "_files", "_name")

    def __init__(self, files: StoreFiles, name: str, descriptor: int, expiry_s: float) -> None:
        self._files = files
        self._name = name
        self._descriptor = descriptor
        self._expiry_s = expiry_s

    def __repr__(self) -> str:
        return f"<LockFile {self._name}>"

    def extend(self) -> bool:
        """Let it expire later. Return False if another process holds it by now. Raises: StoreError."""
        with _in_turn(self._files, self._name) as folder:
            if self._descriptor < 0 or not self._is_ours(folder):
                return False
            _set_expiry(self._descriptor, self._expiry_s)
        return True

    def release(self) -> None:
        """Give it back. Raises: StoreError; the kernel's lock is then free all the same."""
        if self._descriptor < 0:
            return
        try:
            with _in_turn(self._files, self._name) as folder:
                if self._is_ours(folder):
                    os.unlink(self._name, dir_fd=folder)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_ours(self, folder: int) -> bool:
        try:
            status = os.stat(self._name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(status, os.fstat(self._descriptor))


def try_lock(files: StoreFiles, name: str, expiry_s: float) -> LockFile | None:
    """Return the lock called `name`, a key; None if another one holds it. Raises: StoreError."""
    file = ",".join(split_key(name))
    with _in_turn(files, name) as folder:
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(file, flags, 0o600, dir_fd=folder)
            try:
                if try_flock(descriptor):
                    _set_expiry(descriptor, expiry_s)
                    held, descriptor = LockFile(files, file, descriptor, expiry_s), -1
                    return held
                if time.monotonic() < _expiry(descriptor):
                    return None
                os.unlink(file, dir_fd=folder)
            finally:
                if descriptor >= 0:
                    os.close(descriptor)


@contextlib.contextmanager
def _in_turn(files: StoreFiles, name: str) -> Iterator[int]:
    """Hold the turn to write; yield the folder of the locks."""
    try:
        with files.turn() as root, open_folder(root, [_FOLDER]) as folder:
            yield folder
    except OSError as error:
        raise StoreError(f"{files.directory}: lock {name!r}: {reason_of(error)} (store)") from error


def _expiry(descriptor: int) -> float:
    try:
        return float(os.pread(descriptor, 64, 0))
    except ValueError:
        return 0.0


def _set_expiry(descriptor: int, expiry_s: float) -> None:
    text = f"{time.monotonic() + expiry_s:032.6f}"  # of one length: it is overwritten whole
    os.pwrite(descriptor, text.encode(), 0)
