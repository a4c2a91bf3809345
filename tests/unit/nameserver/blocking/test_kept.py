"""The last good list of a URL in the store: in pieces, whole or not at all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from npserver.nameserver.blocking.block_list import ListSource
from npserver.nameserver.blocking.kept import keep, recall
from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles
from npserver.store.interface import MAX_VALUE_BYTES

SOURCE = ListSource("url", "https://example.net/hosts.txt", 8 << 20)
LARGE = random.Random(7).randbytes(2 * MAX_VALUE_BYTES + 1000)


def pieces(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "dns_block" / SOURCE.digest).iterdir() if path.name != "head")


@pytest.mark.parametrize("body", [b"a.example\n", LARGE], ids=["small", "large"])
async def test_a_list_is_kept_and_its_successor_replaces_it(tmp_path: Path, body: bytes) -> None:
    files = StoreFiles(str(tmp_path / "store"))
    assert recall(files.read, SOURCE) is None
    await keep(DirectoryStore(files), SOURCE, body, 7.0)
    assert recall(files.read, SOURCE) == (body, 7.0)
    before = [(path, path.stat().st_mtime_ns) for path in pieces(tmp_path / "store")]
    assert len(before) == -(-len(body) // MAX_VALUE_BYTES)
    await keep(DirectoryStore(files), SOURCE, body, 8.0)
    assert recall(files.read, SOURCE) == (body, 8.0)
    assert [(path, path.stat().st_mtime_ns) for path in pieces(tmp_path / "store")] == before  # nothing written again
    await keep(DirectoryStore(files), SOURCE, b"b.example\n", 9.0)
    assert recall(files.read, SOURCE) == (b"b.example\n", 9.0)
    assert len(pieces(tmp_path / "store")) == 1


@pytest.mark.parametrize("damage", ["removed", "changed", "cut", "other head", "bomb"])
async def test_a_damaged_list_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    files = StoreFiles(str(tmp_path / "store"))
    await keep(DirectoryStore(files), SOURCE, LARGE, 7.0)
    first, *_ = pieces(tmp_path / "store")
    source = SOURCE
    if damage == "removed":
        first.unlink()
    elif damage == "changed":
        first.write_bytes(first.read_bytes()[:-1] + b"x")
    elif damage == "cut":
        first.write_bytes(b"")
    elif damage == "other head":
        (first.parent / "head").write_bytes(b'{"at":1,"digest":"","pieces":999999999}')
    else:  # a larger one than the config allows
        source = ListSource("url", SOURCE.place, 1 << 20)
    assert recall(files.read, source) is None
