"""A store for checks: what is written stays in memory."""

from __future__ import annotations

from pathlib import Path

from npserver.store.files import StoreFiles
from npserver.store.interface import Store
from npserver.store.trial import TrialStore


async def test_it_writes_nothing(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path))
    files.write("a/old", b"1")
    before = sorted(tmp_path.rglob("*"))
    store: Store = TrialStore(files)
    assert await store.get("a/old") == b"1"
    await store.put("a/new", b"2")
    assert await store.get("a/new") == b"2"
    assert not await store.compare_and_swap("a/new", None, b"3")
    assert await store.compare_and_swap("a/new", b"2", b"3")
    assert await store.list("a/") == ["a/new", "a/old"]
    await store.delete("a/old")
    assert await store.get("a/old") is None
    assert await store.list("") == ["a/new"]
    assert await store.lock("a", expiry_s=1) is None
    assert [key async for key in store.watch("")] == []
    assert sorted(tmp_path.rglob("*")) == before
    assert files.read("a/old") == b"1"
