"""Validators of files (RFC 9110 §8.8): the modification date, and the opaque part of the entity tag.

A modification time in whole seconds was set by a program, which may set the same for all files: Nix sets 1, Cloud
Native Buildpacks 1980, archives of npm 1985, others SOURCE_DATE_EPOCH. It does not tell contents of one size apart,
so that the tag is a digest of the content: equal on all machines, and after a copy. Used by
`web.handlers.static.files`.
"""

from __future__ import annotations

import os
from hashlib import blake2b

from npserver.web.handlers.static.root import FileIdentity, file_identity

OLDEST_S = 631_152_000  # 1990, before the Web: an earlier modification time is not the content's
MAX_DIGESTED_BYTES = 16 << 20  # digested within about 20 ms, in a thread
MAX_DIGESTS = 4096  # of files that are not read as a whole to be cached
DATE_LATE_NS = 1_000_000_000  # Date lags by up to a second, and Last-Modified may not be later (RFC 9110 §8.8.2.1)
UNSETTLED_NS = 50_000_000  # a later change within this time may leave the same timestamps

_SECOND_NS = 1_000_000_000
_DIGEST_BYTES = 16
_PIECE_BYTES = 1 << 20


def modification_date(status: os.stat_result, now_ns: int) -> int | None:
    """Return the date for Last-Modified in seconds since 1970; None if the modification time cannot be a real one.

    A client that is told of 1970 may keep the content for years without asking (RFC 9111 §4.2.2).
    """
    modified_s = min(status.st_mtime_ns, now_ns - DATE_LATE_NS) // _SECOND_NS
    return modified_s if modified_s >= OLDEST_S else None


def digest(content: bytes) -> bytes:
    """Return the digest of a whole file, for its entity tag."""
    return blake2b(content, digest_size=_DIGEST_BYTES).hexdigest().encode()


def digest_file(file: int, expected: FileIdentity) -> bytes | None:
    """Return the digest of an open file; None if its identity is not `expected`, or changes meanwhile."""
    found = blake2b(digest_size=_DIGEST_BYTES)
    offset = 0
    while offset < expected[2] and (piece := os.pread(file, _PIECE_BYTES, offset)):
        found.update(piece)
        offset += len(piece)
    return found.hexdigest().encode() if file_identity(os.fstat(file)) == expected else None


class EntityTags:
    """Makes the opaque parts of entity tags, and keeps the digests of files that are not cached as a whole."""

    __slots__ = ("_digests",)

    def __init__(self) -> None:
        self._digests: dict[FileIdentity, bytes] = {}

    def __repr__(self) -> str:
        return f"<EntityTags {len(self._digests)} digests>"

    def keep(self, identity: FileIdentity, digest: bytes) -> None:
        """Keep the digest of a file."""
        if len(self._digests) >= MAX_DIGESTS:
            self._digests.clear()
        self._digests[identity] = digest

    def opaque(self, status: os.stat_result, body: bytes | None, now_ns: int) -> bytes:
        """Return the opaque part for a file with this content, None if it was not read; b"" if a digest is to be kept.

        Of files too large for a digest the modification time is taken if it can be a real one, else the time of the
        last status change, which differs from machine to machine.
        """
        modified_ns, size = status.st_mtime_ns, status.st_size
        if modified_ns % _SECOND_NS:
            return b"%x-%x" % (max(modified_ns, 0), size)
        if body is not None:
            return digest(body)
        if size <= MAX_DIGESTED_BYTES and now_ns - status.st_ctime_ns > UNSETTLED_NS:
            return self._digests.get(file_identity(status), b"")
        if size > MAX_DIGESTED_BYTES and modified_ns >= OLDEST_S * _SECOND_NS:
            return b"%x-%x" % (modified_ns, size)
        return b"%x-%x-c" % (status.st_ctime_ns, size)
