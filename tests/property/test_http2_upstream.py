"""A target over HTTP/2 that sends any bytes in any pieces: each request ends once, and no other exception is raised."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.test_http2_connection import raw_frame
from tests.stage.http2_target import OK, Target

STREAMS = st.integers(0, 9)
ODD = st.builds(raw_frame, st.integers(0, 16), st.integers(0, 255), STREAMS, st.binary(max_size=40))
END_OF_TUNNEL = frames.DataFrame(7, b"", flags=["END_STREAM"]).serialize()
ANSWER_AHEAD = raw_frame(1, 5, 5, b"\x88")
GOOD = [
    OK,
    OK.replace(b"\0\0\0\1", b"\0\0\0\3", 1),
    frames.DataFrame(1, b"data").serialize(),
    frames.DataFrame(1, b"data", flags=["END_STREAM"]).serialize(),
    frames.DataFrame(3, b"", flags=["END_STREAM"]).serialize(),
    ANSWER_AHEAD,
    raw_frame(1, 4, 1, b"\x08\x03103"),
    raw_frame(1, 4, 7, b"\x88"),
    frames.DataFrame(7, b"tunnel").serialize(),
    END_OF_TUNNEL,
    frames.RstStreamFrame(3, 7).serialize(),
    frames.GoAwayFrame(0, last_stream_id=3).serialize(),
    frames.WindowUpdateFrame(5, 100).serialize(),
    frames.SettingsFrame(0, settings={3: 1, 4: 100}).serialize(),
    frames.PingFrame(0).serialize(),
]


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert caplog.records == []


@given(st.lists(st.one_of(ODD, st.binary(max_size=60), st.sampled_from(GOOD)), max_size=12))
@settings(max_examples=300)
def test_any_frames_end_requests_once(sent: list[bytes]) -> None:
    target = Target()
    for one in sent:
        target.raw(one)
    target.check()


#: Without what makes us end a stream: what comes for it afterwards is right or wrong depending on when that was sent.
IN_PIECES = [one for one in GOOD if one not in (ANSWER_AHEAD, END_OF_TUNNEL)]


@given(st.lists(st.sampled_from(IN_PIECES), max_size=10), st.integers(1, 40))
@settings(max_examples=200)
def test_the_pieces_do_not_matter(sent: list[bytes], size: int) -> None:
    whole, pieces = Target(), Target()
    data = b"".join(sent)
    whole.raw(data)
    for at in range(0, len(data), size):
        pieces.raw(data[at : at + size])

    def ends(target: Target) -> list[str]:
        return [sink.told[-1].replace("whole", "start").split()[0] if sink.has_ended else "" for sink in target.sinks]

    first, second = ends(whole), ends(pieces)
    assert [one in ("start", "end") for one in first] == [one in ("start", "end") for one in second]
    assert [one == "lost:" for one in first] == [one == "lost:" for one in second]
    whole.check()
    pieces.check()


@given(st.lists(st.sampled_from(["cancel", "write", "end", "pause", "resume", *GOOD]), max_size=12))
@settings(max_examples=200)
def test_the_owner_may_do_anything_meanwhile(steps: list[str | bytes]) -> None:
    target = Target()
    for number, step in enumerate(steps):
        client, sink = target.clients[number % 4], target.sinks[number % 4]
        if isinstance(step, bytes):
            target.raw(step)
        elif step == "cancel" and sink.relay is not None:
            sink.relay.transport.abort()
        elif step == "end" and sink.relay is not None:
            sink.relay.transport.close()
        elif step == "cancel":
            client.abandon()
            sink.has_ended = True
        elif sink.has_ended:
            continue
        elif step == "pause" and sink.has_started:
            client.pause_reading()
        elif step == "resume":
            client.resume_reading()
        elif number % 4 == 2 and not client.is_request_done:
            if step == "end":
                client.end(b"lf")
            elif step == "write":
                client.write(b"")
        target.loop.settle()
    target.check()


def test_bytes_before_the_settings() -> None:
    target = Target(greets=False)
    target.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert target.transport.is_closed
    assert target.connection.ready.exception() is not None
