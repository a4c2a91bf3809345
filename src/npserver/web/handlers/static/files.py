"""The files of one static rule as cache entries, and the representations of each: plain, pre-compressed, compressed.

Called by `web.handlers.static.handler` with a path and what `stat` says of it. An entry is made from one open
descriptor, so its fields and its body belong together; a file that changes meanwhile is read anew."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from time import monotonic

from msgspec import Struct

from npserver.http.dates import format_date
from npserver.http.media_types import MediaTypes
from npserver.http.negotiation import IDENTITY
from npserver.web.compression import SUFFIXES
from npserver.web.handlers.static.cache import NO_SIBLINGS, Answer, Entry, FileCache, Shelf, Siblings
from npserver.web.handlers.static.root import Identity, Lack, Root, identity

ATTEMPTS = 5  # at a file that changes while it is read
REMEMBERED_DIRECTORIES = 1024
DATE_LATE_NS = 1_000_000_000  # Date is written anew by the sweeper: no Last-Modified may be later (RFC 9110 §8.8.2.1)
UNSETTLED_NS = 50_000_000  # a file changed so recently may change again without its times telling


class FileSettings(Struct, frozen=True):
    """What a rule says about its files; sizes in bytes."""

    root: Root
    media: MediaTypes
    cache_control: str = ""
    codings: tuple[str, ...] = ("zstd", "br", "gzip")  # to compress to, preferred first; empty: do not compress
    min_compressed: int = 256
    max_compressed: int = 5 << 20
    precompressed: bool = True
    max_kept: int = 64 << 10  # largest file kept in memory
    check_interval_s: float = 1.0

    @property
    def offered(self) -> tuple[str, ...]:
        """The codings a client may be answered with, preferred first."""
        others = [coding for coding in SUFFIXES if coding not in self.codings] if self.precompressed else []
        return (*self.codings, *others)


class Files:
    """One rule's files."""

    __slots__ = ("_cache", "_cache_line", "_directories", "_settings", "shelf")

    def __init__(self, settings: FileSettings, cache: FileCache) -> None:
        self._settings = settings
        self._cache = cache
        self._cache_line = (
            f"Cache-Control: {settings.cache_control}\r\n".encode("latin-1") if settings.cache_control else b""
        )
        self._directories: dict[str, tuple[float, Identity]] = {}  # until when they count as looked at
        self.shelf = Shelf()

    def __repr__(self) -> str:
        return f"<Files {self._settings.root} {len(self.shelf.by_path)} kept>"

    def entry(self, path: str, status: os.stat_result) -> Entry | Lack:
        """Give the entry of a regular file that has just been looked at, fresh from now on."""
        entry = self.shelf.by_path.get(path)
        siblings = self._sibling_identities(path, status, entry)
        if entry is not None:
            if self._renew(entry, status, siblings):
                return entry
            self._cache.drop(entry)
        for _ in range(ATTEMPTS):
            entry_or_lack = self._load(path, siblings)
            if entry_or_lack is not Lack.CHANGING:
                return entry_or_lack
        return Lack.CHANGING

    def is_unchanged(self, entry: Entry, path: str) -> bool:
        """Whether `path` still leads to a kept entry of that name: looked at anew, and then fresh again."""
        if entry.path != path or not entry.bytes:
            return False
        status = self._settings.root.stat(path)
        return not isinstance(status, Lack) and self._renew(
            entry, status, self._sibling_identities(path, status, entry)
        )

    def choose(self, entry: Entry, ranking: Sequence[str]) -> Answer | None:
        """Give the representation that suits a client best, None if there is none that it takes.

        It may have no body and no path yet: then it is to be compressed. One compressed before without becoming smaller
        is not chosen again, unless the client refuses the plain file.
        """
        for coding in ranking:
            answer = entry.by_coding.get(coding)
            if answer is None:
                if coding in entry.codings or (IDENTITY not in ranking and self._can_compress(entry, coding)):
                    answer = entry.by_coding[coding] = self._compressed_answer(entry, coding)
                else:
                    continue
            if answer.coding == coding:
                return answer
            if IDENTITY in ranking:
                return answer
            return self._compressed_answer(entry, coding)
        return None

    def keep_compressed(self, entry: Entry, answer: Answer, body: bytes, ranking: tuple[str, ...]) -> Answer:
        """Take the result of compressing; gives what to send: the plain answer if that is the shorter one."""
        if answer.is_kept:
            return answer  # another request has waited for the same
        if IDENTITY in ranking and len(body) >= entry.identity[2]:
            plain = entry.by_coding[answer.coding] = entry.by_coding[IDENTITY]
            entry.codings = tuple([coding for coding in entry.codings if coding != answer.coding])
            return plain
        if entry.bytes and self._cache.can_keep(len(body)) and entry.by_coding.get(answer.coding) is answer:
            answer.keep(body)
            self._cache.grow(entry, len(body))
            return answer
        passing = self._compressed_answer(entry, answer.coding)
        passing.keep(body)
        return passing

    def open(self, entry: Entry, answer: Answer) -> tuple[int, int] | Lack:
        """Open the file that an answer without a body is in: descriptor and size. CHANGING: it is another by now."""
        opened = self._settings.root.open_again(answer.path)
        if isinstance(opened, Lack):
            self._cache.drop(entry)
            return opened
        file, status = opened
        if identity(status) != self._identity(entry, answer):
            os.close(file)
            self._cache.drop(entry)
            return Lack.CHANGING
        return file, status.st_size

    def read(self, entry: Entry) -> bytes | None:
        """Give a file's whole content, None if it is no longer what the entry says. May be called in a thread."""
        plain = entry.by_coding[IDENTITY]
        if plain.is_kept:
            return plain.body
        opened = self._settings.root.open_again(entry.path)
        if isinstance(opened, Lack):
            return None
        try:
            return _read_unchanged(opened[0], entry.identity)
        finally:
            os.close(opened[0])

    # ── making entries ──

    def _renew(self, entry: Entry, status: os.stat_result, siblings: Siblings) -> bool:
        """Whether an entry is what has been found just now; then it is fresh from now on."""
        if entry.identity != identity(status) or entry.siblings.identities != siblings.identities:
            return False
        entry.siblings = siblings
        entry.fresh_until = monotonic() + self._settings.check_interval_s
        return True

    def _load(self, path: str, siblings: Siblings) -> Entry | Lack:
        settings = self._settings
        opened = settings.root.open_file(path)
        if isinstance(opened, Lack):
            return opened
        file, status = opened
        try:
            entry = Entry(self.shelf, path, identity(status), settings.media.of(path))
            body = None
            if self._is_kept(status.st_size):
                body = _read_unchanged(file, entry.identity)
                if body is None:
                    return Lack.CHANGING
        finally:
            os.close(file)
        now_ns = time.time_ns()
        entry.modified_s = max(0, min(status.st_mtime_ns, now_ns - DATE_LATE_NS) // 1_000_000_000)
        entry.siblings = siblings
        if settings.min_compressed <= status.st_size <= settings.max_compressed and settings.media.is_compressible(
            entry.content_type
        ):
            entry.codings = settings.codings
        plain = self._answer(entry, IDENTITY, status)
        plain.path = path
        plain.size = status.st_size
        if body is not None:
            plain.keep(body)
        entry.by_coding[IDENTITY] = plain
        self._add_siblings(entry)
        if now_ns - status.st_ctime_ns > UNSETTLED_NS:
            self._cache.keep(entry)
            entry.fresh_until = monotonic() + settings.check_interval_s
        return entry

    def _add_siblings(self, entry: Entry) -> None:
        for (coding, suffix), known in zip(SUFFIXES.items(), entry.siblings.identities, strict=False):
            if known is None:
                continue
            opened = self._settings.root.open_file(entry.path + suffix)
            if isinstance(opened, Lack):
                continue
            file, status = opened
            try:
                body = _read_unchanged(file, known) if self._is_kept(status.st_size) else None
            finally:
                os.close(file)
            if identity(status) != known or (body is None and self._is_kept(status.st_size)):
                continue
            answer = self._answer(entry, coding, status)
            answer.path = entry.path + suffix
            answer.size = status.st_size
            if body is not None:
                answer.keep(body)
            entry.by_coding[coding] = answer

    def _sibling_identities(self, path: str, status: os.stat_result, entry: Entry | None) -> Siblings:
        """The pre-compressed files beside a file that are not older than it.

        While the directory is unchanged since `entry` was made, none can have appeared or gone: only those there are
        looked at again.
        """
        if not self._settings.precompressed:
            return NO_SIBLINGS
        directory = self._directory_identity(path[: path.rindex("/") + 1])
        known = entry.siblings if entry is not None and entry.siblings.directory == directory else None
        if known is not None and directory is not None and not any(known.identities):
            return known
        found: list[Identity | None] = []
        for position, suffix in enumerate(SUFFIXES.values()):
            if known is not None and directory is not None and known.identities[position] is None:
                found.append(None)
                continue
            sibling = self._settings.root.stat(path + suffix)
            if isinstance(sibling, Lack):
                found.append(None)
            elif stat.S_ISREG(sibling.st_mode) and sibling.st_mtime_ns >= status.st_mtime_ns:
                found.append(identity(sibling))
            else:
                found.append(None)
                directory = None  # it may be brought up to date in its place
        return Siblings(directory, tuple(found))

    def _directory_identity(self, directory: str) -> Identity | None:
        """What tells that no name in a directory has come or gone; None if nothing can. Looked at once an interval."""
        now = monotonic()
        fresh_until, known = self._directories.get(directory, (0.0, None))
        if now < fresh_until:
            return known
        status = self._settings.root.stat(directory)
        if isinstance(status, Lack) or time.time_ns() - status.st_ctime_ns <= UNSETTLED_NS:
            return None
        if len(self._directories) >= REMEMBERED_DIRECTORIES:
            self._directories.clear()
        self._directories[directory] = (now + self._settings.check_interval_s, identity(status))
        return identity(status)

    def _identity(self, entry: Entry, answer: Answer) -> Identity | None:
        if answer.coding == IDENTITY:
            return entry.identity
        return entry.siblings.identities[list(SUFFIXES).index(answer.coding)]

    def _is_kept(self, size: int) -> bool:
        return size <= self._settings.max_kept and self._cache.can_keep(size)

    def _can_compress(self, entry: Entry, coding: str) -> bool:
        """Whether a file that is not worth it could be compressed for a client that insists."""
        return coding in self._settings.codings and entry.identity[2] <= self._settings.max_compressed

    # ── making answers ──

    def _answer(self, entry: Entry, coding: str, status: os.stat_result) -> Answer:
        suffix = b"" if coding == IDENTITY else b"-" + coding.encode()
        return self._compose(entry, coding, b'"%x-%x%b"' % (max(status.st_mtime_ns, 0), status.st_size, suffix))

    def _compressed_answer(self, entry: Entry, coding: str) -> Answer:
        plain = entry.by_coding[IDENTITY].etag
        return self._compose(entry, coding, b'%b-%b"' % (plain[:-1], coding.encode()))

    def _compose(self, entry: Entry, coding: str, etag: bytes) -> Answer:
        """An answer's fields. `Vary` stands on all answers of a file that has several representations."""
        is_varied = bool(entry.codings) or any(entry.siblings.identities) or coding != IDENTITY
        vary = b"Vary: Accept-Encoding\r\n" if is_varied else b""
        tag = b"ETag: %b\r\n" % etag
        untyped = b"".join(
            (
                b"Last-Modified: %b\r\n" % format_date(entry.modified_s).encode(),
                tag,
                b"Accept-Ranges: bytes\r\n" if coding == IDENTITY else b"Content-Encoding: %b\r\n" % coding.encode(),
                vary,
                self._cache_line,
            )
        )
        typed = b"Content-Type: %b\r\n" % entry.content_type.encode("latin-1")
        return Answer(coding, etag, typed, untyped, tag + vary + self._cache_line)


def _read_unchanged(file: int, expected: Identity) -> bytes | None:
    """Read a whole file; None if it is not, or not any more, what was expected."""
    size = expected[2]
    pieces: list[bytes] = []
    offset = 0
    while offset <= size:  # one read past the end shows growth
        piece = os.pread(file, size - offset + 1, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
    if offset != size or identity(os.fstat(file)) != expected:
        return None
    return b"".join(pieces)
