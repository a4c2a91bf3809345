"""The in-memory cache of static answers: what `web.handlers.static.handler` looks up for a path and may send as it is.

One cache per worker and runtime bounds the memory of all static rules together; each rule has a shelf in it. The oldest
entries go first, but one that was used since it was last passed over gets another round.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from npserver.web.handlers.static.root import Identity

ENTRY_BYTES = 2048  # what an entry costs beside its bodies
MAX_KEYS = 8  # request paths that may lead to one entry by short cut


class Siblings(Struct, frozen=True):
    """The pre-compressed files beside a file, in the order of `web.compression.SUFFIXES`."""

    directory: Identity | None  # the directory they were looked for in; None if it was just being changed
    identities: tuple[Identity | None, ...]


NO_SIBLINGS = Siblings(None, ())


class Answer:
    """One representation of a file: its fields and, if it is kept in memory, its body."""

    __slots__ = ("body", "coding", "etag", "fields", "is_kept", "not_modified_fields", "path", "size", "untyped_fields")

    status = 200

    def __init__(
        self, coding: str, etag: bytes, content_type: bytes, untyped_fields: bytes, not_modified_fields: bytes
    ) -> None:
        self.coding = coding
        self.etag = etag
        self.fields = content_type + untyped_fields
        self.untyped_fields = untyped_fields  # without Content-Type
        self.not_modified_fields = not_modified_fields  # what a 304 carries
        self.body = b""  # if `is_kept`
        self.is_kept = False  # the body is in memory: this can be sent as it is (`web.exchange.Prepared`)
        self.path = ""  # below the root: the file these bytes are in; "" if they are made by compressing
        self.size = 0  # bytes, if `path` is set

    def __repr__(self) -> str:
        return f"<Answer {self.coding} {self.etag.decode()} {'in memory' if self.is_kept else self.path}>"

    def keep(self, body: bytes) -> None:
        """Keep the body in memory: from now on the answer can be sent as it is."""
        self.body = body
        self.is_kept = True


class Entry:
    """A file as it was when last looked at."""

    __slots__ = (
        "answers", "by_coding", "bytes", "codings", "content_type", "fresh_until", "identity", "keys", "modified_s",
        "path", "shelf", "siblings", "used",
    )  # fmt: skip

    def __init__(self, shelf: Shelf, path: str, identity: Identity, content_type: str) -> None:
        self.shelf = shelf
        self.path = path  # below the root
        self.identity = identity
        self.content_type = content_type
        self.modified_s = 0  # Last-Modified
        self.siblings = NO_SIBLINGS
        self.codings: tuple[str, ...] = ()  # what it may be compressed to
        self.by_coding: dict[str, Answer] = {}  # made so far
        self.answers: dict[tuple[str, ...], Answer] = {}  # those in memory, by the ranking of codings they suit
        self.fresh_until = 0.0  # of `time.monotonic()`: when to look at the file again
        self.keys: list[str] = []  # request paths that lead here
        self.used = True
        self.bytes = 0  # accounted for; 0 while not kept

    def __repr__(self) -> str:
        return f"<Entry {self.path} {sorted(self.by_coding)}>"


class Shelf:
    """One rule's entries."""

    __slots__ = ("by_path", "by_request")

    def __init__(self) -> None:
        self.by_path: dict[str, Entry] = {}
        self.by_request: dict[str, Entry] = {}  # short cuts from request paths


class FileCache:
    """All entries of a worker, at most `max_bytes` of them."""

    __slots__ = ("_entries", "bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[Entry, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<FileCache {len(self._entries)} entries, {self.bytes} of {self.max_bytes} bytes>"

    def can_keep(self, size: int) -> bool:
        """Whether a body of `size` bytes may be kept: none that would push out much of the rest."""
        return size <= self.max_bytes // 8

    def keep(self, entry: Entry) -> None:
        """Put an entry on its shelf, in the place of an older one for the same file."""
        older = entry.shelf.by_path.get(entry.path)
        if older is not None:
            self.drop(older)
        if self.max_bytes < ENTRY_BYTES:
            return
        self._entries[entry] = None
        entry.shelf.by_path[entry.path] = entry
        self.grow(entry, ENTRY_BYTES + sum([len(answer.body) for answer in entry.by_coding.values()]))

    def link(self, key: str, entry: Entry) -> None:
        """Let a request path lead to a kept entry from now on."""
        if entry.bytes and len(entry.keys) < MAX_KEYS and key not in entry.shelf.by_request:
            entry.shelf.by_request[key] = entry
            entry.keys.append(key)

    def grow(self, entry: Entry, size: int) -> None:
        """Account for more bytes of a kept entry; others have to go if that is too much."""
        if entry not in self._entries:
            return
        entry.bytes += size
        self.bytes += size
        while self.bytes > self.max_bytes:
            oldest = next(iter(self._entries))
            if oldest.used and len(self._entries) > 1:
                oldest.used = False
                self._entries.move_to_end(oldest)
            else:
                self.drop(oldest)

    def drop(self, entry: Entry) -> None:
        """Forget an entry."""
        if entry not in self._entries:
            return
        del self._entries[entry]
        self.bytes -= entry.bytes
        entry.bytes = 0
        shelf = entry.shelf
        if shelf.by_path.get(entry.path) is entry:
            del shelf.by_path[entry.path]
        for key in entry.keys:
            if shelf.by_request.get(key) is entry:
                del shelf.by_request[key]
        entry.keys.clear()
