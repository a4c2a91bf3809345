"""A client of DNS over QUIC that sends anything is answered or refused, and the pieces of its queries do not matter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.doq import samples
from fuzz.quic import SEPARATOR, stream
from tests.stage.doq import framed, question
from tests.stage.doq_memory import DoqClient

QUERY = framed(question())
FRAME = (
    st.builds(
        stream, st.integers(0, 12), st.integers(0, 40), st.binary(max_size=60), has_ended=st.booleans()
    )
    | st.builds(lambda number, code: bytes((5, number, code)), st.integers(0, 12), st.integers(0, 5))
    | st.builds(lambda number, size: bytes((4, number, 3, size)), st.integers(0, 12), st.integers(0, 63))
    | st.sampled_from([piece for one in samples() for piece in one.split(SEPARATOR)])
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert caplog.records == []


@given(st.lists(FRAME, max_size=8))
@settings(max_examples=100, deadline=None)
def test_any_frames(sent: list[bytes]) -> None:
    client = DoqClient()
    for one in sent:
        client.frames(one)
    client.pass_time(1.0)
    client.end()


@given(st.lists(st.integers(0, len(QUERY)), max_size=5), st.permutations(range(6)))
@settings(max_examples=60, deadline=None)
def test_any_pieces_in_any_order(cuts: list[int], order: list[int]) -> None:
    client = DoqClient()
    places = [0, *sorted(cuts), len(QUERY)]
    frames = [stream(0, start, QUERY[start:end], has_ended=end == len(QUERY)) for start, end in pairwise(places)]
    for index in order:
        if index < len(frames):
            client.frames(frames[index])
    assert client.doq._written > len(QUERY)
    assert not client.connection.is_closed
    client.end()
