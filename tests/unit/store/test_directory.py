"""The store in a directory, within an event loop and before there is one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles
from npserver.store.interface import Store
from npserver.store.lock_file import try_lock

DEADLINE_S = 30.0


def made(directory: Path, *, in_threads: bool = True) -> Store:
    return DirectoryStore(StoreFiles(str(directory)), in_threads=in_threads)


async def test_values_are_set_and_removed(tmp_path: Path) -> None:
    store = made(tmp_path)
    await store.put("a/b", b"1")
    assert await store.get("a/b") == b"1"
    assert not await store.compare_and_swap("a/b", None, b"2")
    assert await store.compare_and_swap("a/b", b"1", b"2")
    assert await store.list("a/") == ["a/b"]
    await store.delete("a/b")
    await store.delete("a/b")
    assert await store.list("") == []


def test_before_there_is_a_loop_the_same_code_runs_at_once(tmp_path: Path) -> None:
    store = made(tmp_path, in_threads=False)

    async def use() -> bytes | None:
        async with await store.lock("turn", expiry_s=5) or pytest.fail("no lock"):
            assert await store.lock("turn", expiry_s=5, timeout_s=0.01) is None
            await store.put("a", b"1")
        return await store.get("a")

    assert finish(use()) == b"1"
    with pytest.raises(RuntimeError, match="must not wait"):
        finish(asyncio.sleep(0))


async def test_a_watch_tells_of_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("npserver.store.directory.WATCH_PERIOD_S", 0.01)
    store, other = made(tmp_path), made(tmp_path)
    await store.put("a/old", b"1")
    await store.put("b/old", b"1")
    changes = store.watch("a/")
    looked, loop, states = asyncio.Event(), asyncio.get_running_loop(), StoreFiles.states

    def look(files: StoreFiles, prefix: str) -> dict[str, tuple[int, int, int]]:
        now = states(files, prefix)
        loop.call_soon_threadsafe(looked.set)
        return now

    monkeypatch.setattr(StoreFiles, "states", look)
    async with asyncio.timeout(DEADLINE_S):
        change = asyncio.ensure_future(anext(changes))
        await looked.wait()
        await other.put("b/new", b"1")
        await other.put("a/old", b"1")
        assert await change == "a/old"
        await other.put("a/new", b"1")
        assert await anext(changes) == "a/new"
        await other.delete("a/old")
        assert await anext(changes) == "a/old"


async def test_a_lock_that_comes_after_its_waiter_gave_up_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, begun, may_go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def slow(files: StoreFiles, name: str, expiry_s: float) -> object:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result(DEADLINE_S)
        return try_lock(files, name, expiry_s)

    store = made(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("npserver.store.directory.try_lock", slow)
        waiting = asyncio.create_task(store.lock("turn", expiry_s=600))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_go_on.set()
    lock = await store.lock("turn", expiry_s=5, timeout_s=DEADLINE_S)
    assert lock is not None
    await lock.release()
