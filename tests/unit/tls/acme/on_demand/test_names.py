"""The names that applications have agreed to: kept over restarts, and no access to the store for others."""

from __future__ import annotations

from pathlib import Path

import msgspec

from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles
from npserver.tls.acme.on_demand.names import PREFIX, AgreedNames, is_issued, read_entries
from npserver.tls.acme.state import State, Wanted


async def begun(store: DirectoryStore) -> AgreedNames:
    names = AgreedNames(store)
    await names.begin()
    return names


async def test_they_are_kept_with_the_entries_that_agreed(tmp_path: Path) -> None:
    store = DirectoryStore(StoreFiles(str(tmp_path / "store")))
    names = await begun(store)
    await names.add("a.test", "tls")
    await names.add("a.test", "listen[1].tls")
    await names.add("b.test", "tls")
    again = await begun(store)
    assert sorted(again) == ["a.test", "b.test"]
    assert len(again) == 2
    assert await again.entries("a.test") == {"tls", "listen[1].tls"}
    await again.add("b.test", "listen[1].tls")
    await again.remove("a.test")
    last = await begun(store)
    assert list(last) == ["b.test"]
    assert await last.entries("b.test") == {"tls", "listen[1].tls"}
    assert read_entries(store.files.read, "b.test") == {"tls", "listen[1].tls"}
    assert read_entries(store.files.read, "a.test") == frozenset()


async def test_one_whose_value_is_damaged_is_asked_about_again(tmp_path: Path) -> None:
    store = DirectoryStore(StoreFiles(str(tmp_path / "store")))
    await store.put(f"{PREFIX}a.test.json", b"{")
    names = await begun(store)
    assert await names.entries("a.test") == frozenset()
    await names.add("a.test", "tls")
    assert await (await begun(store)).entries("a.test") == {"tls"}


async def test_a_name_that_the_store_has_not_costs_no_access_to_it(tmp_path: Path) -> None:
    store = DirectoryStore(StoreFiles(str(tmp_path / "store")))
    names = await begun(store)
    store.files.directory = "/dev/null"  # any access would fail
    assert await names.entries("random.test") == frozenset()


async def test_a_stand_in_is_not_taken_for_a_certificate_of_the_ca(tmp_path: Path) -> None:
    store, wanted = DirectoryStore(StoreFiles(str(tmp_path / "store"))), Wanted("a.test", ("a.test",), "tls")
    await store.put(wanted.certificate_key, b"of the local authority")
    assert not is_issued(store.files.read, wanted)
    for state, expected in ((State(error="refused"), False), (State(directory="https://ca.test"), True)):
        await store.put(wanted.state_key, msgspec.json.encode(state))
        assert is_issued(store.files.read, wanted) is expected
    await store.put(wanted.state_key, b"damaged")
    assert not is_issued(store.files.read, wanted)
