"""The body of a small request as a whole."""

from __future__ import annotations

import pytest

from npserver.web.server.whole_body import WholeBody


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], [b""]),
        ([b"ab", b"c"], [b"abc"]),
        ([b"abcd"], [b"abcd"]),
        ([b"abcd", b"e"], [None]),
        ([b"abcde"], [None]),
        ([b"abcde", b"f" * 10, b""], [None]),
    ],
)
def test_a_body_is_given_once(parts: list[bytes], expected: list[bytes | None]) -> None:
    given: list[bytes | None] = []
    body = WholeBody(4, given.append)
    for part in parts:
        body.body_data(part)
    body.body_end(b"")
    assert given == expected


def test_what_is_too_long_is_not_waited_for() -> None:
    given: list[bytes | None] = []
    body = WholeBody(4, given.append)
    body.body_data(b"abcde")
    assert given == [None]


def test_a_client_that_goes_leaves_nothing() -> None:
    given: list[bytes | None] = []
    body = WholeBody(4, given.append)
    body.body_data(b"ab")
    body.body_lost("closed")
    body.body_data(b"c")
    body.body_end(b"")
    assert given == []
