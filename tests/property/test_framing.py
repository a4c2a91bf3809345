"""Framings: any split of a stream gives the same messages, what is written is read again, and noise does no harm."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from npserver.forward.framing import FramingError, FramingName, MessageDecoder, encoder

FRAMED: st.SearchStrategy[FramingName] = st.sampled_from(["line", "length16", "length32"])
LIMIT = 300


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def read(framing: FramingName, pieces: list[bytes], portion: int) -> tuple[list[bytes], bool, bytes]:
    """All messages, whether the stream was refused, and what its end left."""
    decoder = MessageDecoder(framing, LIMIT)
    found: list[bytes] = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while messages := decoder.messages(portion):
                assert len(messages) <= portion
                found += messages
            assert decoder.held_bytes <= LIMIT + 4 + len(piece)
    except FramingError:
        return found, True, b""
    return found, False, decoder.rest()


@given(FRAMED, st.binary(max_size=2000), st.lists(st.integers(0, 2000)), st.integers(1, 9))
def test_any_split_equals_one_feed(framing: FramingName, wire: bytes, cuts: list[int], portion: int) -> None:
    assert read(framing, split(wire, cuts), portion) == read(framing, [wire], 1)


@given(
    st.sampled_from(["length16", "length32"]),
    st.lists(st.binary(max_size=LIMIT)),
    st.lists(st.integers(0, 5000)),
    st.integers(1, 9),
)
def test_counted_messages_come_back(framing: FramingName, messages: list[bytes], cuts: list[int], portion: int) -> None:
    wire = b"".join(map(encoder(framing), messages))
    assert read(framing, split(wire, cuts), portion) == (messages, False, b"")


LINES = st.lists(
    st.binary(min_size=1, max_size=LIMIT).filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))
)


@given(LINES, st.lists(st.integers(0, 5000)), st.booleans())
def test_lines_come_back(lines: list[bytes], cuts: list[int], ended: bool) -> None:
    wire = b"".join(map(encoder("line"), lines))
    pieces = split(wire if ended else wire[:-1], cuts)
    found, refused, rest = read("line", pieces, 5)
    assert not refused
    assert found + ([rest] if rest else []) == lines


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000)))
def test_raw_reads_stay_apart(data: bytes, cuts: list[int]) -> None:
    pieces = split(data, cuts)
    found, refused, rest = read("raw", pieces, 1000)
    assert not refused
    assert rest == b""
    assert found == [piece[at : at + LIMIT] for piece in pieces for at in range(0, len(piece), LIMIT)]
