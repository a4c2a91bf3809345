"""Priorities of HTTP/3 responses (RFC 9218): whose bytes a client gets first, whatever window it keeps small.

Covers `web.server.http3.send_queue`, `web.server.http3.responses` and `listen.quic.send_windows`. The client ends the
connection if it is sent more than it allows.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.events import StreamDataReceived

from npserver.web.config import Limits, Timeouts
from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import frame, varint
from npserver.web.server.http3.send_queue import LIBRARY_BYTES
from tests.protocols.test_http3_flow import GET, POST, Keeper
from tests.stage.quic_memory import Client

LARGE = 16 << 20
BODY = 200 << 10


class Reader(Client):
    """A client that opens its windows only when a test says so, and notes in which order bytes come."""

    def __init__(self, handler: Any, max_data: int = LARGE, max_stream_data: int = LARGE, **settings: Any) -> None:
        self.order: list[tuple[int, int]] = []
        super().__init__(handler, max_data=max_data, max_stream_data=max_stream_data, **settings)
        quic: Any = self.quic
        limits, stream_limits = quic._write_connection_limits, quic._write_stream_limits

        def write_limits(builder: Any, space: Any) -> None:
            used, quic._local_max_data.used = quic._local_max_data.used, 0  # else aioquic doubles the limit
            limits(builder, space)
            quic._local_max_data.used = used

        def write_stream_limits(builder: Any, space: Any, stream: Any) -> None:
            highest, stream.receiver.highest_offset = stream.receiver.highest_offset, 0
            stream_limits(builder, space, stream)
            stream.receiver.highest_offset = highest

        quic._write_connection_limits, quic._write_stream_limits = write_limits, write_stream_limits

    def take_event(self, event: Any) -> None:
        if isinstance(event, StreamDataReceived) and not event.stream_id & 2:
            self.order.append((event.stream_id, len(event.data)))

    def ask(self, priority: bytes = b"", *, head: Any = GET, has_ended: bool = True) -> int:
        """Begin a request. Return its stream."""
        stream: int = self.quic.get_next_available_stream_id()
        self.http.send_headers(stream, [*head, (b"priority", priority)] if priority else head, end_stream=has_ended)
        self.exchange()
        return stream

    def update(self, stream: int, priority: bytes) -> None:
        """Send PRIORITY_UPDATE."""
        self.quic.send_stream_data(
            self.http._local_control_stream_id, frame(frames.PRIORITY_UPDATE, varint(stream) + priority)
        )

    def run(self) -> None:
        """Let the server send what it may: acknowledgements and pacing need time."""
        while True:
            before = len(self.order)
            for _ in range(5):
                self.pass_time(0.02)
                self.exchange()
            assert self.quic._close_event is None, self.quic._close_event
            if len(self.order) == before:
                return

    def open(self, size: int) -> None:
        """Allow more on the connection."""
        self.quic._local_max_data.value += size
        self.run()

    def open_stream(self, stream: int, size: int) -> None:
        """Allow more on a stream."""
        self.quic._streams[stream].max_stream_data_local += size
        self.run()

    def got(self, stream: int) -> int:
        """Return how many bytes of a stream have come."""
        return sum(size for number, size in self.order if number == stream)

    def after(self, first: int, other: int) -> int:
        """Return how many bytes of a stream came before the last of another, and after the first of it."""
        places = [place for place, (number, _) in enumerate(self.order) if number == first]
        return sum(size for number, size in self.order[places[0] : places[-1]] if number == other)


def begin(**settings: Any) -> tuple[Keeper, Reader]:
    handler = Keeper()
    return handler, Reader(handler, **settings)


class TestWindows:
    @pytest.mark.parametrize("max_stream_data", [LARGE, 256 << 10])
    @pytest.mark.parametrize("max_data", [LARGE, 256 << 10, 50_000])
    def test_the_urgent_response_is_sent_first_and_whole(self, max_data: int, max_stream_data: int) -> None:
        handler, client = begin(max_data=max_data, max_stream_data=max_stream_data)
        less, urgent = client.ask(b"u=5"), client.ask(b"u=1")
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        while client.got(less) < BODY:
            client.open(20_000)
        assert client.got(urgent) > BODY
        assert client.after(urgent, less) <= 2400  # the last datagrams carry both
        client.run()
        client.end()

    def test_a_more_urgent_response_passes_one_that_has_begun(self) -> None:
        handler, client = begin(max_data=60_000)
        less = client.ask(b"u=5")
        handler.exchanges[0].respond(200, b"", bytes(BODY))
        client.run()
        assert 50_000 < client.got(less) < 60_000
        urgent = client.ask(b"u=4, i")
        handler.exchanges[1].respond(200, b"", bytes(BODY))
        while client.got(urgent) < BODY:
            client.open(10_000)
        assert client.after(urgent, less) == 0
        client.open(LARGE)
        assert client.got(less) > BODY
        client.end()

    @pytest.mark.parametrize("max_data", [LARGE, 150_000])
    def test_others_go_on_while_a_stream_window_is_closed(self, max_data: int) -> None:
        handler, client = begin(max_data=max_data, max_stream_data=60_000)
        less, urgent = client.ask(b"u=5"), client.ask(b"u=0")
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        assert (client.got(urgent), client.got(less)) == (60_000, 60_000)
        client.open_stream(less, 15_000)
        assert client.got(less) == 75_000
        client.open_stream(less, LARGE if max_data < LARGE else 10_000)
        before = client.got(less)
        assert before > 75_000
        client.open_stream(urgent, LARGE)
        while client.got(urgent) < BODY:
            client.open(10_000)
        assert client.got(less) - before <= 10_000
        client.open_stream(less, LARGE)
        client.open(LARGE)
        assert client.got(less) > BODY
        client.end()

    def test_files_are_read_as_their_turn_comes(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(1 << 20))
        handler, client = begin(max_data=100_000)
        streams = [client.ask(b"u=6") for _ in range(12)]
        urgent = client.ask(b"u=2")
        for exchange in handler.exchanges:
            exchange.send_file(200, b"", os.open(tmp_path / "file", os.O_RDONLY), 0, 1 << 20)
        session = client.endpoint.http[0].session
        while client.got(urgent) < 1 << 20:
            client.open(200_000)
            assert session.all_unsent <= 4 << 20
        assert client.after(urgent, streams[0]) == 0
        assert sum(client.got(stream) for stream in streams) < 300_000
        client.open(LARGE)
        assert all(client.got(stream) > 1 << 20 for stream in streams)
        client.end()

    def test_a_response_goes_on_while_an_upload_is_held(self) -> None:
        handler, client = begin(max_data=60_000, limits=Limits(http2_window=32 << 10), max_body_size=LARGE)
        stream = client.ask(head=POST, has_ended=False)
        client.http.send_data(stream, bytes(1 << 20), end_stream=True)
        client.exchange()
        assert client.connection.quic.is_held
        handler.exchanges[0].start(200, b"", None, handler)
        handler.exchanges[0].write(bytes(BODY))
        client.run()
        assert 59_900 < client.got(stream) <= 60_000
        client.open(20_000)
        assert 79_900 < client.got(stream) <= 80_000
        client.open_stream(stream, LARGE)
        client.open(LARGE)
        assert client.got(stream) > BODY
        assert client.connection.quic.is_held
        client.end()

    def test_a_stream_window_that_was_passed_while_an_upload_was_held_stops_no_other(self) -> None:
        handler, client = begin(max_stream_data=30_000, limits=Limits(http2_window=32 << 10), max_body_size=LARGE)
        stream, other = client.ask(b"u=1", head=POST, has_ended=False), client.ask(b"u=5")
        client.http.send_data(stream, bytes(1 << 20), end_stream=True)
        client.exchange()
        assert client.connection.quic.is_held
        handler.exchanges[0].start(200, b"", None, handler)
        handler.exchanges[0].write(bytes(BODY))
        client.run()
        assert client.got(stream) == 30_000
        handler.exchanges[0].receive(handler)
        client.run()
        assert handler.has_ended
        assert not client.connection.quic.is_held
        assert client.connection.quic.unsent(stream) == LIBRARY_BYTES
        handler.exchanges[1].respond(200, b"", bytes(BODY))
        client.run()
        assert client.got(other) == 30_000
        client.open_stream(stream, LARGE)
        client.open_stream(other, LARGE)
        assert min(client.got(stream), client.got(other)) > BODY
        client.end()


class TestOrder:
    def test_of_equal_ones_the_earlier_request_comes_first(self) -> None:
        handler, client = begin()
        first, second = client.ask(), client.ask()
        for exchange in reversed(handler.exchanges):
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        assert client.got(first) == client.got(second) > BODY
        assert client.after(first, second) == 0
        client.end()

    def test_incremental_ones_share(self) -> None:
        handler, client = begin(max_data=40_000)
        first, second, whole = client.ask(b"i"), client.ask(b"u=3, i=?1"), client.ask()
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        for _ in range(10):
            client.open(30_000)
            got = [client.got(stream) for stream in (first, second, whole)]
            assert max(got) - min(got) <= LIBRARY_BYTES
        client.end()

    def test_priority_update_takes_effect_in_the_middle(self) -> None:
        handler, client = begin(max_data=50_000)
        first, second = client.ask(b"u=1"), client.ask(b"u=4")
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        assert client.got(second) == 0
        before = client.got(first)
        client.update(second, b"u=0")
        client.open(50_000)
        assert (client.got(first), client.got(second)) == (before, 50_000)
        client.update(second, b"u=7")
        client.open(50_000)
        assert (client.got(first), client.got(second)) == (before + 50_000, 50_000)
        client.end()

    def test_priority_update_may_come_before_the_request(self) -> None:
        handler, client = begin()
        client.update(4, b"u=6")
        client.update(4, b"u=0")
        first, second = client.ask(), client.ask(b"u=7")
        assert second == 4
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        assert client.after(second, first) == 0
        client.end()

    def test_priorities_of_requests_that_have_not_begun_are_bounded(self) -> None:
        handler, client = begin(limits=Limits(max_streams=4, max_control_frames=1000))
        queue = client.endpoint.http[0].session.queue
        for turn in range(8):
            for stream in range(turn, turn + 4):
                client.update(4 * stream, b"u=1")
            stream = client.ask()
            handler.exchanges[turn].respond(200, b"", b"done")
            client.run()
            for number in range(turn + 1):
                client.update(4 * number, b"u=2")
            client.run()
            assert len(queue._early) <= 4
        client.end()

    def test_the_response_may_say_its_priority(self) -> None:
        handler, client = begin()
        first, second = client.ask(b"u=1"), client.ask(b"u=2")
        for exchange, field in zip(handler.exchanges, (b"", b"priority: u=0\r\n"), strict=True):
            exchange.respond(200, field, bytes(BODY))
        client.run()
        assert client.after(second, first) == 0
        client.end()

    @pytest.mark.parametrize("how", ["stopped", "aborted"])
    def test_a_stream_that_is_reset_leaves_its_place(self, how: str) -> None:
        handler, client = begin(max_data=50_000)
        urgent, less = client.ask(b"u=1"), client.ask(b"u=4")
        handler.exchanges[0].start(200, b"", None, handler)
        handler.exchanges[0].write(bytes(BODY))
        handler.exchanges[1].respond(200, b"", bytes(BODY))
        client.run()
        assert client.got(less) == 0
        if how == "stopped":
            client.quic.stop_stream(urgent, frames.REQUEST_CANCELLED)
        else:
            handler.exchanges[0].abort("test")
        client.run()
        client.open(100_000)
        assert client.got(less) >= 100_000
        client.open(LARGE)
        assert client.got(less) > BODY
        windows = client.connection.quic.windows
        assert windows.sent == client.quic._local_max_data.used
        client.end()

    def test_what_is_dropped_of_a_stopped_stream_is_not_counted_as_sent(self) -> None:
        handler, client = begin()
        stream = client.ask()
        handler.exchanges[0].respond(200, b"", bytes(BODY))
        client.loop.settle()
        assert client.connection.quic.unsent(stream) > 0
        client.quic.stop_stream(stream, frames.REQUEST_CANCELLED)
        client.run()
        assert client.connection.quic.unsent() == 0
        assert client.connection.quic.windows.sent == client.quic._local_max_data.used
        client.end()

    def test_what_is_sent_again_is_counted_once(self) -> None:
        handler, client = begin(max_data=50_000)
        streams = [client.ask(b"u=2"), client.ask(b"i")]
        sent: list[bytes] = []

        def send_run(run: list[bytes], to: Any) -> None:
            for datagram in run:
                sent.append(datagram)
                if len(sent) % 7:
                    client.sent.append(datagram)

        client.socket.send_run = send_run
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        for _ in range(100):
            client.pass_time(1)
            client.open(50_000)
            if min(client.got(stream) for stream in streams) > BODY:
                break
        assert len(sent) > 2 * BODY // 1200
        assert client.connection.quic.unsent() == 0
        assert client.connection.quic.windows.sent == client.quic._local_max_data.used
        client.end()


class TestTimeouts:
    def test_a_response_that_waits_for_its_turn_is_not_timed(self) -> None:
        handler, client = begin(max_data=50_000, timeouts=Timeouts(write=10))
        less, urgent = client.ask(b"u=5"), client.ask(b"u=1")
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        for _ in range(5):
            client.server.pass_time(6)
            client.open(20_000)
        assert client.got(less) == 0
        client.open(LARGE)
        assert min(client.got(less), client.got(urgent)) > BODY
        client.end()

    def test_all_are_reset_when_the_client_reads_nothing(self) -> None:
        handler, client = begin(max_data=50_000, timeouts=Timeouts(write=10))
        streams = [client.ask(b"u=%d" % urgency) for urgency in range(4)]
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        client.server.pass_time(11)
        client.run()
        assert client.endpoint.http[0].session.all_unsent == 0
        client.open(LARGE)
        assert sum(client.got(stream) for stream in streams) < 60_000
        client.end()

    def test_a_closed_stream_window_is_timed_while_others_go_on(self) -> None:
        handler, client = begin(max_stream_data=50_000, timeouts=Timeouts(write=10))
        urgent, less = client.ask(b"u=1"), client.ask(b"u=5")
        for exchange in handler.exchanges:
            exchange.respond(200, b"", bytes(BODY))
        client.run()
        for _ in range(3):
            client.server.pass_time(6)
            client.open_stream(less, 20_000)
        session = client.endpoint.http[0].session
        assert (session.unsent(urgent), session.unsent(less) > 0) == (0, True)
        client.end()
