"""Values of a store as files: modes, owners, links, a full disk, a writer that hangs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from npserver.errors import StoreError
from npserver.store import files as module
from npserver.store.files import StoreFiles
from tests.stage.store_process import StoreProcess

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_only_the_owner_can_read_what_is_written(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path / "new" / "store"))
    files.write("a/b/key.pem", b"secret")
    modes = {path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    modes.pop("new")
    assert modes == {
        "new/store": 0o700, "new/store/.npserver.lock": 0o600, "new/store/a": 0o700, "new/store/a/b": 0o700,
        "new/store/a/b/key.pem": 0o600,
    }  # fmt: skip
    assert files.path("a/b/key.pem") == str(tmp_path / "new/store/a/b/key.pem")


def test_reading_makes_nothing(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path / "store"))
    assert files.read("a/b") is None
    files.make()
    assert files.read("a/b") is None
    assert files.states("a/") == {}
    assert list(tmp_path.rglob("*")) == [tmp_path / "store"]


@AS_ROOT
def test_root_makes_it_for_its_owner(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path / "store"), (65534, 65534))
    (tmp_path / "store").mkdir()  # as systemd does
    files.make()
    files.write("a/b", b"1")
    assert {path.stat().st_uid for path in (tmp_path / "store").rglob("*")} == {65534}
    StoreFiles(str(tmp_path / "store")).write("a/c", b"1")  # by another command of root
    assert (tmp_path / "store/a/c").stat().st_uid == 65534


@AS_ROOT
def test_a_store_that_was_given_back_to_root_is_given_to_its_owner(tmp_path: Path) -> None:
    """As systemd does at each start with the state directory of a unit that runs as root."""
    store = tmp_path / "store"
    files = StoreFiles(str(store), (65534, 65534))
    files.write("a/b", b"1")
    for name in ("hard", "linked", "outside"):
        (tmp_path / name).write_text("root's")
    os.link(tmp_path / "hard", store / "a/hard")
    os.symlink(tmp_path / "linked", store / "a/link")
    os.symlink(tmp_path, store / "a/folder")
    for path in (store, *store.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
    files.make()
    owners = {path.name: path.lstat().st_uid for path in (store, *store.rglob("*"))}
    assert owners.pop("hard") == owners.pop("link") == owners.pop("folder") == 0
    assert set(owners.values()) == {65534}
    assert {(tmp_path / name).stat().st_uid for name in ("hard", "linked", "outside")} == {0}


@AS_ROOT
def test_no_other_directory_of_root_is_given_away(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").touch()
    StoreFiles(str(tmp_path / "etc"), (65534, 65534)).make()
    assert {path.stat().st_uid for path in (tmp_path / "etc", tmp_path / "etc/passwd")} == {0}


@AS_ROOT
def test_root_reads_no_file_that_the_owner_could_not(tmp_path: Path) -> None:
    """The owner of the directory, whom root reads for, may be a process that was taken over."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.pem").write_text("root's")
    files = StoreFiles(str(tmp_path / "store"), (65534, 65534))
    files.write("a/other.pem", b"own")
    os.symlink(secret / "key.pem", tmp_path / "store/a/key.pem")
    os.link(secret / "key.pem", tmp_path / "store/a/hard.pem")
    os.symlink(secret, tmp_path / "store/b")
    for key in ("a/key.pem", "a/hard.pem", "b/key.pem"):
        with pytest.raises(StoreError, match=r"(key|hard)\.pem: "):
            files.read(key)
    os.chown(tmp_path / "store/a/other.pem", 0, 0)
    with pytest.raises(StoreError, match="not a file of the directory's owner: remove it"):
        files.read("a/other.pem")
    files.write("a/key.pem", b"own")
    with pytest.raises(StoreError):
        files.write("b/key.pem", b"own")
    assert (secret / "key.pem").read_text() == "root's"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="not a file of the directory's owner"):
        StoreFiles(str(tmp_path)).read("pipe")


def test_a_value_has_a_largest_size(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path))
    files.write("a", b"x" * (1 << 20))
    with pytest.raises(StoreError, match="more than 1024 KiB"):
        files.write("a", b"y" * ((1 << 20) + 1))
    assert files.read("a") == b"x" * (1 << 20)
    (tmp_path / "b").write_bytes(b"y" * ((1 << 20) + 1))
    with pytest.raises(StoreError, match="larger than 1024 KiB"):
        files.read("b")


def test_a_full_disk_leaves_the_old_value(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as one:
        assert one.do("put", "a/key.pem", "old") is None
        one.do("limit", 1000)
        answer = one.do("put", "a/key.pem", "n" * 5000)
        assert answer == f"StoreError: {tmp_path}/a/key.pem: file too large (store)"
        assert one.do("get", "a/key.pem") == "old"
        assert one.do("swap", "a/key.pem", "old", "n" * 5000).startswith("StoreError")
        assert one.do("put", "a/key.pem", "new") is None
        assert one.do("get", "a/key.pem") == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".npserver.lock", "a"]


def test_a_writer_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_WITHIN_S", 0.02)
    files, other = StoreFiles(str(tmp_path)), StoreFiles(str(tmp_path))
    files.write("a", b"old")
    with files.turn():
        with pytest.raises(StoreError, match=r"another process has written to it for 0.02 s: end the one that hangs"):
            other.write("a", b"new")
        assert other.read("a") == b"old", "readers need no turn"
    other.write("a", b"new")


def test_files_of_other_names_are_no_values(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path))
    files.write("a/b", b"1")
    (tmp_path / "a/.hidden").write_text("x")
    os.symlink("b", tmp_path / "a/link")
    assert list(files.states("")) == ["a/b"]
