"""Messages in streams: each framing's own rules, and what is refused."""

from __future__ import annotations

import pytest

from npserver.forward.framing import FramingError, FramingName, MessageDecoder, encoder

ALL = 1000


def decode(framing: FramingName, wire: bytes, limit: int = 100) -> list[bytes]:
    decoder = MessageDecoder(framing, limit)
    decoder.feed(wire)
    return decoder.messages(ALL)


@pytest.mark.parametrize(
    ("framing", "wire", "messages"),
    [
        ("raw", b"one read", [b"one read"]),
        ("raw", b"", []),
        ("raw", b"x" * 250, [b"x" * 100, b"x" * 100, b"x" * 50]),
        ("line", b"a:1|c\nb:2|c\n", [b"a:1|c", b"b:2|c"]),
        ("line", b"with CR\r\nand without\n", [b"with CR", b"and without"]),
        ("line", b"\n\r\n\nafter empty lines\n", [b"after empty lines"]),
        ("line", b"a\rb\n", [b"a\rb"]),
        ("line", b"not ended", []),
        ("length16", b"\x00\x03abc\x00\x00\x00\x01d", [b"abc", b"", b"d"]),  # RFC 1035 §4.2.2
        ("length16", b"\x00", []),
        ("length16", b"\x00\x03ab", []),
        ("length32", b"\x00\x00\x00\x03abc\x00\x00\x00\x00", [b"abc", b""]),
        ("length32", b"\x00\x00\x00", []),
    ],
)
def test_messages_are_taken_from_a_stream(framing: FramingName, wire: bytes, messages: list[bytes]) -> None:
    assert decode(framing, wire) == messages


@pytest.mark.parametrize(
    ("framing", "message", "wire"),
    [
        ("raw", b"as it is", b"as it is"),
        ("line", b"a:1|c", b"a:1|c\n"),
        ("line", b"a:1|c\nb:2|c\n", b"a:1|c\nb:2|c\n"),
        ("line", b"", b""),
        ("length16", b"abc", b"\x00\x03abc"),
        ("length16", b"", b"\x00\x00"),
        ("length32", b"abc", b"\x00\x00\x00\x03abc"),
    ],
)
def test_messages_are_put_into_a_stream(framing: FramingName, message: bytes, wire: bytes) -> None:
    assert encoder(framing)(message) == wire


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        ("line", b"x" * 101 + b"\n"),
        ("line", b"x" * 102),  # 101 might still be 100 and a CR
        ("length16", b"\x00\x65"),
        ("length32", b"\xff\xff\xff\xff"),
    ],
)
def test_longer_than_allowed_is_refused_at_once(framing: FramingName, wire: bytes) -> None:
    with pytest.raises(FramingError, match="100"):
        decode(framing, wire)


@pytest.mark.parametrize(
    ("framing", "wire"),
    [("line", b"x" * 100 + b"\r\n"), ("length16", b"\x00\x64" + b"x" * 100), ("length32", b"\0\0\0\x64" + b"x" * 100)],
)
def test_just_as_long_as_allowed(framing: FramingName, wire: bytes) -> None:
    assert decode(framing, wire) == [b"x" * 100]


def test_messages_before_a_faulty_one_are_given_first() -> None:
    decoder = MessageDecoder("length16", 100)
    decoder.feed(b"\x00\x01a\xff\xff")
    assert decoder.messages(1) == [b"a"]
    with pytest.raises(FramingError):
        decoder.messages(1)


def test_a_flood_is_given_in_portions() -> None:
    decoder = MessageDecoder("length16", 100)
    decoder.feed(b"\x00\x00" * 1000)
    assert [len(decoder.messages(300)) for _ in range(5)] == [300, 300, 300, 100, 0]
    assert decoder.held_bytes == 0


@pytest.mark.parametrize(
    ("framing", "wire", "rest"),
    [("line", b"a\nlast line\r", b"last line"), ("length16", b"\x00\x05cut", b""), ("raw", b"", b"")],
)
def test_what_the_end_of_the_stream_leaves(framing: FramingName, wire: bytes, rest: bytes) -> None:
    decoder = MessageDecoder(framing, 100)
    decoder.feed(wire)
    decoder.messages(ALL)
    assert decoder.rest() == rest
    assert decoder.held_bytes == 0
