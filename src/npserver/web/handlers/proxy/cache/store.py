"""The store of a response cache: a directory of files, shared by all workers without locks on the way of a hit.

    <directory>/ab/ab12...       the response of a key, or the names of the fields that choose its variant
    <directory>/ab/ab12...-1f    a variant
    <directory>/.new/ab12...     a response that is being received: whoever has locked the file fills it for all

A file is written under `.new` and renamed once it is whole. The lock on it ends with its process, so a file that nobody
has locked is a leftover. A key is removed by removing its first file: variants of another group are not served.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from hashlib import blake2b
from typing import TYPE_CHECKING

from npserver.errors import reason_of
from npserver.http.caching import vary_values
from npserver.web.handlers.proxy.cache.claim import Claim, lock
from npserver.web.handlers.proxy.cache.directory import open_mark
from npserver.web.handlers.proxy.cache.entry import Entry, StoredHead, read_entry, state_of, write_end, write_start
from npserver.web.handlers.proxy.cache.tidy import NEW, PURGED, TURN, tidy

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.scoreboard import Row

_MAX_KNOWN = 4096  # entries in a worker's memory
_TOUCH_S = 10.0  # a file's time of use is written once in this time, for eviction


class CacheStore:
    """The stored responses of one directory."""

    def __init__(
        self, directory: str, row: Row, *, max_bytes: int, max_entries: int, max_variants: int, memory_bytes: int
    ) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.max_variants = max_variants
        self._memory_bytes = memory_bytes
        self.row = row
        self.bytes_slot = row.slot(f"cache.bytes.{directory}")
        self.entries_slot = row.slot(f"cache.entries.{directory}")
        self.is_durable = not directory.startswith("/dev/shm/")
        self._is_ready = False
        self.known: dict[str, Entry] = {}
        self._known_bytes = 0

    def __repr__(self) -> str:
        return f"<CacheStore {self.directory}>"

    def prepare(self) -> None:
        """Make the directory. Raises: OSError if that fails, or others could write to it."""
        if self._is_ready:
            return
        os.makedirs(self.directory, 0o700, exist_ok=True)
        status = os.lstat(self.directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(0, "it must be a directory that only its own user, the server's, can write to")
        os.close(open_mark(self.directory, TURN))
        for name in (*[f"{number:02x}" for number in range(256)], NEW):  # NEW last: whoever finds it finds all
            os.makedirs(os.path.join(self.directory, name), 0o700, exist_ok=True)
        space = os.statvfs(self.directory)
        self.max_bytes = min(self.max_bytes, space.f_frsize * space.f_blocks * 3 // 4)  # containers have small /dev/shm
        self._is_ready = True

    # ── reading ──

    def find(self, digest: str, key: bytes, request: dict[bytes, bytes]) -> Entry | None:
        """Return the response to a request with these fields, fresh or not."""
        entry = self._read(digest)
        if entry is None or entry.head.key != key:
            return None
        head = entry.head
        if not head.status:
            values = vary_values(head.vary, request)
            for name in self._variants(digest, head.vary, values):
                found = self._read(name)
                if found is not None and self._is_variant(found.head, head) and found.head.is_for(request):
                    return found
            return None
        return entry if head.is_for(request) else None

    def is_unchanged(self, entry: Entry) -> bool:
        """Whether the file of a response is still the one that was read."""
        try:
            return state_of(os.stat(entry.path, follow_symlinks=False)) == entry.state
        except OSError:
            return False

    def claim_name(self, digest: str, key: bytes, request: dict[bytes, bytes]) -> str:
        """Return the name under which the response to a request is filled."""
        entry = self._read(digest)
        if entry is None or entry.head.status or entry.head.key != key:
            return digest
        return self.variant(digest, entry.head.vary, vary_values(entry.head.vary, request))

    def variant(self, digest: str, names: tuple[bytes, ...], values: tuple[bytes, ...]) -> str:
        """Return the first of the names that a variant may have."""
        return self._variants(digest, names, values)[0]

    def place(self, digest: str, head: StoredHead) -> str:
        """Return the name to store a response under: that of an older one of the same variant, or one that is free.

        There are at most `max_variants` of a key. Each may be in two places; where both are taken it takes the first.
        """
        if not head.vary:
            return digest
        names = self._variants(digest, head.vary, head.values)
        for name in names:
            older = self._read(name)
            if older is None or older.head.group != head.group or older.head.values == head.values:
                return name
        return names[0]

    def _variants(self, digest: str, names: tuple[bytes, ...], values: tuple[bytes, ...]) -> tuple[str, str]:
        hashed = blake2b(b"\1".join((*names, *values)), digest_size=16).digest()
        first, second = int.from_bytes(hashed[:8]), int.from_bytes(hashed[8:])
        return f"{digest}-{first % self.max_variants:x}", f"{digest}-{second % self.max_variants:x}"

    @staticmethod
    def _is_variant(head: StoredHead, names: StoredHead) -> bool:
        """Whether a response is a variant of the key whose fields `names` names."""
        return bool(head.status) and head.group == names.group and head.key == names.key

    def touch(self, entry: Entry, now_s: float) -> None:
        """Note that a response is used: those unused for longest are evicted first."""
        if now_s - entry.touched_s > _TOUCH_S:
            entry.touched_s = now_s
            with contextlib.suppress(OSError):
                os.utime(entry.path, ns=(int(now_s * 1e9), entry.state[1]))

    def _read(self, name: str) -> Entry | None:
        known = self.known.get(name)
        path = self.path(name) if known is None else known.path
        try:
            state = state_of(os.stat(path, follow_symlinks=False))
        except OSError:
            if known is not None:
                self._forget(name)
            return None
        if known is not None:
            if known.state == state:
                return known
            self._forget(name)
        entry = read_entry(path)
        if entry is not None:
            self._keep(name, entry)
        return entry

    def _keep(self, name: str, entry: Entry) -> None:
        if entry.body is not None and len(entry.body) > self._memory_bytes:
            entry.body = None  # it is sent from its file
        self.known[name] = entry
        self._known_bytes += len(entry.body or b"")
        while len(self.known) > _MAX_KNOWN or self._known_bytes > self._memory_bytes:
            self._forget(next(iter(self.known)))

    def _forget(self, name: str) -> None:
        entry = self.known.pop(name)
        self._known_bytes -= len(entry.body or b"")

    def path(self, name: str) -> str:
        """Return the path of a file by its name."""
        return os.path.join(self.directory, name[:2], name)

    # ── writing ──

    def claim(self, name: str) -> Claim | None:
        """Begin to fill a response for all workers; None if another one does. Raises: OSError."""
        path = os.path.join(self.directory, NEW, name)
        try:
            file = lock(path)
        except FileNotFoundError:  # it is new, or was removed while no rule used it
            self._is_ready = False
            self.prepare()
            file = lock(path)
        return None if file is None else Claim(self, path, file)

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes fit into the directory, and one more response."""
        board = self.row.board
        return (
            board.total(self.bytes_slot) + size <= self.max_bytes and board.total(self.entries_slot) < self.max_entries
        )

    def count(self, size: int, entries: int = 0) -> None:
        """Add to the counts of the directory."""
        self.row.slots[self.bytes_slot] += size
        self.row.slots[self.entries_slot] += entries

    def group(self, digest: str, key: bytes, vary: tuple[bytes, ...]) -> bytes:
        """Return the group of a key's variants; write what they vary by first, if that has changed. Raises: OSError."""
        entry = self._read(digest)
        if entry is not None and not entry.head.status and entry.head.key == key and entry.head.vary == vary:
            return entry.head.group
        group = os.urandom(8)
        head = StoredHead(key, "", group, vary, ())
        temporary = os.path.join(self.directory, NEW, f"{digest}.{os.getpid()}")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = write_start(head) + write_end(0)
            os.write(file, data)
            self.replace(temporary, digest, len(data))
            self.count(len(data))
        finally:
            os.close(file)
        return group

    def replace(self, temporary: str, name: str, size: int) -> None:
        """Rename a whole file of `size` bytes, which are counted already, to its name. Raises: OSError."""
        path = self.path(name)
        try:
            older = os.stat(path, follow_symlinks=False).st_size
        except FileNotFoundError:
            older = -1
        os.rename(temporary, path)
        self.count(-max(older, 0), 1 if older < 0 else 0)

    def remove(self, digest: str) -> None:
        """Remove a key with all its variants; responses that are being received for it are not kept."""
        with contextlib.suppress(OSError):
            size = os.stat(self.path(digest)).st_size
            os.unlink(self.path(digest))
            self.count(-size, -1)
        with contextlib.suppress(OSError):
            for one in os.scandir(os.path.join(self.directory, NEW)):
                if one.name.startswith(digest):
                    os.unlink(one.path)

    def purged_at(self) -> int:
        """Return when the directory was last purged, as a file time in ns; 0: never."""
        try:
            return os.stat(os.path.join(self.directory, PURGED)).st_mtime_ns
        except OSError:
            return 0

    def tidy(self, on_fault: Callable[[str], None] | None = None, *, recounts: bool = False) -> int:
        """Evict responses, blocking, until a tenth is free. Return how many; none if another process does so.

        `recounts`: set the counts to what the directory holds, as killed processes have left them wrong.
        """
        try:
            self.prepare()
            found = tidy(self.directory, self.max_bytes, self.max_entries)
        except OSError as error:
            if on_fault is not None:
                on_fault(reason_of(error))
            return 0
        if found is None:
            return 0
        if recounts:
            board = self.row.board
            self.count(found.size - board.total(self.bytes_slot), found.entries - board.total(self.entries_slot))
        else:
            self.count(-found.evicted_bytes, -found.evicted)
        return found.evicted
