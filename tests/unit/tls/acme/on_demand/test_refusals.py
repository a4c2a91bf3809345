"""Refused names that are remembered."""

from __future__ import annotations

from npserver.tls.acme.on_demand.refusals import Refusals


def test_a_name_is_refused_until_its_time_is_over() -> None:
    refusals = Refusals()
    refusals.add("tls", "a.test", 10.0, 5)
    assert refusals.left_s("tls", "a.test", 4.0) == 6.0
    assert refusals.left_s("tls", "b.test", 4.0) == 0
    assert refusals.left_s("other", "a.test", 4.0) == 0
    assert refusals.left_s("tls", "a.test", 10.0) == 0
    assert repr(refusals) == "<Refusals 0>"


def test_the_oldest_are_forgotten_first() -> None:
    refusals = Refusals()
    for name in ("a", "b", "a", "c"):
        refusals.add("tls", name, 10.0, 2)
    assert [refusals.left_s("tls", name, 0.0) for name in "abc"] == [10.0, 0, 10.0]
    for number in range(10_000):
        refusals.add("tls", str(number), 10.0, 100)
    assert repr(refusals) == "<Refusals 100>"
