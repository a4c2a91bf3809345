"""The journal of updates: what it has after each write that could be the last one, and after those that fail."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.errors import StoreError
from npserver.nameserver.zones import journal as module
from npserver.nameserver.zones.journal import Change, Journal
from npserver.nameserver.zones.overlay import Entry, Overlay
from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles

APEX = parse_owner("example.com")
TURNS = 12


class Killed(Exception):
    """The process died."""


class Faulty(DirectoryStore):
    """A store in a directory, one of whose writes goes wrong: it is the process's last, or fails, done or not."""

    __slots__ = ("_at", "_error", "_is_done", "writes")

    def __init__(
        self, directory: Path, at: int = -1, error: type[Exception] = Killed, *, is_done: bool = False
    ) -> None:
        super().__init__(StoreFiles(str(directory)), in_threads=False)
        self.writes = 0
        self._at, self._error, self._is_done = at, error, is_done

    async def put(self, key: str, value: bytes) -> None:
        await self._write(super().put(key, value))

    async def delete(self, key: str) -> None:
        await self._write(super().delete(key))

    async def _write(self, writing: object) -> None:
        self.writes += 1
        fails = self.writes == self._at
        if fails and not self._is_done:
            writing.close()  # type: ignore[attr-defined]
        else:
            await writing  # type: ignore[misc]
        if fails:
            raise self._error("no space left on device")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let values be small, so that a few changes fill them."""
    for name, size in (("SEGMENT_BYTES", 200), ("PART_BYTES", 150), ("MIN_JOURNAL_BYTES", 300)):
        monkeypatch.setattr(module, name, size)


def change_of(chance: random.Random, turn: int) -> Change:
    entries = []
    for _ in range(chance.randint(1, 3)):
        name = parse_owner(f"h{chance.randrange(12)}.example.com")
        records = chance.choice(((60, (chance.randbytes(4),)), None))
        entries.append(Entry(name, codes.A, chance.random() < 0.8, records))
    return Change(turn, b"digest", tuple(entries))


def play(store: Faulty, history: list[dict[tuple[bytes, int], object]], more: int = 0) -> None:
    """Make changes and replace the journal, and note the overlay after each change that was kept; `history[-1]` may
    be one that is not known to be kept."""
    journal, chance = Journal(store, APEX), random.Random(7)
    overlay = finish(journal.load())
    for turn in range(TURNS + more):
        change = change_of(chance, turn)
        made = Overlay()
        made.sets = dict(overlay.sets)
        made.take(change.entries)
        history.append(made.sets)
        try:
            finish(journal.add(change))
        except StoreError:
            history.pop()
            continue
        overlay = made
        if journal.is_long():
            cut = journal.cut(overlay)
            try:
                finish(journal.replace(cut))
            except StoreError:
                pass


def writes(directory: Path) -> int:
    store = Faulty(directory)
    play(store, [])
    return store.writes


def test_what_was_added_is_loaded(tmp_path: Path) -> None:
    history: list[dict[tuple[bytes, int], object]] = []
    play(Faulty(tmp_path), history)
    journal = Journal(Faulty(tmp_path), APEX)
    overlay = finish(journal.load())
    assert overlay.sets == history[-1]
    assert journal.last == (TURNS - 1, b"digest")
    assert overlay.size == sum(Entry(*place, True, records).size for place, records in overlay.sets.items())
    assert any("whole" in path.name for path in tmp_path.rglob("*"))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 3000


@pytest.mark.parametrize("is_done", [False, True])
def test_a_process_that_dies_at_any_write(tmp_path: Path, is_done: bool) -> None:
    """What was kept is there, whole, and what is not named is removed by the next one."""
    total = writes(tmp_path / "all")
    assert total > TURNS
    for at in range(1, total + 1):
        directory = tmp_path / str(at)
        history: list[dict[tuple[bytes, int], object]] = [{}]
        with pytest.raises(Killed):
            play(Faulty(directory, at, is_done=is_done), history)
        store = Faulty(directory)
        journal = Journal(store, APEX)
        overlay = finish(journal.load())
        assert overlay.sets in history[-2:], at
        finish(journal.remove_others())
        assert finish(Journal(store, APEX).load()).sets == overlay.sets
        change = change_of(random.Random(at), at)
        overlay.take(change.entries)
        finish(journal.add(change))
        finish(journal.replace(journal.cut(overlay)))
        assert finish(Journal(store, APEX).load()).sets == overlay.sets


@pytest.mark.parametrize("is_done", [False, True])
def test_a_write_that_fails(tmp_path: Path, is_done: bool) -> None:
    """Its change is not kept, even if the store has it for a moment; the next ones are."""
    total = writes(tmp_path / "all")
    for at in range(1, total + 1):
        directory = tmp_path / str(at)
        history: list[dict[tuple[bytes, int], object]] = [{}]
        play(Faulty(directory, at, StoreError, is_done=is_done), history, more=1)
        assert finish(Journal(Faulty(directory), APEX).load()).sets == history[-1], at


def test_a_journal_that_is_damaged_is_not_written(tmp_path: Path) -> None:
    history: list[dict[tuple[bytes, int], object]] = []
    play(Faulty(tmp_path), history)
    damaged = max(tmp_path.rglob("journal-*"))
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-3])
    journal = Journal(Faulty(tmp_path), APEX)
    with pytest.raises(StoreError, match="the updates are damaged"):
        finish(journal.load())
    with pytest.raises(StoreError, match="the updates of the last run cannot be read: the updates are damaged"):
        finish(journal.add(change_of(random.Random(1), 1)))
    for path in tmp_path.rglob("whole-*"):
        path.unlink()
    with pytest.raises(StoreError, match="a part of the updates is missing"):
        finish(Journal(Faulty(tmp_path), APEX).load())
