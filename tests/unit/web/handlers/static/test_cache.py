"""The memory that holds static answers."""

from __future__ import annotations

from npserver.web.handlers.static.cache import ENTRY_BYTES, MAX_KEYS, Answer, Entry, FileCache, Shelf
from npserver.web.handlers.static.root import Identity

IDENTITY: Identity = (0, 0, 0, 0, 0)


class TestCache:
    """`web.handlers.static.cache`."""

    def entry(self, shelf: Shelf, name: str, size: int) -> Entry:
        entry = Entry(shelf, name, IDENTITY, "text/plain")
        answer = Answer("identity", b'"a"', b"", b"", b"")
        answer.body = b"x" * size
        entry.by_coding["identity"] = answer
        return entry

    def test_memory_is_bounded_and_the_unused_go_first(self) -> None:
        shelf = Shelf()
        cache = FileCache(4 * (ENTRY_BYTES + 1000))
        for name in "abcd":
            cache.keep(self.entry(shelf, name, 1000))
            cache.link(f"/{name}", shelf.by_path[name])
        for entry in shelf.by_path.values():
            entry.used = entry.path == "a"
        cache.keep(self.entry(shelf, "e", 1000))
        assert list(shelf.by_path) == ["a", "c", "d", "e"]
        assert "/b" not in shelf.by_request
        assert cache.bytes <= cache.max_bytes

    def test_what_is_used_goes_too_when_all_is(self) -> None:
        shelf = Shelf()
        cache = FileCache(10 * (ENTRY_BYTES + 1000))
        for number in range(1000):
            cache.keep(self.entry(shelf, str(number), 1000))
            assert cache.bytes <= cache.max_bytes
        assert len(shelf.by_path) == 10

    def test_an_entry_takes_an_older_one_s_place(self) -> None:
        shelf = Shelf()
        cache = FileCache(1 << 20)
        first, second = self.entry(shelf, "a", 10), self.entry(shelf, "a", 20)
        cache.keep(first)
        cache.link("/a", first)
        cache.keep(second)
        assert shelf.by_path == {"a": second}
        assert shelf.by_request == {}
        assert cache.bytes == ENTRY_BYTES + 20
        cache.drop(first)
        assert shelf.by_path == {"a": second}

    def test_few_paths_lead_to_one_entry(self) -> None:
        shelf = Shelf()
        cache = FileCache(1 << 20)
        entry = self.entry(shelf, "a", 10)
        cache.keep(entry)
        for number in range(100):
            cache.link(f"/{number}", entry)
        assert len(shelf.by_request) == MAX_KEYS
        cache.drop(entry)
        assert shelf.by_request == {}
        assert cache.bytes == 0

    def test_one_that_is_not_kept_is_not_linked(self) -> None:
        shelf = Shelf()
        cache = FileCache(0)
        entry = self.entry(shelf, "a", 10)
        cache.keep(entry)
        cache.link("/a", entry)
        cache.grow(entry, 100)
        assert (shelf.by_path, shelf.by_request, cache.bytes) == ({}, {}, 0)
