"""Frames and integers of HTTP/3."""

from __future__ import annotations

import pytest
from pylsqpack import Decoder

from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import read_varint, varint
from npserver.web.server.http3.request_stream import RequestStream
from npserver.web.server.http3.sections import headers_frame


@pytest.mark.parametrize("value", [0, 63, 64, 16383, 16384, (1 << 30) - 1, 1 << 30, frames.MAX_VARINT])
def test_integers_go_there_and_back(value: int) -> None:
    made = varint(value)
    assert read_varint(b"x" + made, 1) == (value, 1 + len(made))
    assert read_varint(made[:-1], 0)[0] == -1


def test_settings() -> None:
    kind, at = read_varint(frames.settings_frame({1: 4096, 6: 1 << 20}), 0)
    assert kind == frames.SETTINGS
    assert frames.parse_settings(frames.settings_frame({1: 4096, 6: 1 << 20})[at + 1 :]) == {1: 4096, 6: 1 << 20}
    with pytest.raises(ValueError, match="within"):
        frames.parse_settings(b"\x01")
    for payload in (b"\x01\x01\x01\x01", b"\x02\x01"):
        with pytest.raises(KeyError):
            frames.parse_settings(payload)


@pytest.mark.parametrize(("number", "text"), [(0, "40"), (62, "7e"), (63, "7f00"), (64, "7f01"), (400, "7fd102")])
def test_stream_cancellations(number: int, text: str) -> None:
    assert frames.stream_cancellation(number).hex() == text  # RFC 9204 §4.4.2, RFC 7541 §5.1


def test_sections_need_no_table() -> None:
    fields = ((b":status", b"200"), (b"x-some", b"value"))
    made = headers_frame(fields)
    _, at = read_varint(made, 0)
    _, at = read_varint(made, at)
    assert tuple(Decoder(0, 0).feed_header(0, made[at:])[1]) == fields
    assert headers_frame(fields) is made


def test_frames_that_come_byte_by_byte() -> None:
    stream = RequestStream(0)
    wire = frames.frame(frames.HEADERS, b"section") + frames.frame(frames.DATA, b"x" * 100)
    found = []
    for byte in wire:
        stream.buffer += bytes((byte,))
        if stream.left:
            stream.left -= len(stream.take(stream.left))
        elif (frame := stream.next_frame()) is not None:
            found.append(frame)
            stream.left = frame[1]
        stream.compact()
    assert found == [(frames.HEADERS, 7), (frames.DATA, 100)]
    assert not stream.has_unread
