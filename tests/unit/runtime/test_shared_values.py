"""The table of values that processes share without locks."""

from __future__ import annotations

import os
from time import monotonic

from npserver.runtime.shared_values import CELL_BYTES, MAX_VALUE_BYTES, WAYS, SharedValues


def test_a_value_is_found_by_its_key_until_its_time() -> None:
    values = SharedValues(16, b"seed")
    assert values.get(b"key", 0.0) is None
    assert values.put(b"key", b"value", 10.0)
    assert values.get(b"key", 9.9) == b"value"
    assert values.get(b"key", 10.0) is None
    assert values.get(b"other", 0.0) is None
    assert values.put(b"key", b"", 20.0)
    assert values.get(b"key", 10.0) == b""


def test_the_longest_value_fits_and_a_longer_one_is_not_kept() -> None:
    values = SharedValues(8, b"seed")
    longest = os.urandom(MAX_VALUE_BYTES)
    assert values.put(b"key", longest, 10.0)
    assert values.get(b"key", 0.0) == longest
    assert not values.put(b"key", longest + b"x", 10.0)
    assert values.get(b"key", 0.0) == longest


def test_the_value_whose_time_passes_next_makes_room() -> None:
    values = SharedValues(WAYS, b"seed")  # one set
    for number in range(WAYS):
        values.put(b"%d" % number, b"value", 10.0 + number)
    values.put(b"new", b"value", 5.0)
    assert [values.get(b"%d" % number, 0.0) is not None for number in range(WAYS)] == [False] + [True] * (WAYS - 1)
    assert values.get(b"new", 0.0) == b"value"


def test_what_a_writer_has_left_half_done_is_not_found() -> None:
    values = SharedValues(WAYS, b"seed")
    values.put(b"key", b"a value of some length", 10.0)
    whole = bytes(values._memory)
    for at, byte in enumerate(whole[:CELL_BYTES]):
        if byte:
            values._memory[at] = byte ^ 1
            assert values.get(b"key", 0.0) in (None, b"a value of some length")
            assert at < 44 or values.get(b"key", 0.0) is None, at
            values._memory[at] = byte
    assert values.get(b"key", 0.0) == b"a value of some length"


def test_other_processes_find_what_one_has_put() -> None:
    values = SharedValues(64, b"seed")
    child = os.fork()
    if not child:
        values.put(b"key", b"from the child", 10.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert values.get(b"key", 0.0) == b"from the child"


def test_writers_at_the_same_time_leave_whole_values_or_none() -> None:
    """Two processes write other values to the same key; what is read is one of them."""
    values = SharedValues(WAYS, b"seed")
    written = [bytes([65 + number]) * 900 for number in range(2)]
    children = []
    for value in written:
        child = os.fork()
        if not child:
            for _ in range(20_000):
                values.put(b"key", value, 10.0)
            os._exit(0)
        children.append(child)
    found = 0
    while children:
        if (value_read := values.get(b"key", 0.0)) is not None:
            assert value_read in written
            found += 1
        ended, status = os.waitpid(children[0], os.WNOHANG)
        if ended:
            assert status == 0
            children.pop(0)
    assert found > 0


def test_all_processes_are_told_when_values_are_to_be_forgotten() -> None:
    """Whoever uses them looks: the values themselves stay."""
    values = SharedValues(8, b"seed")
    assert values.forgotten_at == 0.0
    values.put(b"key", b"value", 10.0)
    before = monotonic()
    child = os.fork()
    if not child:
        values.forget()
        os._exit(0)
    os.waitpid(child, 0)
    assert before <= values.forgotten_at <= monotonic()
    assert values.get(b"key", 0.0) == b"value"
