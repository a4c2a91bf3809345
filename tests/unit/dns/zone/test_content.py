"""The records of a zone that changes: differences, serials, and what they are as bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.dns.message.record import parse_data
from npserver.dns.zone.content import (
    Content,
    SetChange,
    ZoneChange,
    apply,
    chain,
    content_size,
    decode_change,
    decode_content,
    differences,
    encode_change,
    encode_content,
    is_newer,
    next_serial,
    serial_of,
    with_serial,
)

APEX = parse_owner("example.test")
SOA = parse_data(codes.SOA, "ns.example.test host.example.test 7 3600 600 604800 300")


def contents() -> st.SearchStrategy[Content]:
    names = st.sampled_from([parse_owner(f"{label}.example.test") for label in ("a", "b", "x.a", "*.a", "c")])
    sets = st.dictionaries(
        st.sampled_from([codes.A, codes.TXT, codes.NS]),
        st.tuples(st.integers(0, 9), st.lists(st.binary(min_size=1, max_size=4), min_size=1, unique=True).map(tuple)),
        min_size=1,
    )
    return st.dictionaries(names, sets).map(lambda found: {APEX: {codes.SOA: (300, (SOA,))}, **found})


@given(contents(), contents())
def test_differences_lead_from_one_content_to_another(before: Content, after: Content) -> None:
    changes = differences(before, after)
    assert apply(before, changes) == after or not differences(apply(before, changes), after)
    back = [SetChange(one.name, one.rtype, one.after, one.before) for one in changes]
    assert not differences(apply(after, back), before)
    assert decode_content(encode_content(after)) == after
    change = ZoneChange(1, 2, changes)
    assert decode_change(encode_change(change)) == change


def test_the_order_of_records_is_no_difference() -> None:
    one: Content = {APEX: {codes.A: (300, (b"1111", b"2222"))}}
    other: Content = {APEX: {codes.A: (300, (b"2222", b"1111"))}}
    assert differences(one, other) == ()
    assert differences(one, {APEX: {codes.A: (60, (b"1111", b"2222"))}})


def test_the_former_content_stays_as_it_was() -> None:
    before: Content = {APEX: {codes.SOA: (300, (SOA,)), codes.A: (300, (b"1111",))}}
    apply(before, [SetChange(APEX, codes.A, before[APEX][codes.A], None)])
    with_serial(before, APEX, 9)
    assert before[APEX][codes.A] == (300, (b"1111",))
    assert serial_of(before, APEX) == 7
    assert serial_of(with_serial(before, APEX, 9), APEX) == 9
    assert content_size(before) > len(SOA)


@pytest.mark.parametrize(
    ("serial", "than", "newer"),
    [(2, 1, True), (1, 1, False), (1, 2, False), (0, 0xFFFFFFFF, True), (0x80000000, 0, False), (0x7FFFFFFF, 0, True)],
)
def test_serials_are_compared_on_a_circle(serial: int, than: int, newer: bool) -> None:
    """RFC 1982 §3.2."""
    assert is_newer(serial, than) is newer


def test_the_serial_after_the_last_is_1() -> None:
    assert [next_serial(one) for one in (1, 0xFFFFFFFE, 0xFFFFFFFF)] == [2, 0xFFFFFFFF, 1]


def test_the_changes_from_a_serial_on() -> None:
    history = [ZoneChange(serial, serial + 1, ()) for serial in (5, 6, 7)]
    assert [one.from_serial for one in chain(history, 6) or ()] == [6, 7]
    assert chain(history, 8) is None
    assert chain(history, 4) is None


@pytest.mark.parametrize("damaged", [b"", b"\x91", b"junk", encode_content({APEX: {1: (1, (b"x",))}})[:-1]])
def test_damaged_bytes_are_noticed(damaged: Any) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_content(damaged)
    with pytest.raises(msgspec.MsgspecError):
        decode_change(damaged)
