"""An HTTP/2 client that sends any bytes in any pieces is answered or refused, and no other exception is raised."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stage.http2 import GET, POST, PREFACE, Client, Mirror, server

STREAMS = st.integers(0, 9)
FLAGS = st.integers(0, 255)


def raw_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


ODD = st.builds(raw_frame, st.integers(0, 16), FLAGS, STREAMS, st.binary(max_size=40))
ANY = st.one_of(ODD, st.binary(max_size=60), st.just("get"), st.just("post"), st.just("body"), st.just("reset"))


def check(client: Client) -> None:
    """Assert what holds after any input."""
    connection = client.connection
    assert len(connection.streams) <= 100
    if connection.is_ended:
        assert connection.streams == {}
        assert client.transport.has_eof or client.transport.is_closed
    else:
        client.send(frames.PingFrame(0, b"alive?!!"))
    client.transport.abort()
    client.read()
    assert client.server.context.connections == set()
    assert client.server.context.sweeper.watched == {client.server.front}


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert caplog.records == []


@given(st.lists(ANY, max_size=12))
@settings(max_examples=300)
def test_any_frames_are_answered_or_end_the_connection(sent: list[bytes | str]) -> None:
    client = Client(server(Mirror()))
    stream = -1
    for one in sent:
        if isinstance(one, bytes):
            client.raw(one)
        elif one == "body":
            client.send(frames.DataFrame(max(stream, 1), b"x" * 100, flags=["END_STREAM"]))
        elif one == "reset":
            client.send(frames.RstStreamFrame(max(stream, 1), 8))
        else:
            stream += 2
            client.send(
                client.headers(stream, GET if one == "get" else POST, *(["END_STREAM"] if one == "get" else []))
            )
    check(client)


@given(st.binary(max_size=200))
def test_any_beginning_is_answered_or_ends_the_connection(data: bytes) -> None:
    client = Client(server(Mirror()), greets=False)
    client.raw(data)
    assert client.end is not None or PREFACE.startswith(data[:24])
    check(client)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_any_split_equals_one_feed(sizes: list[int]) -> None:
    """Any split of the input has the same answers."""
    client = Client(server(Mirror()), greets=False)
    data = PREFACE + frames.SettingsFrame(0).serialize() + client.headers(1, GET, "END_STREAM").serialize()
    data += client.headers(3, POST).serialize() + frames.DataFrame(3, b"body" * 20, flags=["END_STREAM"]).serialize()
    for size in sizes:
        client.raw(data[:size])
        data = data[size:]
    client.raw(data)
    assert (client.answers[1].status, client.answers[3].body) == (200, b"body" * 20)
