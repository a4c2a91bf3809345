"""The files of one static rule as cache entries, and the representations of each: plain, pre-compressed, compressed.

Called by `web.handlers.static.handler` with a path and its `stat` result. An entry is read from one open descriptor, so
its fields and its body belong together; a file that changes meanwhile is read again.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.http.dates import format_date
from npserver.http.media_types import MediaTypes
from npserver.http.negotiation import IDENTITY
from npserver.web.compression import SUFFIXES
from npserver.web.handlers.static.cache import (
    NO_SIBLINGS,
    Entry,
    EntryTable,
    Representation,
    RepresentationCache,
    Siblings,
)
from npserver.web.handlers.static.root import FileError, FileIdentity, Root, file_identity
from npserver.web.handlers.static.validators import UNSETTLED_NS, EntityTags, digest_file, modification_date

if TYPE_CHECKING:
    from npserver.web.config import Compression
    from npserver.web.handlers.static.config import FileCache, StaticRule

ATTEMPTS = 5  # to read a file that changes while it is read
DIRECTORY_CACHE_SIZE = 1024  # directories whose identity is cached


class FileSettings(Struct, frozen=True):
    """The settings of a rule for reading, compressing and caching files."""

    rule: StaticRule
    compression: Compression
    file_cache: FileCache
    root: Root
    media: MediaTypes

    @property
    def codings(self) -> tuple[str, ...]:
        """The content codings to compress to, preferred first."""
        return tuple(self.compression.codings) if self.compression.enabled else ()

    @property
    def offered(self) -> tuple[str, ...]:
        """The content codings that may be sent, preferred first."""
        others = SUFFIXES if self.rule.precompressed else ("gzip",)  # files may be in gzip by their format
        return (*self.codings, *[coding for coding in others if coding not in self.codings])


class Files:
    """One rule's files."""

    __slots__ = ("_cache", "_cache_line", "_directories", "_settings", "_tags", "table")

    def __init__(self, settings: FileSettings, cache: RepresentationCache) -> None:
        self._settings = settings
        cache_control = settings.rule.cache_control
        self._cache = cache
        self._cache_line = f"Cache-Control: {cache_control}\r\n".encode("latin-1") if cache_control else b""
        self._directories: dict[str, tuple[float, FileIdentity]] = {}  # by path: until when they are trusted, identity
        self._tags = EntityTags()
        self.table = EntryTable()

    def __repr__(self) -> str:
        return f"<Files {self._settings.root} {len(self.table.by_path)} cached>"

    def entry(self, path: str, status: os.stat_result) -> Entry | FileError:
        """Return the entry of a regular file whose `stat` result is `status`. It is fresh from now on."""
        entry = self.table.by_path.get(path)
        siblings = self._find_siblings(path, status, entry)
        if entry is not None:
            if self._renew(entry, status, siblings):
                return entry
            self._cache.drop(entry)
        for _ in range(ATTEMPTS):
            loaded = self._load(path, siblings)
            if loaded is not FileError.CHANGING:
                return loaded
        return FileError.CHANGING

    def is_unchanged(self, entry: Entry, path: str) -> bool:
        """Check a cached entry against the file at `path`. Return whether it is unchanged; it is then fresh again."""
        if entry.path != path or not entry.bytes:
            return False
        status = self._settings.root.stat(path)
        return not isinstance(status, FileError) and self._renew(
            entry, status, self._find_siblings(path, status, entry)
        )

    def choose(self, entry: Entry, ranking: Sequence[str]) -> Representation | None:
        """Return the first representation of `ranking` that exists or can be made; None if there is none.

        One without a body and a path has yet to be compressed. If compressing did not make the file smaller, that
        coding is chosen again only for a client that refuses the plain file.
        """
        if entry.coded is not None and entry.coded[0] in ranking:
            return entry.by_coding[entry.coded[0]]
        for coding in ranking:
            representation = entry.by_coding.get(coding)
            if representation is None:
                if coding in entry.codings or (IDENTITY not in ranking and self._can_compress(entry, coding)):
                    representation = entry.by_coding[coding] = self._compressed_representation(entry, coding)
                else:
                    continue
            if representation.coding == coding:
                return representation
            if IDENTITY in ranking:
                return representation
            return self._compressed_representation(entry, coding)
        return None

    def keep_compressed(
        self, entry: Entry, representation: Representation, body: bytes, ranking: tuple[str, ...]
    ) -> Representation:
        """Take the result of compressing. Return the representation to send: the plain one if it is not longer."""
        if representation.is_in_memory:
            return representation  # another request waited for the same result
        if IDENTITY in ranking and len(body) >= entry.identity[2]:
            plain = entry.by_coding[representation.coding] = entry.by_coding[IDENTITY]
            entry.codings = tuple([coding for coding in entry.codings if coding != representation.coding])
            return plain
        is_current = entry.by_coding.get(representation.coding) is representation
        if entry.bytes and is_current and self._cache.can_keep(len(body)):
            representation.keep(body)
            self._cache.grow(entry, len(body))
            return representation
        uncached = self._compressed_representation(entry, representation.coding)
        uncached.keep(body)
        return uncached

    def open(self, entry: Entry, representation: Representation) -> tuple[int, int] | FileError:
        """Open the file of a representation without a body. Return its descriptor and size, or an error."""
        opened = self._settings.root.open_again(representation.path)
        if isinstance(opened, FileError):
            self._cache.drop(entry)
            return opened
        file, status = opened
        if file_identity(status) != self.source(entry, representation)[1]:
            os.close(file)
            self._cache.drop(entry)
            return FileError.CHANGING
        return file, status.st_size

    def read(self, entry: Entry) -> bytes | None:
        """Return a file's whole content; None if it has changed since the entry was made. May be called in a thread."""
        plain = entry.by_coding[IDENTITY]
        if plain.is_in_memory:
            return plain.body
        opened = self._settings.root.open_again(entry.path)
        if isinstance(opened, FileError):
            return None
        try:
            return _read_unchanged(opened[0], entry.identity)
        finally:
            os.close(opened[0])

    def source(self, entry: Entry, representation: Representation) -> tuple[str, FileIdentity]:
        """Return path and identity of the file that a representation is read or compressed from."""
        if representation.path in ("", entry.path):
            return entry.path, entry.identity
        identity = entry.siblings.identities[list(SUFFIXES).index(representation.coding)]
        assert identity is not None
        return representation.path, identity

    def digest(self, path: str, identity: FileIdentity) -> bytes | None:
        """Return the digest of a file's content; None if its identity is another. May be called in a thread."""
        opened = self._settings.root.open_again(path)
        if isinstance(opened, FileError):
            return None
        try:
            return digest_file(opened[0], identity)
        finally:
            os.close(opened[0])

    def keep_digest(self, entry: Entry, identity: FileIdentity, digest: bytes | None) -> None:
        """Keep the digest of a file for entity tags, and drop the entry that had none."""
        if digest is not None:
            self._tags.keep(identity, digest)
        self._cache.drop(entry)

    # ── making entries ──

    def _renew(self, entry: Entry, status: os.stat_result, siblings: Siblings) -> bool:
        """Return whether an entry has the identities just found; it is then fresh from now on."""
        if entry.identity != file_identity(status) or entry.siblings.identities != siblings.identities:
            return False
        entry.siblings = siblings
        entry.fresh_until = monotonic() + self._settings.file_cache.check_interval
        return True

    def _load(self, path: str, siblings: Siblings) -> Entry | FileError:
        settings = self._settings
        opened = settings.root.open_file(path)
        if isinstance(opened, FileError):
            return opened
        file, status = opened
        try:
            media = settings.media
            entry = Entry(self.table, path, file_identity(status), media.of(path), media.coded(path))
            body = None
            if self._fits_cache(status.st_size):
                body = _read_unchanged(file, entry.identity)
                if body is None:
                    return FileError.CHANGING
        finally:
            os.close(file)
        now_ns = time.time_ns()
        entry.modified_s = modification_date(status, now_ns)
        entry.siblings = siblings
        limits = settings.compression
        if entry.coded is not None:
            entry.by_coding[entry.coded[0]] = self._file_representation(entry, path, entry.coded[0], status, body)
        elif limits.min_size <= status.st_size <= limits.max_size and media.is_compressible(entry.content_type):
            entry.codings = settings.codings
        entry.by_coding[IDENTITY] = self._file_representation(entry, path, IDENTITY, status, body)
        self._add_siblings(entry)
        if now_ns - status.st_ctime_ns > UNSETTLED_NS:
            self._cache.keep(entry)
            entry.fresh_until = monotonic() + settings.file_cache.check_interval
        return entry

    def _add_siblings(self, entry: Entry) -> None:
        for (coding, suffix), known in zip(SUFFIXES.items(), entry.siblings.identities, strict=False):
            if known is None:
                continue
            opened = self._settings.root.open_file(entry.path + suffix)
            if isinstance(opened, FileError):
                continue
            file, status = opened
            try:
                body = _read_unchanged(file, known) if self._fits_cache(status.st_size) else None
            finally:
                os.close(file)
            if file_identity(status) != known or (body is None and self._fits_cache(status.st_size)):
                continue
            entry.by_coding[coding] = self._file_representation(entry, entry.path + suffix, coding, status, body)

    def _find_siblings(self, path: str, status: os.stat_result, entry: Entry | None) -> Siblings:
        """Find the pre-compressed variants of a file that are not older than it.

        While the directory is unchanged since `entry` was made, none can have been added or removed: only those
        already known are checked again.
        """
        if not self._settings.rule.precompressed or self._settings.media.coded(path) is not None:
            return NO_SIBLINGS
        directory = self._directory_identity(path[: path.rindex("/") + 1])
        known = entry.siblings if entry is not None and entry.siblings.directory == directory else None
        if known is not None and directory is not None and not any(known.identities):
            return known
        found: list[FileIdentity | None] = []
        for position, suffix in enumerate(SUFFIXES.values()):
            if known is not None and directory is not None and known.identities[position] is None:
                found.append(None)
                continue
            sibling = self._settings.root.stat(path + suffix)
            if isinstance(sibling, FileError):
                found.append(None)
            elif stat.S_ISREG(sibling.st_mode) and sibling.st_mtime_ns >= status.st_mtime_ns:
                found.append(file_identity(sibling))
            else:
                found.append(None)
                directory = None  # it may be updated in place, which does not change the directory
        return Siblings(directory, tuple(found))

    def _directory_identity(self, directory: str) -> FileIdentity | None:
        """Return a value that changes when a name in `directory` is added or removed; None if it was changed just now.

        It is checked once per `file_cache.check_interval`.
        """
        now = monotonic()
        fresh_until, known = self._directories.get(directory, (0.0, None))
        if now < fresh_until:
            return known
        status = self._settings.root.stat(directory)
        if isinstance(status, FileError) or time.time_ns() - status.st_ctime_ns <= UNSETTLED_NS:
            return None
        if len(self._directories) >= DIRECTORY_CACHE_SIZE:
            self._directories.clear()
        self._directories[directory] = (now + self._settings.file_cache.check_interval, file_identity(status))
        return file_identity(status)

    def _fits_cache(self, size: int) -> bool:
        return size <= self._settings.file_cache.max_file_size and self._cache.can_keep(size)

    def _can_compress(self, entry: Entry, coding: str) -> bool:
        """Return whether a file may be compressed for a client that refuses it plain, though it would not save much."""
        return coding in self._settings.codings and entry.identity[2] <= self._settings.compression.max_size

    # ── making representations ──

    def _file_representation(
        self, entry: Entry, path: str, coding: str, status: os.stat_result, body: bytes | None
    ) -> Representation:
        opaque = self._tags.opaque(status, body, time.time_ns())
        suffix = b"" if coding == IDENTITY else b"-" + coding.encode()
        representation = self._compose(entry, coding, b'"%b%b"' % (opaque, suffix) if opaque else b"")
        representation.path = path
        representation.size = status.st_size
        if body is not None:
            representation.keep(body)
        return representation

    def _compressed_representation(self, entry: Entry, coding: str) -> Representation:
        plain = entry.by_coding[IDENTITY].etag
        return self._compose(entry, coding, b'%b-%b"' % (plain[:-1], coding.encode()) if plain else b"")

    def _compose(self, entry: Entry, coding: str, etag: bytes) -> Representation:
        """Return a representation with its fields. All representations of a file have `Vary` if there are several."""
        coded_as, decoded_type = entry.coded or ("", "")
        is_varied = bool(coded_as or entry.codings) or any(entry.siblings.identities) or coding != IDENTITY
        vary = b"Vary: Accept-Encoding\r\n" if is_varied else b""
        tag = b"ETag: %b\r\n" % etag
        dated = b"" if entry.modified_s is None else b"Last-Modified: %b\r\n" % format_date(entry.modified_s).encode()
        untyped = b"".join(
            (
                dated,
                tag,
                b"Accept-Ranges: bytes\r\n" if coding in (IDENTITY, coded_as) else b"",
                b"" if coding == IDENTITY else b"Content-Encoding: %b\r\n" % coding.encode(),
                vary,
                self._cache_line,
            )
        )
        content_type = decoded_type if coding == coded_as else entry.content_type
        return Representation(coding, etag, content_type, untyped, tag + vary + self._cache_line)


def _read_unchanged(file: int, expected: FileIdentity) -> bytes | None:
    """Return the content of an open file; None if its identity is not `expected`."""
    size = expected[2]
    pieces: list[bytes] = []
    offset = 0
    while offset <= size:  # one read past the end shows growth
        piece = os.pread(file, size - offset + 1, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
    if offset != size or file_identity(os.fstat(file)) != expected:
        return None
    return b"".join(pieces)
