"""The table of rate limits: its places, who has to make room, its lock."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from npserver.limits import table as module
from npserver.limits.table import DEFAULT_KEYS, WAYS, RateTable


def one_set() -> RateTable:
    return RateTable(WAYS, b"seed", is_shared=False)


@pytest.mark.parametrize(("keys", "cells"), [(1, 8), (8, 8), (9, 16), (1000, 1024), (DEFAULT_KEYS, 1 << 20)])
def test_its_size_is_rounded_up(keys: int, cells: int) -> None:
    table = RateTable(keys, b"seed", is_shared=False)
    assert len(table.cells) == 2 * cells
    assert repr(table) == f"<RateTable {cells} keys>"


def test_places_depend_on_the_secret() -> None:
    one, same, other = (RateTable(1000, seed, is_shared=False) for seed in (b"a", b"a", b"b"))
    assert one.address(b"192.0.2.1") == same.address(b"192.0.2.1")
    assert one.address(b"192.0.2.1") != other.address(b"192.0.2.1")
    assert len({one.address(b"%d" % number)[0] for number in range(10_000)}) == 10_000


def test_keys_are_spread_over_all_sets() -> None:
    table = RateTable(64 * WAYS, b"seed", is_shared=False)
    found = [table.address(b"%d" % number)[1] for number in range(6400)]
    assert set(found) == set(range(0, 64 * 2 * WAYS, 2 * WAYS))
    assert max(found.count(first) for first in set(found)) < 200


def test_a_tag_keeps_its_cell() -> None:
    table = one_set()
    places = {}
    for tag in range(1, WAYS + 1):
        places[tag], _ = table.find(tag, 0, 0)
        table.cells[places[tag] + WAYS] = 100
    assert sorted(places.values()) == list(range(WAYS))
    assert {tag: table.find(tag, index, 0) for tag, index in places.items()} == {
        tag: (index, False) for tag, index in places.items()
    }


def test_a_cell_whose_time_has_passed_is_free() -> None:
    table = one_set()
    for tag in range(1, WAYS + 1):
        index, _ = table.find(tag, 0, 0)
        table.cells[index + WAYS] = 10 * tag
    assert table.find(99, 0, 10) == (0, False)
    assert table.cells[WAYS] == 0


def test_of_a_full_set_the_key_that_has_used_least_makes_room() -> None:
    table = one_set()
    times = [900, 300, 500, 200, 800, 700, 600, 400]
    for tag, time in enumerate(times, 1):
        index, _ = table.find(tag, 0, 0)
        table.cells[index + WAYS] = time
    assert table.find(99, 0, 100) == (times.index(200), True)
    assert [tag for tag in range(1, WAYS + 1) if tag in table.cells[:WAYS].tolist()] == [1, 2, 3, 5, 6, 7, 8]


def test_a_killed_holder_of_the_lock_does_not_keep_it() -> None:
    table = RateTable(8, b"seed", is_shared=True)
    assert table.is_shared
    pid = os.fork()
    if not pid:
        table.acquire(True, 1.0)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not table.acquire(False)
    table.recover()
    assert table.acquire(False)
    table.release()


def test_recovery_waits_for_a_living_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_S", 10.0)
    table = RateTable(8, b"seed", is_shared=True)
    assert table.acquire(False)
    recovering = threading.Thread(target=table.recover)
    recovering.start()
    table.release()
    recovering.join(30)
    assert table.acquire(False) and not table.acquire(False)


def test_without_semaphores_each_process_has_a_lock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_shared_lock", lambda: None)
    table = RateTable(8, b"seed", is_shared=True)
    assert not table.is_shared
    assert table.acquire(True, 0.001) and not table.acquire(True, 0.001)
    table.recover()
    table.release()
