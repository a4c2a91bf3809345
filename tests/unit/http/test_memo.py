"""Bounded memo tables."""

from __future__ import annotations

import pytest

from npserver.http.memo import SHORT, SHORT_HEAD_BYTES, Memo, MemoOnSecondUse, are_short, is_short, seen_before


def test_a_value_is_computed_once() -> None:
    asked: list[str] = []
    memo = Memo[str, int](lambda key: asked.append(key) or len(key), 10)
    assert [memo["abc"], memo["abc"], memo["d"]] == [3, 3, 1]
    assert asked == ["abc", "d"]


def test_a_full_table_is_cleared() -> None:
    memo = Memo[int, int](lambda key: key, 3)
    for key in range(10):
        assert memo[key] == key
        assert len(memo) <= 3
    assert list(memo) == [9]


def test_a_key_that_cannot_be_computed_is_not_stored() -> None:
    memo = Memo[str, int](int, 3)
    with pytest.raises(ValueError, match="invalid literal"):
        memo["x"]
    assert "x" not in memo


def test_a_value_is_stored_at_the_second_use_of_its_key() -> None:
    asked: list[str] = []
    memo = MemoOnSecondUse[str, int](lambda key: asked.append(key) or len(key), 10)
    assert memo["abc"] == 3
    assert not memo
    assert [memo["abc"], memo["abc"]] == [3, 3]
    assert asked == ["abc", "abc"]


def test_the_set_of_seen_keys_is_bounded() -> None:
    seen: set[int] = set()
    assert not seen_before(seen, 1, 2)
    assert seen_before(seen, 1, 2)
    assert not seen_before(seen, 2, 2)
    assert not seen_before(seen, 3, 2), "a full set is cleared first"
    assert seen == {3}


def test_what_does_not_fit_is_not_stored() -> None:
    asked: list[str] = []
    for kind in (Memo, MemoOnSecondUse):
        memo = kind[str, int](lambda key: asked.append(key) or len(key), 2, is_short)
        assert [memo["x" * SHORT], memo["x" * SHORT], memo["y" * (SHORT + 1)], memo["y" * (SHORT + 1)]] == [
            SHORT, SHORT, SHORT + 1, SHORT + 1,
        ]  # fmt: skip
        assert list(memo) == ["x" * SHORT]


def test_short_heads() -> None:
    assert are_short([(b"a", b"x" * (SHORT_HEAD_BYTES - 1))])
    assert not are_short([(b"a", b"x" * (SHORT_HEAD_BYTES - 2)), (b"b", b"y")])
