"""HTTP/2 (RFC 9113 §3 to §6, §10): effects of frames on streams, and the errors that end a stream or the connection.

Covers `web.server.http2.session`.
"""

from __future__ import annotations

import pytest
from hyperframe import frame as frames

from tests.stage.http2 import GET, POST, PREFACE, Answer, Client, Mirror, Silent, connect, server

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = 1, 3, 5, 6, 7
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11


class TestSection3:
    """Starting HTTP/2."""

    def test_3_4_the_server_preface_is_settings(self) -> None:
        client = connect()
        assert client.frames[0].settings[3] == 100
        assert client.request(GET).status == 200

    @pytest.mark.parametrize(
        "preface",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            PREFACE[:-1] + b"x",
            bytes(24),
            PREFACE + frames.PingFrame(0).serialize(),
        ],
    )
    def test_3_4_a_client_without_preface_is_refused(self, preface: bytes) -> None:
        client = Client(server(Mirror()), greets=False)
        client.raw(preface)
        assert client.end == (PROTOCOL_ERROR, 0)

    def test_3_4_in_any_pieces(self) -> None:
        client = Client(server(Mirror()), greets=False)
        data = PREFACE + frames.SettingsFrame(0).serialize() + client.headers(1, GET, "END_STREAM").serialize()
        for byte in data:
            client.raw(bytes((byte,)))
        assert client.answers[1].status == 200


