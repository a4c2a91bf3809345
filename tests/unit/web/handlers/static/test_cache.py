"""The in-memory cache of static files."""

from __future__ import annotations

from npserver.web.handlers.static.cache import (
    ENTRY_BYTES,
    MAX_KEYS,
    Entry,
    EntryTable,
    Representation,
    RepresentationCache,
)
from npserver.web.handlers.static.root import FileIdentity

IDENTITY: FileIdentity = (0, 0, 0, 0, 0)


class TestCache:
    """`web.handlers.static.cache`."""

    def entry(self, table: EntryTable, name: str, size: int) -> Entry:
        entry = Entry(table, name, IDENTITY, "text/plain")
        plain = Representation("identity", b'"a"', "text/plain", b"", b"")
        plain.body = b"x" * size
        entry.by_coding["identity"] = plain
        return entry

    def test_memory_is_bounded_and_unused_entries_are_evicted_first(self) -> None:
        table = EntryTable()
        cache = RepresentationCache(4 * (ENTRY_BYTES + 1000))
        for name in "abcd":
            cache.keep(self.entry(table, name, 1000))
            cache.link(f"/{name}", table.by_path[name])
        for entry in table.by_path.values():
            entry.used = entry.path == "a"
        cache.keep(self.entry(table, "e", 1000))
        assert list(table.by_path) == ["a", "c", "d", "e"]
        assert "/b" not in table.by_request
        assert cache.bytes <= cache.max_bytes

    def test_used_entries_are_evicted_if_all_are_used(self) -> None:
        table = EntryTable()
        cache = RepresentationCache(10 * (ENTRY_BYTES + 1000))
        for number in range(1000):
            cache.keep(self.entry(table, str(number), 1000))
            assert cache.bytes <= cache.max_bytes
        assert len(table.by_path) == 10

    def test_an_entry_replaces_an_older_one_for_the_same_file(self) -> None:
        table = EntryTable()
        cache = RepresentationCache(1 << 20)
        first, second = self.entry(table, "a", 10), self.entry(table, "a", 20)
        cache.keep(first)
        cache.link("/a", first)
        cache.keep(second)
        assert table.by_path == {"a": second}
        assert table.by_request == {}
        assert cache.bytes == ENTRY_BYTES + 20
        cache.drop(first)
        assert table.by_path == {"a": second}

    def test_the_request_paths_of_an_entry_are_bounded(self) -> None:
        table = EntryTable()
        cache = RepresentationCache(1 << 20)
        entry = self.entry(table, "a", 10)
        cache.keep(entry)
        for number in range(100):
            cache.link(f"/{number}", entry)
        assert len(table.by_request) == MAX_KEYS
        cache.drop(entry)
        assert table.by_request == {}
        assert cache.bytes == 0

    def test_an_uncached_entry_is_not_linked(self) -> None:
        table = EntryTable()
        cache = RepresentationCache(0)
        entry = self.entry(table, "a", 10)
        cache.keep(entry)
        cache.link("/a", entry)
        cache.grow(entry, 100)
        assert (table.by_path, table.by_request, cache.bytes) == ({}, {}, 0)
