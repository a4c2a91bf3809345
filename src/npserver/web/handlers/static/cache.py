"""The in-memory cache of static files: their metadata, header fields and, for small files, bodies.

One cache per worker and compiled config bounds the memory of all static rules together; each rule has an `EntryTable`.
Eviction is by second chance: the oldest entry goes first, unless it was used since it was last considered.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from npserver.web.handlers.static.root import FileIdentity

ENTRY_BYTES = 2048  # estimated size of an entry without its bodies
MAX_KEYS = 8  # request paths by which one entry can be looked up


class Siblings(Struct, frozen=True):
    """The pre-compressed variants of a file, in the order of `web.compression.SUFFIXES`."""

    directory: FileIdentity | None  # of the directory searched; None if it cannot show that nothing has changed
    identities: tuple[FileIdentity | None, ...]


NO_SIBLINGS = Siblings(None, ())


class Representation:
    """One representation of a file, plain or compressed: its header fields and, if kept in memory, its body."""

    __slots__ = ("body", "coding", "content_type", "etag", "fields", "is_in_memory", "not_modified_fields", "path",
                 "size", "untyped_fields")  # fmt: skip

    status = 200

    def __init__(
        self, coding: str, etag: bytes, content_type: str, untyped_fields: bytes, not_modified_fields: bytes
    ) -> None:
        self.coding = coding
        self.etag = etag  # b"" until the content of its file has been digested
        self.content_type = content_type
        self.fields = b"Content-Type: %b\r\n%b" % (content_type.encode("latin-1"), untyped_fields)
        self.untyped_fields = untyped_fields  # without Content-Type
        self.not_modified_fields = not_modified_fields  # the fields of a 304 response
        self.body = b""  # if `is_in_memory`
        self.is_in_memory = False  # whether it can be sent as it is (`web.exchange.Prepared`)
        self.path = ""  # of the file with these bytes, below the root; "" if npserver compresses them
        self.size = 0  # bytes, if `path` is set

    def __repr__(self) -> str:
        return f"<Representation {self.coding} {self.etag.decode()} {'in memory' if self.is_in_memory else self.path}>"

    def keep(self, body: bytes) -> None:
        """Keep the body in memory: from now on the representation can be sent as it is."""
        self.body = body
        self.is_in_memory = True


class Entry:
    """A file as it was when last checked."""

    __slots__ = (
        "by_coding", "by_ranking", "bytes", "coded", "codings", "content_type", "fresh_until", "identity", "keys",
        "modified_s", "path", "siblings", "table", "used",
    )  # fmt: skip

    def __init__(
        self,
        table: EntryTable,
        path: str,
        identity: FileIdentity,
        content_type: str,
        coded: tuple[str, str] | None = None,
    ) -> None:
        self.table = table
        self.path = path  # below the root
        self.identity = identity
        self.content_type = content_type  # of the file's bytes
        self.coded = coded  # `MediaTypes.coded`
        self.modified_s: int | None = None  # Last-Modified
        self.siblings = NO_SIBLINGS
        self.codings: tuple[str, ...] = ()  # that it may be compressed to
        self.by_coding: dict[str, Representation] = {}  # made so far
        #: Those in memory, by the ranking of codings in Accept-Encoding.
        self.by_ranking: dict[tuple[str, ...], Representation] = {}
        self.fresh_until = 0.0  # of `time.monotonic()`: when the file must be checked again
        self.keys: list[str] = []  # the request paths under which `table.by_request` holds it
        self.used = True
        self.bytes = 0  # counted in the cache; 0 while not cached

    def __repr__(self) -> str:
        return f"<Entry {self.path} {sorted(self.by_coding)}>"


class EntryTable:
    """The cached entries of one static rule."""

    __slots__ = ("by_path", "by_request")

    def __init__(self) -> None:
        self.by_path: dict[str, Entry] = {}
        self.by_request: dict[str, Entry] = {}  # by the path of a request, which saves decoding and looking it up


class RepresentationCache:
    """All cached entries of a worker, which take at most `max_bytes` together."""

    __slots__ = ("_entries", "bytes", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[Entry, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RepresentationCache {len(self._entries)} entries, {self.bytes} of {self.max_bytes} bytes>"

    def can_keep(self, size: int) -> bool:
        """Return whether a body of `size` bytes may be cached: not if it would evict much of the rest."""
        return size <= self.max_bytes // 8

    def keep(self, entry: Entry) -> None:
        """Cache an entry, in place of an older one for the same file."""
        older = entry.table.by_path.get(entry.path)
        if older is not None:
            self.drop(older)
        if self.max_bytes < ENTRY_BYTES:
            return
        self._entries[entry] = None
        entry.table.by_path[entry.path] = entry
        self.grow(entry, ENTRY_BYTES + sum([len(representation.body) for representation in entry.by_coding.values()]))

    def link(self, key: str, entry: Entry) -> None:
        """Have a request path find a cached entry directly from now on."""
        if entry.bytes and len(entry.keys) < MAX_KEYS and key not in entry.table.by_request:
            entry.table.by_request[key] = entry
            entry.keys.append(key)

    def grow(self, entry: Entry, size: int) -> None:
        """Count `size` more bytes of a cached entry, and evict others if the cache is full."""
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
        """Remove an entry from the cache."""
        if entry not in self._entries:
            return
        del self._entries[entry]
        self.bytes -= entry.bytes
        entry.bytes = 0
        table = entry.table
        if table.by_path.get(entry.path) is entry:
            del table.by_path[entry.path]
        for key in entry.keys:
            if table.by_request.get(key) is entry:
                del table.by_request[key]
        entry.keys.clear()
