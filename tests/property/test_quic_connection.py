"""A QUIC client that sends any datagrams, and any frames, is answered or refused, and no other exception is raised."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import varint
from tests.stage.http2 import Mirror
from tests.stage.quic_memory import Client

VARINT = st.integers(0, frames.MAX_VARINT).map(varint) | st.integers(0, 70).map(varint)
PIECE = st.binary(max_size=30).map(lambda data: varint(len(data)) + data)
#: Frames of QUIC: a type and a few integers and pieces, mostly too many or too few for it.
FRAME = st.builds(
    lambda kind, fields: varint(kind) + b"".join(fields),
    st.integers(0, 0x31) | st.sampled_from([0x1C, 0x1D, 0x30, 0x31, 0x40]),
    st.lists(VARINT | PIECE | st.binary(min_size=8, max_size=8), max_size=5),
)
STREAM = st.builds(
    lambda stream, offset, data: b"\x0f" + varint(stream) + varint(offset) + varint(len(data)) + data,
    st.integers(0, 20), st.integers(0, 40), st.binary(max_size=60),
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert caplog.records == []


@given(st.lists(FRAME | STREAM, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_frames(sent: list[bytes]) -> None:
    client = Client(Mirror())
    for one in sent:
        client.frames(one)
    client.pass_time(1.0)
    client.end()


@given(st.integers(0, 1199), st.binary(min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_change_of_the_first_datagram(place: int, change: bytes, is_whole: bool) -> None:
    client = Client(Mirror(), shakes=False)
    (datagram,) = client.first[:1]
    changed: Any = bytearray(datagram)
    changed[place : place + len(change)] = change
    if changed[5:7] == datagram[5:7]:  # else the endpoint would find no header, or another connection
        client.datagram(bytes(changed))
    if is_whole:
        client.datagram(datagram)
    client.pass_time(1.0)
    client.end()


@given(st.lists(st.binary(max_size=80), max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_datagrams(sent: list[bytes]) -> None:
    client = Client(Mirror())
    for one in sent:
        client.datagram(one)
        client.datagram(b"\x40" + client.quic._peer_cid.cid + one, ("192.0.2.9", 1))
    client.exchange()
    assert not client.connection.is_closed
    client.end()
