"""Data that is already here, for protocols of either kind."""

from __future__ import annotations

import asyncio

from npserver.runtime.protocols import feed


class Small(asyncio.BufferedProtocol):
    """Takes three bytes at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray(3)
        self.pieces: list[bytes] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.pieces.append(bytes(self.buffer[:nbytes]))


class Plain(asyncio.Protocol):
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)


def test_a_buffer_is_filled_as_often_as_it_takes() -> None:
    protocol = Small()
    feed(protocol, b"abcdefgh")
    assert protocol.pieces == [b"abc", b"def", b"gh"]


def test_another_protocol_gets_all_at_once() -> None:
    protocol = Plain()
    feed(protocol, b"abcdefgh")
    assert protocol.pieces == [b"abcdefgh"]
