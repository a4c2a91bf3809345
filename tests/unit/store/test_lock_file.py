"""Locks between real processes: freed by a death at once, by time when their process hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from npserver.errors import StoreError
from npserver.store.files import StoreFiles
from npserver.store.lock_file import try_lock
from tests.stage.store_process import StoreProcess

NAME = "orders/example.com"


def test_one_process_holds_it(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as one, StoreProcess(tmp_path) as other:
        assert one.do("lock", NAME, 60, 0) is True
        assert other.do("lock", NAME, 60, 0) is False
        assert other.do("lock", "orders/other", 60, 0) is True
        assert one.do("extend", NAME) is True
        other.begin("lock", NAME, 60, 30)
        one.do("release", NAME)
        assert other.answer() is True
        assert one.do("lock", NAME, 60, 0) is False


def test_the_death_of_its_process_frees_it(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as one, StoreProcess(tmp_path) as other:
        assert one.do("lock", NAME, 3600, 0) is True
        other.begin("lock", NAME, 60, 30)
        one.process.send_signal(signal.SIGKILL)
        assert other.answer() is True


def test_a_process_that_hangs_loses_it(tmp_path: Path) -> None:
    with StoreProcess(tmp_path) as one, StoreProcess(tmp_path) as other:
        assert one.do("lock", NAME, 0.3, 0) is True
        one.process.send_signal(signal.SIGSTOP)
        assert other.do("lock", NAME, 60, 30) is True
        one.process.send_signal(signal.SIGCONT)
        assert one.do("extend", NAME) is False
        one.do("release", NAME)  # of what it does not hold any more
        assert one.do("lock", NAME, 60, 0) is False
        assert other.do("extend", NAME) is True


def test_one_that_expired_and_that_nobody_took_can_be_extended(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path))
    lock = try_lock(files, NAME, 0.0)
    assert lock is not None
    assert lock.extend()
    assert repr(lock) == "<LockFile orders,example.com>"
    lock.release()
    assert not lock.extend()
    assert os.listdir(tmp_path / ".locks") == []


def test_a_time_that_cannot_be_read_has_passed(tmp_path: Path) -> None:
    files = StoreFiles(str(tmp_path))
    first = try_lock(files, NAME, 60)
    assert first is not None
    (tmp_path / ".locks/orders,example.com").write_text("")
    second = try_lock(files, NAME, 60)
    assert second is not None
    assert not first.extend()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"{tmp_path}/file/store"):
        try_lock(StoreFiles(str(tmp_path / "file/store")), NAME, 60)
