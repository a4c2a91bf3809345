"""HTTP/2: flow control both ways (RFC 9113 §5.2), files, bodies, and floods (§10.5).

Covers `web.server.file_source`, `web.server.request_body`, `web.server.http2.request_body`,
`web.server.http2.allowance` and `web.server.http2.unread`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hyperframe import frame as frames

from npserver.http.http2_allowance import Allowance
from npserver.web.config import Limits
from npserver.web.server.http2.exchange import ALL_HIGH_BYTES, HIGH_BYTES
from npserver.web.server.http2.unread import UNREAD
from tests.stage.http2 import GET, POST, Client, Keeper, begin, head, server

NO_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 2, 8, 11


class TestFiles:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "file"
        file.write_bytes(bytes(range(256)) * 4096)
        return file

    def test_sent_as_the_client_takes_it(self, file: Path) -> None:
        handler, client = begin()
        answer = client.request(GET)
        number = os.open(file, os.O_RDONLY)
        handler.exchanges[0].send_file(200, b"", number, 256, 300_000)
        client.read()
        assert len(answer.body) == 65_535  # the default window
        assert handler.exchanges[0].session.all_unsent <= HIGH_BYTES
        while not answer.has_ended:
            before = len(answer.body)
            client.send(frames.WindowUpdateFrame(1, 50_000), frames.WindowUpdateFrame(0, 50_000))
            assert before < len(answer.body) <= before + 50_000
        assert answer.body == (bytes(range(256)) * 4096)[256:300_256]
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)

    @pytest.mark.parametrize("how", ["reset", "lost", "shorter"])
    def test_a_file_broken_off_is_closed(self, file: Path, how: str) -> None:
        handler, client = begin()
        answer = client.request(GET)
        number = os.open(file, os.O_RDONLY)
        handler.exchanges[0].send_file(200, b"", number, 0, 1 << 20)
        client.read()
        if how == "reset":
            client.send(frames.RstStreamFrame(1, CANCEL))
        elif how == "lost":
            client.transport.abort()
            client.read()
        else:
            os.truncate(file, 1000)
            client.send(frames.WindowUpdateFrame(1, 1 << 20), frames.WindowUpdateFrame(0, 1 << 20))
            assert answer.reset == INTERNAL_ERROR
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)
        assert handler.exchanges[0].is_gone

    def test_head_sends_no_file(self, file: Path) -> None:
        handler, client = begin()
        answer = client.request(head("HEAD"))
        number = os.open(file, os.O_RDONLY)
        handler.exchanges[0].send_file(200, b"", number, 0, 1 << 20)
        client.read()
        assert (answer["content-length"], answer.body, answer.has_ended) == ("1048576", b"", True)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(number)


class TestFlowControl:
    """RFC 9113 §5.2."""

    def test_a_source_is_paused_until_the_client_reads(self) -> None:
        handler, client = begin()
        answer = client.request(GET)
        exchange = handler.exchanges[0]
        exchange.start(200, b"", None, handler)
        client.read()
        written = 0
        while not handler.calls:
            exchange.write(bytes(16_384))
            client.read()
            written += 16_384
        assert handler.calls == ["pause"]
        assert written <= 65_535 + HIGH_BYTES + 16_384
        client.send(frames.WindowUpdateFrame(1, 1 << 20), frames.WindowUpdateFrame(0, 1 << 20))
        assert handler.calls == ["pause", "resume"]
        assert len(answer.body) == written

    def test_the_memory_of_a_connection_is_bounded(self) -> None:
        """A client that asks for much and takes nothing."""
        handler, client = begin()
        client.send(frames.SettingsFrame(0, settings={4: 0}))
        for _ in range(100):
            client.request(GET)
        for exchange in handler.exchanges:
            exchange.start(200, b"", None, handler)
            while not exchange.is_paused:
                exchange.write(bytes(16_384))
        client.read()
        assert handler.exchanges[0].session.all_unsent < ALL_HIGH_BYTES + 100 * (48 << 10)

    def test_a_transport_that_does_not_keep_up(self) -> None:
        handler, client = begin()
        client.send(frames.WindowUpdateFrame(0, 1 << 30), frames.SettingsFrame(0, settings={4: 1 << 30}))
        answer = client.request(GET)
        client.transport.is_stalled = True
        exchange = handler.exchanges[0]
        exchange.start(200, b"", None, handler)
        written = 0
        while not handler.calls:
            exchange.write(bytes(16_384))
            client.read()
            written += 16_384
        assert written < 65_536 * 2 + HIGH_BYTES + 32_768
        client.transport.unstall()
        client.read()
        assert handler.calls == ["pause", "resume"]
        assert len(answer.body) == written

    def test_a_body_that_nobody_takes(self) -> None:
        """The client gets window for what is taken only."""
        handler, client = begin()
        stream, _ = client.begin(POST)
        client.frames.clear()
        for _ in range(16):
            client.send(frames.DataFrame(stream, bytes(16_384)))
        assert client.of(frames.WindowUpdateFrame) == []
        handler.exchanges[0].receive(handler)
        client.read()
        assert len(handler.body) == 262_144
        assert [(one.stream_id, one.window_increment) for one in client.of(frames.WindowUpdateFrame)] == [(1, 262_144)]

    def test_a_body_is_held_while_receiving_is_paused(self) -> None:
        handler, client = begin(receives=True)
        stream, _ = client.begin(POST)
        exchange = handler.exchanges[0]
        exchange.pause_receiving()
        client.send(frames.DataFrame(stream, b"held"))
        assert handler.body == b""
        exchange.resume_receiving()
        assert handler.body == b"held"
        client.send(frames.DataFrame(stream, b" back", flags=["END_STREAM"]))
        assert (handler.body, handler.calls) == (b"held back", ["end"])

    def test_window_comes_back_when_a_sink_resumes_that_paused_at_the_last_piece(self) -> None:
        """The client has sent all that its window allows: it cannot send more to be told of the window."""

        size, taken = 262_144, 0

        class Pausing:
            def body_data(self, data: bytes) -> None:
                nonlocal taken
                taken += len(data)
                if taken == size:
                    exchange.pause_receiving()

            def body_end(self, trailers: bytes) -> None:
                pass

            def body_lost(self, reason: str) -> None:
                pass

        handler, client = begin()
        stream, _ = client.begin(POST)
        exchange = handler.exchanges[0]
        client.send(*[frames.DataFrame(stream, bytes(16_384)) for _ in range(16)])
        exchange.receive(Pausing())  # it takes all at once
        client.read()
        client.frames.clear()
        exchange.resume_receiving()
        client.read()
        windows = [one.window_increment for one in client.of(frames.WindowUpdateFrame) if one.stream_id == stream]
        assert windows == [size]

    def test_a_body_of_known_length_ends_with_its_last_byte(self) -> None:
        """Not with the empty frame that may follow: the upstream has all of it, and may answer before."""
        handler, client = begin(receives=True)
        stream, answer = client.begin([*POST, ("content-length", "8")])
        client.send(frames.DataFrame(stream, b"whole"))
        assert handler.calls == []
        client.send(frames.DataFrame(stream, b"ody"))
        assert (handler.body, handler.calls) == (b"wholeody", ["end"])
        client.send(frames.DataFrame(stream, b"", flags=["END_STREAM"]))
        handler.exchanges[0].respond(200, b"", b"thanks")
        client.read()
        assert (answer.status, answer.body, answer.reset, handler.calls) == (200, b"thanks", None, ["end"])

    def test_window_comes_back_when_a_stream_is_broken_off(self) -> None:
        """Bytes received on it no longer count against the connection's window."""
        _, client = begin(max_body_size=1 << 30)
        for _ in range(20):
            stream, _ = client.begin(POST)
            client.send(*[frames.DataFrame(stream, bytes(16_384)) for _ in range(15)])
            client.send(frames.RstStreamFrame(stream, CANCEL))
        assert client.end is None


