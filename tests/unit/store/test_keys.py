"""Keys of stored values: whatever is accepted stays in the directory."""

from __future__ import annotations

import pytest

from npserver.store.keys import split_key, split_prefix


@pytest.mark.parametrize(
    "key",
    [
        "root.pem",
        "certificates/example.com/site.pem",
        "certificates/*.example.com",
        "a/[::1]",
        "a/::1",
        "a/192.0.2.1",
        "_x",
    ],
)
def test_names_of_hosts_and_addresses_are_keys(key: str) -> None:
    assert "/".join(split_key(key)) == key


@pytest.mark.parametrize(
    "key",
    [
        "", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", ".npserver.lock", "a/.new", "a\\b", "a\0b", "a b",
        "-x", "ä", "a\n", "a/" + "x" * 201, "a/" * 500 + "a",
    ],
)  # fmt: skip
def test_a_key_cannot_leave_the_directory(key: str) -> None:
    with pytest.raises(ValueError, match="cannot be the key"):
        split_key(key)


def test_a_prefix_ends_with_a_slash() -> None:
    assert split_prefix("") == []
    assert split_prefix("a/b/") == ["a", "b"]
    for wrong in ("a", "/", "../"):
        with pytest.raises(ValueError, match="cannot be the"):
            split_prefix(wrong)
