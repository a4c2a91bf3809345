"""Any bytes get a valid reply or none, and the fast path replies as the full parser does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz.dns_query as target
import fuzz.dns_signed as signed

SEEDS = target.seeds()

labels = st.lists(st.binary(min_size=1, max_size=63) | st.sampled_from([b"com", b"example", b"w", b"sub"]), max_size=6)
questions = st.builds(
    lambda parts, kind: b"".join(bytes([len(one)]) + one for one in [*parts, b"example", b"com"]) + b"\0" + kind,
    labels,
    st.binary(min_size=4, max_size=4) | st.sampled_from([b"\0\1\0\1", b"\0\x10\0\1", b"\0\xff\0\1"]),
)
headers = st.builds(
    lambda number, flags, counts: number + flags + counts,
    st.binary(min_size=2, max_size=2),
    st.sampled_from([b"\1\0", b"\0\0", b"\1\x20"]) | st.binary(min_size=2, max_size=2),
    st.sampled_from([b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1"]) | st.binary(min_size=8, max_size=8),
)


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_refused_or_ignored(data: bytes) -> None:
    target.check(data)


@given(headers, questions, st.sampled_from([b"", b"\0\0\x29\x04\xd0\0\0\0\0\0\0"]) | st.binary(max_size=60))
@settings(max_examples=300)
def test_almost_queries_are_answered_refused_or_ignored(header: bytes, question: bytes, rest: bytes) -> None:
    target.check(header + question + rest)


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=300)
def test_queries_with_a_byte_changed(seed: bytes, draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(seed) - 1))
    target.check(seed[:place] + draw.draw(st.binary(max_size=2)) + seed[place + 1 :])


@pytest.mark.parametrize("size", range(0, 80, 7))
def test_every_query_cut_off_is_refused_or_ignored(size: int) -> None:
    for seed in SEEDS:
        target.check(seed[:size])


@given(st.text(alphabet="aAbBzZ", min_size=1, max_size=20))
def test_case_makes_no_difference_and_comes_back(word: str) -> None:
    def reply(name: str) -> bytes:
        data = b"\0\7\1\0\0\1\0\0\0\0\0\0" + bytes([len(name)]) + name.encode() + b"\7ExAmple\3cOm\0\0\1\0\1"
        answer = target.FAST.respond(data, target.CLIENT, 0.0, 0.0)
        assert isinstance(answer, bytes)
        assert answer[12 : len(data)] == data[12:]
        return answer[:12] + answer[len(data) :]

    assert reply(word) == reply(word.lower())


@given(st.sampled_from(signed.seeds()), st.data())
@settings(max_examples=300)
def test_signed_messages_with_a_byte_changed(seed: bytes, draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(seed) - 1))
    signed.check(seed[:place] + draw.draw(st.binary(max_size=2)) + seed[place + 1 :])
