"""Zones in the store: whole or not at all, whatever their size."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from npserver.dns.message import codes
from npserver.dns.zone.content import Content
from npserver.errors import StoreError
from npserver.nameserver.transfers import kept as module
from npserver.nameserver.transfers.kept import KeptZone
from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles

APEX = b"\7example\0"


def content_of(seed: int, size: int = 3000) -> Content:
    return {APEX: {codes.TXT: (300, (b"%d" % seed, random.Random(seed).randbytes(size)))}}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(StoreFiles(str(tmp_path)))


async def test_what_is_kept_is_read_again(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VALUE_BYTES", 1000)
    zone = KeptZone(APEX)
    assert zone.read(store.files.read) is None
    await zone.confirm(store, 5.0)  # nothing is kept yet
    assert zone.read(store.files.read) is None
    for number in range(4):
        await zone.write(store, content_of(number), 10.0 + number)
        assert KeptZone(APEX).read(store.files.read) == (content_of(number), 10.0 + number)
    await zone.confirm(store, 99.0)
    assert KeptZone(APEX).read(store.files.read) == (content_of(3), 99.0)


async def test_a_crash_in_between_leaves_the_former_records(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_VALUE_BYTES", 1000)
    await KeptZone(APEX).write(store, content_of(1), 1.0)

    class Dying(DirectoryStore):
        left = 0

        async def put(self, key: str, value: bytes) -> None:
            self.left -= 1
            if self.left < 0:
                raise StoreError("dead")
            await super().put(key, value)

    for left in range(4):
        zone, dying = KeptZone(APEX), Dying(store.files)
        dying.left = left
        zone.read(store.files.read)
        with pytest.raises(StoreError, match="dead"):
            await zone.write(dying, content_of(2), 2.0)
        assert KeptZone(APEX).read(store.files.read) == (content_of(1), 1.0)


async def test_damaged_records_are_told(store: DirectoryStore) -> None:
    zone = KeptZone(APEX)
    await zone.write(store, content_of(1), 1.0)
    for key in await store.list("dns/"):
        before = await store.get(key)
        assert before is not None
        for damaged in (before[:-1], b"", b"y" + before[1:]):
            await store.put(key, damaged)
            with pytest.raises(StoreError, match="the records are damaged"):
                KeptZone(APEX).read(store.files.read)
        await store.put(key, before)
    assert KeptZone(APEX).read(store.files.read) == (content_of(1), 1.0)
