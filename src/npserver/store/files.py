"""The files of a store: reads and writes them, blocking. `store.directory` calls it, mostly in threads.

Each value is a file. It is written under another name, with fsync, and renamed: a reader sees the old value or the new
one. Writers take turns by a lock on the file `.npserver.lock`, all threads and all processes that share the directory.
No symbolic link below the directory is followed, and root reads only files of the directory's owner: it may hold the
files of a less trusted user.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence

from npserver.errors import StoreError, reason_of
from npserver.store.interface import MAX_VALUE_BYTES
from npserver.store.keys import split_key, split_prefix

#: The state of a file: modification time in ns, inode, size. A value that was set again has another one.
FileState = tuple[int, int, int]

TURN_WITHIN_S = 10.0  # how long to wait for another writer, which takes milliseconds
_POLL_S = 0.002
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW, _TURN = ".new", ".npserver.lock"


class StoreFiles:
    """The directory of a store. It is made when something is first written, or by `make`.

    `owner`: the user and the group that it is made for, where the process is root.
    """

    __slots__ = ("directory", "owner")

    def __init__(self, directory: str, owner: tuple[int, int] | None = None) -> None:
        self.directory = directory
        self.owner = owner

    def __repr__(self) -> str:
        return f"<StoreFiles {self.directory}>"

    def path(self, key: str) -> str:
        """Return the path of the file of `key`. Raises: ValueError."""
        return os.path.join(self.directory, *split_key(key))

    def make(self) -> None:
        """Make the directory if it does not exist; root's is given to its owner. Raises: StoreError."""
        with self._explained():
            try:
                os.makedirs(self.directory, 0o700)
            except FileExistsError:
                is_new = False
            else:
                is_new = True
                _sync(os.path.dirname(self.directory))
            if self.owner is None or os.geteuid() != 0:
                return
            if is_new or is_roots(self.directory):
                _give_tree(self.directory, self.owner)

    def read(self, key: str) -> bytes | None:
        """Return a value; None if there is none. Raises: StoreError."""
        *folders, name = split_key(key)
        with self._explained(key):
            try:
                with self._root() as root, _folder(root, folders) as folder:
                    return _read(root, folder, name)
            except FileNotFoundError:
                return None

    def write(self, key: str, value: bytes | None) -> None:
        """Set a value, or remove it. Raises: StoreError; it is then the old one, or the new one but not synced."""
        with self._explained(key), self.turn() as root:
            _replace(root, split_key(key), value)

    def swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        """Set or remove a value if it still is `expected`. Return whether it was. Raises: StoreError."""
        with self._explained(key), self.turn() as root:
            if self.read(key) != expected:
                return False
            if value != expected:
                _replace(root, split_key(key), value)
        return True

    def states(self, prefix: str) -> dict[str, FileState]:
        """Return the state of each value whose key begins with `prefix`. Raises: StoreError."""
        names = split_prefix(prefix)
        with self._explained(prefix):
            try:
                with self._root() as root, _folder(root, names) as folder:
                    return dict(_states(folder, prefix))
            except (FileNotFoundError, NotADirectoryError):
                return {}

    @contextlib.contextmanager
    def turn(self) -> Iterator[int]:
        """Hold the turn to write; yield the descriptor of the directory. Raises: StoreError, OSError."""
        if not os.path.isdir(self.directory):
            self.make()
        with self._root() as root:
            turn = os.open(_TURN, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
            try:
                _give(root, turn)
                self._wait_for_turn(turn)
                yield root
            finally:
                os.close(turn)

    def _wait_for_turn(self, turn: int) -> None:
        end = time.monotonic() + TURN_WITHIN_S
        while not try_flock(turn):
            if time.monotonic() > end:
                held = f"another process has written to it for {TURN_WITHIN_S:g} s"
                raise StoreError(
                    f"{self.directory}: {held}: end the one that hangs, see `fuser {self.directory}/{_TURN}` (store)"
                )
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        root = os.open(self.directory, _FOLDER)
        try:
            yield root
        finally:
            os.close(root)

    @contextlib.contextmanager
    def _explained(self, key: str = "") -> Iterator[None]:
        """Raise a StoreError that names the file for an OSError."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"{os.path.join(self.directory, key)}: {reason_of(error)} (store)") from error


def is_roots(directory: str) -> bool:
    """Whether a directory belongs to root, and is empty or a store. Raises: OSError.

    A service manager makes the state directory for root, and gives all that is in it back to root at each start.
    """
    if os.stat(directory).st_uid != 0:
        return False
    names = os.listdir(directory)
    return not names or _TURN in names


@contextlib.contextmanager
def open_folder(root: int, names: Sequence[str]) -> Iterator[int]:
    """Open a folder below `root`, and make it first if it does not exist. Raises: OSError."""
    with contextlib.ExitStack() as opened:
        folder = root
        for name in names:
            try:
                os.mkdir(name, 0o700, dir_fd=folder)
                is_new = True
            except FileExistsError:
                is_new = False
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            opened.callback(os.close, inner)
            if is_new:
                _give(root, inner)
                os.fsync(folder)
            folder = inner
        yield folder


def try_flock(descriptor: int) -> bool:
    """Lock a file without waiting. Return whether it is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _folder(root: int, names: Sequence[str]) -> Iterator[int]:
    """Open a folder below `root` that exists. Raises: OSError."""
    with contextlib.ExitStack() as opened:
        folder = root
        for name in names:
            folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            opened.callback(os.close, folder)
        yield folder


def _read(root: int, folder: int, name: str) -> bytes:
    # O_NONBLOCK: a named pipe must not be waited for
    with os.fdopen(
        os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder), "rb"
    ) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or (os.geteuid() == 0 and status.st_uid != os.fstat(root).st_uid):
            raise PermissionError("not a file of the directory's owner: remove it")
        value = file.read(MAX_VALUE_BYTES + 1)
    if len(value) > MAX_VALUE_BYTES:
        raise OSError(f"larger than {MAX_VALUE_BYTES >> 10} KiB: it is not npserver's, remove it")
    return value