class TestSection4:
    """Frames."""

    def test_4_2_a_frame_too_long_is_an_error(self) -> None:
        client = connect()
        client.raw(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01")
        assert client.end == (FRAME_SIZE_ERROR, 0)

    @pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\xff\xff", b"\x80", b"\x40\x85\xf2\xb2\x4a\x84\xff\x84\x49"])
    def test_4_3_no_header_block(self, block: bytes) -> None:
        client = connect()
        client.send(frames.HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
        assert client.end is not None
        assert client.end[0] == COMPRESSION_ERROR

    def test_4_1_unknown_frames_are_ignored(self) -> None:
        client = connect()
        client.raw(b"\x00\x00\x03\xbe\xff\x00\x00\x00\x00abc")
        assert client.request(GET).status == 200


class TestSection5:
    """Streams."""

    def test_5_1_1_ids_go_up(self) -> None:
        """A lower stream id counts as one that was closed meanwhile, and is not served."""
        client = connect()
        assert client.request(GET, stream=5).status == 200
        assert client.request(GET, stream=3) == Answer()
        assert client.request(GET, stream=7).status == 200

    def test_5_1_1_ids_are_odd(self) -> None:
        client = connect()
        client.request(GET, stream=2)
        assert client.end == (PROTOCOL_ERROR, 0)

    def test_5_1_2_too_many_at_once(self) -> None:
        """Streams opened before the client knew the limit are refused; the others go on."""
        client = Client(server(Mirror()), acknowledges=False)
        begun = [client.begin(POST) for _ in range(101)]
        assert begun[100][1].reset == REFUSED_STREAM
        client.send(*[frames.DataFrame(stream, b"x", flags=["END_STREAM"]) for stream, _ in begun[:100]])
        assert {answer.status for _, answer in begun[:100]} == {200}

    def test_5_1_2_too_many_knowingly(self) -> None:
        client = connect()
        for _ in range(101):
            client.begin(POST)
        assert client.end == (PROTOCOL_ERROR, 199)

    def test_5_1_data_on_an_idle_stream(self) -> None:
        client = connect()
        client.send(frames.DataFrame(1, b"x"))
        assert client.end == (PROTOCOL_ERROR, 0)

    @pytest.mark.parametrize("kind", [frames.DataFrame, frames.HeadersFrame])
    def test_5_1_after_both_ends(self, kind: type[frames.Frame]) -> None:
        """Frames on a closed stream may have been sent before the client knew: they are ignored."""
        client = connect()
        stream, _ = client.begin(POST)
        client.send(frames.DataFrame(stream, b"", flags=["END_STREAM"]))
        late = client.headers(stream, GET, "END_STREAM")
        client.send(frames.DataFrame(stream, b"more") if kind is frames.DataFrame else late)
        assert client.request(GET).status == 200
        assert client.connection.requests == 2

    def test_5_1_after_the_client_s_end(self) -> None:
        client = Client(server(Silent()))
        client.request(GET)
        client.send(frames.DataFrame(1, b"more"))
        assert client.end == (STREAM_CLOSED, 1)

    @pytest.mark.parametrize("stream", [0, 1])
    def test_5_2_1_windows_overflow(self, stream: int) -> None:
        client = Client(server(Silent()))
        client.request(GET)
        client.send(frames.WindowUpdateFrame(stream, 2**31 - 1))
        assert client.end == (FLOW_CONTROL_ERROR, 1)

    def test_5_3_1_no_stream_depends_on_itself(self) -> None:
        """Priorities of RFC 7540 are obsolete and ignored."""
        client = connect()
        client.send(frames.PriorityFrame(1, depends_on=3, stream_weight=5))
        assert client.request(GET).status == 200

    def test_5_1_2_streams_are_independent(self) -> None:
        client = connect()
        stream, first = client.begin(POST)
        second = client.request(GET)
        assert (first.fields, second.status) == ([], 200)
        client.send(frames.DataFrame(stream, b"late", flags=["END_STREAM"]))
        assert first.body == b"late"


class TestSection6:
    """Frame definitions."""

    def test_6_1_padding_is_taken_off(self) -> None:
        client = connect()
        stream, answer = client.begin(POST)
        client.send(frames.DataFrame(stream, b"body", pad_length=200, flags=["PADDED", "END_STREAM"]))
        assert answer.body == b"body"

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (frames.DataFrame(1, b"").serialize()[:5] + bytes(4), PROTOCOL_ERROR),  # §6.1: no stream
            (b"\0\0\x04\x03\0\0\0\0\0" + bytes(4), PROTOCOL_ERROR),  # §6.4: RST_STREAM without a stream
            (b"\0\0\x03\x03\0\0\0\0\x01" + bytes(3), FRAME_SIZE_ERROR),  # §6.4: its length
            (b"\0\0\x05\x04\0\0\0\0\0" + bytes(5), FRAME_SIZE_ERROR),  # §6.5: SETTINGS, not six bytes each
            (b"\0\0\x06\x04\x01\0\0\0\0" + bytes(6), FRAME_SIZE_ERROR),  # §6.5: an ACK with settings
            (b"\0\0\x06\x04\0\0\0\0\0" + b"\0\2\0\0\0\2", PROTOCOL_ERROR),  # §6.5.2: ENABLE_PUSH 2
            (b"\0\0\x06\x04\0\0\0\0\0" + b"\0\4\x80\0\0\0", FLOW_CONTROL_ERROR),  # §6.5.2: INITIAL_WINDOW_SIZE
            (b"\0\0\x06\x04\0\0\0\0\0" + b"\0\5\0\0\0\0", PROTOCOL_ERROR),  # §6.5.2: MAX_FRAME_SIZE
            (b"\0\0\x07\x06\0\0\0\0\0" + bytes(7), FRAME_SIZE_ERROR),  # §6.7: PING, not eight bytes
            (b"\0\0\x08\x06\0\0\0\0\x01" + bytes(8), PROTOCOL_ERROR),  # §6.7: on a stream
            (b"\0\0\x04\x08\0\0\0\0\0" + bytes(4), PROTOCOL_ERROR),  # §6.9: WINDOW_UPDATE of nothing
            (b"\0\0\x04\x09\x04\0\0\0\x01" + bytes(4), PROTOCOL_ERROR),  # §6.10: CONTINUATION of nothing
            (b"\0\0\x04\x05\x04\0\0\0\x01" + bytes(4), PROTOCOL_ERROR),  # §8.4: a client's PUSH_PROMISE
        ],
    )
    def test_faulty_frames_end_the_connection(self, data: bytes, error: int) -> None:
        client = connect()
        client.raw(data)
        assert client.end == (error, 0)

    def test_6_2_headers_in_pieces(self) -> None:
        client = connect()
        block = client.encoder.encode([*GET, ("x-long", "y" * 20_000)])
        client.send(
            frames.HeadersFrame(1, block[:10], flags=["END_STREAM"]),
            frames.ContinuationFrame(1, block[10:16_000]),
            frames.ContinuationFrame(1, block[16_000:], flags=["END_HEADERS"]),
        )
        assert client.answers[1].status == 200

    def test_6_2_nothing_comes_in_between(self) -> None:
        client = connect()
        client.send(frames.HeadersFrame(1, client.encoder.encode(GET)), frames.PingFrame(0))
        assert client.end == (PROTOCOL_ERROR, 1)

    def test_6_4_a_reset_ends_the_stream(self) -> None:
        client = connect()
        stream, answer = client.begin(POST)
        client.send(frames.RstStreamFrame(stream, 8))
        assert answer == Answer()
        assert client.connection.streams == {}
        assert client.request(GET).status == 200

    def test_6_5_settings_are_acknowledged(self) -> None:
        client = connect()
        assert [frame.flags for frame in client.of(frames.SettingsFrame)][1] == {"ACK"}

    def test_6_7_a_ping_is_answered(self) -> None:
        client = connect()
        client.send(frames.PingFrame(0, b"12345678"))
        (pong,) = client.of(frames.PingFrame)
        assert (pong.opaque_data, pong.flags) == (b"12345678", {"ACK"})

    def test_6_8_a_client_that_goes(self) -> None:
        client = connect()
        stream, answer = client.begin(POST)
        client.send(frames.GoAwayFrame(0))
        assert client.end is None
        client.send(frames.DataFrame(stream, b"x", flags=["END_STREAM"]))
        assert answer.body == b"x"
        assert client.transport.has_eof

    def test_6_9_1_a_client_beyond_the_window(self) -> None:
        client = Client(server(Silent()))
        stream, _ = client.begin(POST)
        client.send(*[frames.DataFrame(stream, bytes(16_384)) for _ in range(17)])
        assert client.end == (FLOW_CONTROL_ERROR, 1)


