"""A film for browsers, made without a codec: one VP8 key frame, shown once a second, with padding between.

The padding makes the file large enough that no browser loads it whole before it seeks.
"""

from __future__ import annotations

import struct

#: A frame of 64 by 36 pixels in one colour (RFC 6386).
_FRAME = bytes.fromhex(
    "d003009d012a400024003f399cc85d2f2b2824a2a801e0270967007600317e418f4f1308a4c38000fed0caffad42edbc8ffc36aac968a3020000"
)
_WIDTH, _HEIGHT = 64, 36


def _element(identifier: int, content: bytes) -> bytes:
    """Return an EBML element (RFC 8794 §7) with a size of eight octets."""
    length = (identifier.bit_length() + 7) // 8
    return identifier.to_bytes(length, "big") + b"\x01" + len(content).to_bytes(7, "big") + content


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(8, "big"))


def film(seconds: int, padding: int) -> bytes:
    """Return a WebM file of `seconds` frames with `padding` bytes after each (RFC 9559)."""
    header = _element(
        0x1A45DFA3,
        _number(0x4286, 1) + _number(0x42F7, 1) + _number(0x42F2, 4) + _number(0x42F3, 8)
        + _element(0x4282, b"webm") + _number(0x4287, 2) + _number(0x4285, 2),
    )  # fmt: skip
    information = _element(
        0x1549A966, _number(0x2AD7B1, 1_000_000) + _element(0x4489, struct.pack(">d", seconds * 1000.0))
    )
    picture = _element(0xE0, _number(0xB0, _WIDTH) + _number(0xBA, _HEIGHT))
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_VP8") + picture
    tracks = _element(0x1654AE6B, _element(0xAE, track))
    clusters = [
        _element(
            0x1F43B675,
            _number(0xE7, second * 1000)
            + _element(0xA3, b"\x81\x00\x00\x80" + _FRAME)
            + _element(0xEC, b"\0" * padding),
        )
        for second in range(seconds)
    ]

    def cues(start: int) -> bytes:
        points = []
        for second, cluster in enumerate(clusters):
            place = _element(0xB7, _number(0xF7, 1) + _number(0xF1, start))
            points.append(_element(0xBB, _number(0xB3, second * 1000) + place))
            start += len(cluster)
        return _element(0x1C53BB6B, b"".join(points))

    before = len(information) + len(tracks)
    index = cues(before + len(cues(0)))
    return header + _element(0x18538067, information + tracks + index + b"".join(clusters))