def _replace(root: int, names: Sequence[str], value: bytes | None) -> None:
    """Set or remove a value while having the turn. Raises: OSError; see `StoreFiles.write`."""
    *folders, name = names
    if value is None:
        with contextlib.suppress(FileNotFoundError), _folder(root, folders) as folder:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        return
    if len(value) > MAX_VALUE_BYTES:
        raise OSError(f"a value of more than {MAX_VALUE_BYTES >> 10} KiB cannot be stored")
    with open_folder(root, folders) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_NEW, dir_fd=root)  # of a process that died
        try:
            with os.fdopen(
                os.open(_NEW, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=root), "wb"
            ) as file:
                _give(root, file.fileno())
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            os.rename(_NEW, name, src_dir_fd=root, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(_NEW, dir_fd=root)
            raise
        os.fsync(folder)


def _states(folder: int, prefix: str) -> Iterator[tuple[str, FileState]]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError), _folder(folder, [entry.name]) as inner:
                yield from _states(inner, f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                yield prefix + entry.name, (status.st_mtime_ns, status.st_ino, status.st_size)


def _give(root: int, descriptor: int) -> None:
    """Give what root has made to the owner of the directory."""
    if os.geteuid() == 0:
        status = os.fstat(root)
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _give_tree(directory: str, owner: tuple[int, int]) -> None:
    """Give a directory of root with all that is in it to its owner; itself last, so that nobody interferes.

    Links are left alone, as are files with several names: they may be files of others.
    """
    for _, folders, names, opened in os.fwalk(directory, topdown=False, follow_symlinks=False):
        for name in (*folders, *names):
            status = os.stat(name, dir_fd=opened, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
                os.chown(name, *owner, dir_fd=opened, follow_symlinks=False)
    os.chown(directory, *owner)


def _sync(directory: str) -> None:
    opened = os.open(directory or ".", _FOLDER)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