class TestSection10:
    """Abuse (§10.5)."""

    def test_10_5_1_header_list_size(self) -> None:
        """A head far beyond the limit is not answered: the connection is closed."""
        client = connect()
        block = client.encoder.encode([*GET, *[(f"x-{number}", "y" * 16_000) for number in range(12)]])
        sent: list[frames.Frame] = [frames.HeadersFrame(1, block[:16_000], flags=["END_STREAM"])]
        sent += [frames.ContinuationFrame(1, block[at : at + 16_000]) for at in range(16_000, len(block), 16_000)]
        client.send(*sent)
        assert client.end == (ENHANCE_YOUR_CALM, 0)

    def test_a_continuation_flood_ends_the_connection(self) -> None:
        """CVE-2024-27316 and others: a block that never ends."""
        client = connect()
        client.send(frames.HeadersFrame(1, client.encoder.encode(GET)))
        client.send(*[frames.ContinuationFrame(1, b"") for _ in range(100)])
        assert client.end == (ENHANCE_YOUR_CALM, 0)

    def test_an_hpack_bomb_is_refused(self) -> None:
        """CVE-2016-6581: references to a long field cost one byte each."""
        client = connect()
        block = client.encoder.encode([*GET, ("x-long", "y" * 4000)])
        client.send(frames.HeadersFrame(1, block + b"\xbe" * 10_000, flags=["END_HEADERS", "END_STREAM"]))
        assert client.end == (ENHANCE_YOUR_CALM, 0)