class TestBodies:
    def test_too_long_by_its_own_account(self) -> None:
        handler, client = begin(max_body_size=10)
        _, answer = client.begin([*POST, ("content-length", "100000")])
        assert (answer.status, answer.reset, handler.exchanges) == (413, NO_ERROR, [])

    def test_a_body_too_long_is_refused(self) -> None:
        handler, client = begin(max_body_size=10, receives=True)
        stream, answer = client.begin(POST)
        client.send(frames.DataFrame(stream, b"12345678"), frames.DataFrame(stream, b"9ab"))
        assert (answer.status, answer.reset) == (413, NO_ERROR)
        assert handler.calls == ["lost: request body too large", "cancel"]

    def test_too_long_after_the_answer_has_begun(self) -> None:
        handler, client = begin(max_body_size=10, receives=True)
        stream, answer = client.begin(POST)
        handler.exchanges[0].start(200, b"", None, handler)
        client.read()
        client.send(frames.DataFrame(stream, bytes(11)))
        assert (answer.status, answer.reset) == (200, INTERNAL_ERROR)


class TestFloods:
    """RFC 9113 §10.5."""

    def test_rapid_resets_end_the_connection(self) -> None:
        """CVE-2023-44487: requests broken off at once are not begun, and many of them end the connection."""
        handler, client = begin(limits=Limits(max_resets=50))
        for number in range(60):
            stream = 2 * number + 1
            client.send(client.headers(stream, GET, "END_STREAM"), frames.RstStreamFrame(stream, CANCEL))
        assert client.end is not None
        assert client.end[0] == ENHANCE_YOUR_CALM
        assert handler.exchanges == []

    def test_resets_of_begun_requests_end_the_connection(self) -> None:
        handler, client = begin(limits=Limits(max_resets=50))
        for _ in range(60):
            client.request(GET)
            client.send(frames.RstStreamFrame(client._last, CANCEL))
        assert client.end == (ENHANCE_YOUR_CALM, 2 * 50 + 1)
        assert handler.calls == ["cancel"] * 51
        assert client.connection.streams == {}

    def test_resets_that_we_are_made_to_send_end_the_connection(self) -> None:
        """CVE-2025-8671: the server is made to break off, by what is wrong on a stream."""
        handler, client = begin(limits=Limits(max_resets=50))
        for _ in range(60):
            stream, _ = client.begin(POST)
            client.send(client.headers(stream, [("x", "y")]))
        assert client.end is not None
        assert client.end[0] == ENHANCE_YOUR_CALM
        assert len(handler.exchanges) == 51
        assert all(exchange.is_gone for exchange in handler.exchanges)

    def test_now_and_then_is_no_flood(self) -> None:
        _, client = begin(limits=Limits(max_resets=60))
        for _ in range(100):
            client.request(GET)
            client.send(frames.RstStreamFrame(client._last, CANCEL))
            client.server.pass_time(1)
        assert client.end is None

    @pytest.mark.parametrize(
        "frame",
        [
            frames.PingFrame(0),
            frames.SettingsFrame(0, settings={4: 65_535}),
            frames.SettingsFrame(0),
            frames.DataFrame(1, b""),
            frames.DataFrame(1, b"", pad_length=10, flags=["PADDED"]),
        ],
    )
    def test_frames_that_carry_nothing_end_the_connection(self, frame: frames.Frame) -> None:
        """CVE-2019-9512, -9515, -9518."""
        _, client = begin(limits=Limits(max_control_frames=100), max_body_size=1 << 30)
        client.begin(POST)
        client.send(*[frame] * 99)
        assert client.end is None
        client.send(*[frame] * 2)
        assert client.end == (ENHANCE_YOUR_CALM, 1)

    def test_pings_of_a_client_that_does_not_read(self) -> None:
        """CVE-2019-9512: answers that wait are bounded."""
        _, client = begin(limits=Limits(max_control_frames=1 << 30))
        client.transport.is_stalled = True
        for _ in range(20):
            client.send(*[frames.PingFrame(0)] * 1000)
        assert client.connection.is_ended
        assert len(client.transport.unsent) < 1 << 17

    def test_windows_opened_for_nothing_end_the_connection(self) -> None:
        _, client = begin(limits=Limits(max_window_updates=100))
        client.request(GET)
        client.send(*[frames.WindowUpdateFrame(0, 1)] * 100)
        assert client.end is None
        client.send(*[frames.WindowUpdateFrame(0, 1)] * 2)
        assert client.end == (ENHANCE_YOUR_CALM, 1)

    @pytest.mark.parametrize("size", [10, 16_384])
    def test_windows_opened_for_what_was_read_are_no_flood(self, size: int) -> None:
        """Two for each DATA frame, however small, as simple clients send them."""
        handler, client = begin(limits=Limits(max_window_updates=10))
        answer = client.request(GET)
        exchange = handler.exchanges[0]
        exchange.start(200, b"", None, handler)
        for _ in range(1000):
            exchange.write(bytes(size))
            client.read()
            client.send(frames.WindowUpdateFrame(0, size), frames.WindowUpdateFrame(1, size))
        exchange.finish()
        client.read()
        assert (len(answer.body), answer.has_ended, client.end) == (1000 * size, True, None)

    def test_a_flood_is_read_in_turns(self) -> None:
        """Other connections have theirs in between; nothing of what waits is lost."""
        handler, client = begin(limits=Limits(max_window_updates=1 << 30))
        client.connection.data_received(frames.WindowUpdateFrame(0, 1).serialize() * 5000)
        assert client.transport.is_paused
        assert client.connection._unfed
        answer = client.request(GET)
        assert not client.transport.is_paused
        handler.exchanges[0].respond(200)
        client.read()
        assert answer.status == 200

    def test_answers_that_are_not_read_are_bounded_over_all_connections(self, caplog: pytest.LogCaptureFixture) -> None:
        """RFC 9113 §10.5: the connection that holds the most is closed, and what it holds is free."""
        caplog.set_level("WARNING")
        handler = Keeper()
        one = server(handler, limits=Limits(max_unread=1_000_000))
        modest, greedy = Client(one, settings={4: 0}), Client(one, settings={4: 0})
        modest.request(GET)
        handler.exchanges[0].respond(200, b"", bytes(300_000))
        modest.read()
        for _ in range(10):
            greedy.request(GET)
            if greedy.transport.is_closed:
                break
            handler.exchanges[-1].respond(200, b"", bytes(200_000))
            greedy.read()
        assert greedy.transport.is_aborted
        assert UNREAD.of(one.context).bytes == 300_000
        assert "limits.max_unread" in caplog.text
        modest.send(frames.WindowUpdateFrame(0, 1 << 20), frames.WindowUpdateFrame(1, 1 << 20))
        assert len(modest.answers[1].body) == 300_000
        assert UNREAD.of(one.context).bytes == 0

    def test_an_allowance_is_spent_and_renewed(self) -> None:
        allowance = Allowance(60, 0.0)
        assert [allowance.spend(0.0) for _ in range(61)] == [True] * 60 + [False]
        assert [allowance.spend(2.0), allowance.spend(2.0)] == [True, False]
        assert [allowance.spend(1e6) for _ in range(61)] == [True] * 60 + [False]

    def test_what_is_earned_is_spent_up_to_the_limit(self) -> None:
        allowance = Allowance(60, 0.0)
        for _ in range(30):
            allowance.spend(0.0)
        allowance.earned += 10
        assert [allowance.spend(0.0) for _ in range(41)] == [True] * 40 + [False]
        allowance.earned += 1000
        assert [allowance.spend(0.0) for _ in range(61)] == [True] * 60 + [False]
