"""Parses the `Priority` field (RFC 9218 §4)."""

from __future__ import annotations

import pytest

from npserver.web.server.http3.priority import DEFAULT, Priority, parse_priority, priority_field

FIELDS = [
    (b"", 3, False),
    (b"u=0", 0, False),
    (b"u=7", 7, False),
    (b"i", 3, True),
    (b"u=5, i", 5, True),
    (b"i,u=1", 1, True),
    (b" \tu=2 ,\ti=?1 ", 2, True),
    (b"i=?0", 3, False),
    (b"u=1, u=4", 4, False),  # the last one counts
    (b"i, i=?0", 3, False),
    (b"u=2;x=1;y, i;z", 2, True),  # parameters mean nothing
    (b'u=2;x="a,u=6", i', 2, True),
    (b'x="u=6, i", u=4', 4, False),
    (b"x=(u i), u=4", 4, False),
    (b"xyz, u=4, abc=?1, i", 4, True),  # unknown keys
    (b"u=8, i", 3, True),  # out of range
    (b"u=-1", 3, False),
    (b"u=4.0", 3, False),
    (b"u=04", 3, False),
    (b"u=?1", 3, False),
    (b"u", 3, False),
    (b"u=", 3, False),
    (b'u="1"', 3, False),
    (b"i=1", 3, False),
    (b"i=true", 3, False),
    (b"U=1, I", 3, False),  # keys are lower case
    (b"u=1 i", 3, False),  # malformed members are passed over
    (b"=, ,, u=6", 6, False),
    (b'"u=1, u=6', 6, False),
    (b"\xff\x00, u=6", 6, False),
    (b"u=1," + b"x," * 200, 3, False),  # too long to be read
]


@pytest.mark.parametrize(("field", "urgency", "is_incremental"), FIELDS)
def test_fields(field: bytes, urgency: int, is_incremental: bool) -> None:
    assert parse_priority(field) == Priority(urgency, is_incremental)


def test_what_a_response_does_not_say_is_as_the_client_has_said() -> None:
    base = Priority(1, True)
    assert parse_priority(b"", base) == base
    assert parse_priority(b"u=6", base) == Priority(6, True)
    assert parse_priority(b"i=?0", base) == Priority(1, False)


def test_several_lines_are_one_list() -> None:
    assert priority_field([(b":path", b"/")]) is None
    field = priority_field([(b"priority", b"u=1"), (b"x", b"u=2"), (b"priority", b"i")])
    assert field == b"u=1, i"
    assert parse_priority(field) == Priority(1, True)
    assert DEFAULT == (3, False)
