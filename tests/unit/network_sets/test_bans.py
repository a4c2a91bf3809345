"""How events of clients are counted, that may ban them."""

from __future__ import annotations

import pytest

from npserver.limits import table
from npserver.limits.rate import parse_rate
from npserver.limits.table import RateTable
from npserver.network_sets.bans import EventCounter


def test_a_client_is_forgiven_one_each_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10**12
    monkeypatch.setattr(table, "monotonic_ns", lambda: now)
    rate = parse_rate("3/30s")
    assert rate is not None
    counter = EventCounter(RateTable(64, b"seed", is_shared=False), rate, "n login")
    assert [counter.is_last("a") for _ in range(6)] == [False, False, True, False, False, True]
    assert [counter.is_last("b") for _ in range(2)] == [False, False]
    for _ in range(5):
        now += 10**10
        assert not counter.is_last("b")
    assert counter.is_last("b")
