"""Tables of hashes in shared memory: what is found, compared with sets of names."""

from __future__ import annotations

import random
from array import array

import pytest

from npserver.dns.message.name import parse_owner
from npserver.nameserver.blocking import table as table_module
from npserver.nameserver.blocking.list_format import Action, Extent, Kind, name_hash
from npserver.nameserver.blocking.table import Layout, Table, build_table, hashes_of
from npserver.runtime.shared_file import SharedFile

FILE = SharedFile()


def table_of(entries: dict[Kind, list[str]]) -> Table:
    hashes = {kind: array("q", [name_hash(one.encode()) for one in names]) for kind, names in entries.items()}
    return Table(FILE, build_table(FILE, hashes).keep())


def find(table: Table, name: str) -> tuple[Action, int] | None:
    return table.find(hashes_of(parse_owner(name).lower()))


@pytest.mark.parametrize("count", [1, 2, 7, 100, 5000, 70_000])
def test_every_name_is_found_and_no_other(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "SORTED_AT_ONCE", 1000)
    names = [f"n{number}.example" for number in range(count)]
    table = table_of({(Action.BLOCK, Extent.SELF): names * 2})
    assert table.layout.count == count
    assert all(find(table, name) == (Action.BLOCK, 0) for name in names[:3000])
    assert not any(find(table, f"m{number}.example") for number in range(3000))
    assert find(table, f"x.{names[0]}") is None


def test_the_extent_of_an_entry() -> None:
    table = table_of({
        (Action.BLOCK, Extent.SELF): ["self.example"],
        (Action.BLOCK, Extent.TREE): ["tree.example"],
        (Action.NODATA, Extent.BELOW): ["below.example"],
    })  # fmt: skip
    assert find(table, "self.example") == find(table, "tree.example") == (Action.BLOCK, 0)
    assert find(table, "a.b.tree.example") == (Action.BLOCK, 2)
    assert find(table, "a.below.example") == (Action.NODATA, 1)
    for name in ("a.self.example", "below.example", "example", "xtree.example", "tree.example.net", "."):
        assert find(table, name) is None, name


def test_exceptions_win_and_of_other_entries_that_with_more_labels() -> None:
    table = table_of({
        (Action.BLOCK, Extent.TREE): ["b.example", "x.good.example"],
        (Action.EXCEPT, Extent.TREE): ["good.example"],
        (Action.PASS, Extent.BELOW): ["b.example"],
        (Action.REFUSE, Extent.SELF): ["bad.a.b.example"],
    })  # fmt: skip
    assert find(table, "x.good.example") == (Action.EXCEPT, 1)
    assert find(table, "b.example") == (Action.BLOCK, 0)
    assert find(table, "a.b.example") == (Action.PASS, 1)
    assert find(table, "bad.a.b.example") == (Action.REFUSE, 0)


def test_random_tables_find_what_sets_do() -> None:
    dice = random.Random(7)
    for _ in range(50):
        labels = [bytes([97 + number]).decode() for number in range(4)]
        names = [".".join(dice.choices(labels, k=dice.randint(2, 5))) for _ in range(dice.randint(1, 60))]
        table = table_of({(Action.BLOCK, Extent.TREE): names})
        for _ in range(200):
            asked = dice.choices(labels, k=dice.randint(2, 7))
            depths = [depth for depth in range(len(asked)) if ".".join(asked[depth:]) in names]
            expected = (Action.BLOCK, depths[0]) if depths else None
            assert find(table, ".".join(asked)) == expected


def test_a_dot_within_a_label_is_not_one_between_two() -> None:
    table = table_of({(Action.BLOCK, Extent.TREE): ["ads.example"]})
    assert table.find(hashes_of(b"\x0bads.example\0")) is None
    assert table.find(hashes_of(b"\x07x.y.z.a\x03ads\x07example\0")) == (Action.BLOCK, 1)


def test_an_empty_list_has_an_empty_table() -> None:
    assert table_of({}).find(hashes_of(b"\x07example\0")) is None


def test_memory_is_freed_with_a_table_that_is_not_put_in_use() -> None:
    file, hashes = SharedFile(), {(Action.BLOCK, Extent.SELF): array("q", range(100_000))}
    built = build_table(file, hashes)
    assert file.used_bytes >= 800_000
    del built
    assert file.used_bytes == 0
    with pytest.raises(InterruptedError):
        build_table(file, hashes, lambda: True)
    assert file.used_bytes == 0
    layout: Layout = build_table(file, hashes).keep()
    assert file.used_bytes >= 800_000
    file.free(layout.region)
    assert file.used_bytes == 0
