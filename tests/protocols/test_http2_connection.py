"""HTTP/2 connections: many exchanges at once, deadlines, the end."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe import frame as frames

from npserver.web.config import Limits, Timeouts
from npserver.web.server.client_connection import LINGER_S
from npserver.web.server.stream_connection import MAX_CUT_UPLOADS
from tests.stage.http2 import GET, POST, Answer, Client, Keeper, begin, head, server

NO_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 2, 8, 11


class TestAnswers:
    def test_answers_come_in_any_order(self) -> None:
        handler, client = begin()
        first, second = client.request(GET), client.request(GET)
        handler.exchanges[1].respond(200, b"", b"second")
        client.read()
        assert (first, second.body) == (Answer(), b"second")
        handler.exchanges[0].respond(200, b"", b"first")
        client.read()
        assert (first.body, second.body, client.connection.streams) == (b"first", b"second", {})

    @pytest.mark.parametrize(
        ("method", "status", "length"), [("HEAD", 200, "4"), ("GET", 204, None), ("GET", 304, None), ("GET", 404, "4")]
    )
    def test_bodies_that_are_not_sent(self, method: str, status: int, length: str | None) -> None:
        handler, client = begin()
        answer = client.request(head(method))
        handler.exchanges[0].respond(status, b"X: y\r\n", b"body")
        client.read()
        assert (answer.status, answer.body) == (status, b"body" if status == 404 else b"")
        assert answer.has_ended
        assert dict(answer.fields).get("content-length") == length

    def test_a_streamed_answer_ends_with_trailers(self) -> None:
        handler, client = begin()
        answer = client.request(GET)
        exchange = handler.exchanges[0]
        exchange.inform(103, b"Link: </a.css>\r\n")
        exchange.start(200, b"Connection: close\r\nKeep-Alive: 1\r\nTransfer-Encoding: chunked\r\n", None, None)
        client.read()
        assert answer.interim == [[(":status", "103"), ("link", "</a.css>")]]
        assert [name for name, _ in answer.fields] == [":status", "date", "server"]  # §8.2.2
        exchange.write(b"one ")
        client.read()
        exchange.write(b"two")
        exchange.finish(b"X-Sum: 1\r\n")
        client.read()
        assert (answer.body, answer.trailers, answer.has_ended) == (b"one two", [("x-sum", "1")], True)
        assert exchange.is_gone

    @pytest.mark.parametrize("data", [b"more than four", b"few"])
    def test_another_length_than_said_resets_the_stream(self, data: bytes) -> None:
        handler, client = begin()
        answer = client.request(GET)
        exchange = handler.exchanges[0]
        exchange.start(200, b"", 4, None)
        exchange.write(data)
        exchange.finish()
        client.read()
        assert (answer.reset, answer.has_ended) == (INTERNAL_ERROR, False)

    def test_an_aborted_answer_resets_the_stream(self) -> None:
        handler, client = begin()
        answer, other = client.request(GET), client.request(GET)
        exchange = handler.exchanges[0]
        exchange.start(200, b"", None, handler)
        exchange.write(b"a part")
        client.read()
        exchange.abort("upstream gone")
        exchange.write(b"more")
        client.read()
        assert (answer.body, answer.reset, answer.has_ended) == (b"a part", INTERNAL_ERROR, False)
        handler.exchanges[1].respond(200)
        client.read()
        assert other.status == 200

    def test_a_handler_that_fails_is_answered_with_500(self) -> None:
        class Faulty:
            def handle(self, exchange: Any) -> None:
                raise ValueError

        client = Client(server(Faulty()))
        assert client.request(GET).status == 500
        assert client.request(GET).status == 500

    def test_an_answer_kept_in_memory_takes_no_handler(self) -> None:
        """Unless the client's certificate may decide about it: the handler sees that, a prepared answer does not."""

        class Page:
            status, fields, body = 200, b"X: y\r\n", b"kept"

        class Kept(Keeper):
            def prepared(self, request: Any, page: Page = Page()) -> Page:  # noqa: B008 - one for all
                return page

        handler = Kept()
        client = Client(server(handler))
        for _ in range(2):
            answer = client.request(GET)
            assert (answer.status, answer["x"], answer["content-length"], answer.body) == (200, "y", "4", b"kept")
        assert handler.exchanges == []
        client.request([*GET, ("range", "bytes=0-1")])
        assert len(handler.exchanges) == 1
        client.connection.misdirected_by = lambda host: ""
        client.request(GET)
        assert len(handler.exchanges) == 2

    def test_an_answer_may_come_before_the_body(self) -> None:
        """§8.1: the rest of the request is not waited for."""
        handler, client = begin()
        stream, answer = client.begin(POST)
        client.send(frames.DataFrame(stream, b"a part"))
        handler.exchanges[0].respond(403, b"", b"no")
        client.read()
        assert (answer.status, answer.body, answer.has_ended, answer.reset) == (403, b"no", True, NO_ERROR)
        client.send(frames.DataFrame(stream, b"under way"))
        assert client.request(GET) == Answer()
        assert len(handler.exchanges) == 2

    def test_a_small_rest_of_the_body_may_still_come(self) -> None:
        """curl sends head and body apart, and fails if the stream is reset in between."""
        handler, client = begin()
        sized = [*POST, ("content-length", "100")]
        for _ in range(2 * MAX_CUT_UPLOADS):
            stream, answer = client.begin(sized)
            handler.exchanges[-1].respond(200, b"", b"yes")
            client.read()
            assert (answer.status, answer.has_ended, answer.reset) == (200, True, None)
            client.send(frames.DataFrame(stream, bytes(100), flags=["END_STREAM"]))
            assert (answer.reset, client.connection.streams, client.end) == (None, {}, None)

    def test_a_small_rest_that_does_not_come_is_waited_for_briefly(self) -> None:
        handler, client = begin()
        _, answer = client.begin([*POST, ("content-length", "100")])
        handler.exchanges[0].respond(200)
        client.read()
        assert answer.reset is None
        client.server.pass_time(LINGER_S + 1)
        client.read()
        assert (answer.reset, client.connection.streams) == (NO_ERROR, {})

    def test_many_such_end_the_connection_in_good_order(self) -> None:
        handler, client = begin()
        for _ in range(MAX_CUT_UPLOADS):
            stream, answer = client.begin(POST)
            handler.exchanges[-1].respond(403)
            client.read()
            assert answer.status == 403
        assert client.end == (NO_ERROR, stream)

    def test_uploads_answered_before_their_empty_last_frame_end_no_connection(self) -> None:
        """Clients of asyncio end a body by a frame of its own; one with the length that was said is whole before it."""
        handler, client = begin()
        for _ in range(2 * MAX_CUT_UPLOADS):
            stream, answer = client.begin([*POST, ("content-length", "4")])
            client.send(frames.DataFrame(stream, b"body"))
            handler.exchanges[-1].respond(200, b"", b"thanks")
            client.read()
            assert (answer.status, answer.body, answer.has_ended) == (200, b"thanks", True)
            client.send(frames.DataFrame(stream, b"", flags=["END_STREAM"]))
        assert client.end is None


class TestDeadlines:
    def test_an_idle_connection_ends(self) -> None:
        handler, client = begin(timeouts=Timeouts(idle=60))
        answer = client.request(GET)
        client.server.pass_time(1000)
        assert client.end is None  # the handler keeps its own time
        handler.exchanges[0].respond(200)
        client.read()
        assert answer.status == 200
        client.server.pass_time(59)
        client.send(frames.PingFrame(0))
        client.server.pass_time(2)
        client.read()
        assert client.end == (NO_ERROR, 1)

    def test_pings_without_a_request_do_not_keep_a_connection(self) -> None:
        _, client = begin(timeouts=Timeouts(idle=60))
        for _ in range(12):
            client.server.pass_time(5.5)
            client.send(frames.PingFrame(0))
        assert client.end == (NO_ERROR, 0)

    @pytest.mark.parametrize("data", [b"", b"PRI * HTTP/2.0\r\n"])
    def test_a_client_that_says_nothing(self, data: bytes) -> None:
        client = Client(server(Keeper(), timeouts=Timeouts(header=10)), greets=False)
        client.raw(data)
        client.server.pass_time(11)
        client.read()
        assert client.end == (NO_ERROR, 0)

    def test_a_head_that_does_not_end(self) -> None:
        _, client = begin(timeouts=Timeouts(header=10))
        client.send(frames.HeadersFrame(1, client.encoder.encode(GET)))
        client.server.pass_time(6)
        client.raw(frames.ContinuationFrame(1, b"").serialize()[:5])
        client.server.pass_time(6)
        client.read()
        assert client.end is not None

    def test_a_body_that_does_not_come(self) -> None:
        handler, client = begin(timeouts=Timeouts(body=30), receives=True)
        stream, answer = client.begin(POST)
        client.server.pass_time(20)
        client.send(frames.DataFrame(stream, b"x"))
        client.server.pass_time(20)
        assert answer == Answer()
        client.server.pass_time(11)
        client.read()
        assert (answer.status, answer.reset) == (408, NO_ERROR)
        assert handler.calls == ["lost: request body stalled", "cancel"]

    def test_a_body_that_nobody_awaits_is_not_timed(self) -> None:
        _, client = begin(timeouts=Timeouts(body=30))
        _, answer = client.begin(POST)
        client.server.pass_time(1000)
        assert answer == Answer()

    @pytest.mark.parametrize("is_whole", [True, False])
    def test_a_stream_whose_window_stays_closed(self, is_whole: bool) -> None:
        handler, client = begin(timeouts=Timeouts(write=60))
        stalled, other = client.request(GET), client.request(GET)
        if is_whole:
            handler.exchanges[0].respond(200, b"", bytes(100_000))
        else:
            handler.exchanges[0].start(200, b"", None, handler)
            handler.exchanges[0].write(bytes(100_000))
        client.read()
        client.server.pass_time(50)
        client.send(frames.WindowUpdateFrame(1, 10), frames.WindowUpdateFrame(0, 10))
        client.server.pass_time(50)
        assert stalled.reset is None
        client.server.pass_time(61)
        client.read()
        assert (len(stalled.body), stalled.reset) == (65_545, CANCEL)
        assert handler.calls == ([] if is_whole else ["cancel"])
        handler.exchanges[1].respond(200)
        client.read()
        assert other.status == 200

    def test_a_client_that_is_a_little_slower_than_the_source(self) -> None:
        """More and more waits for it, but it takes something all the time."""
        handler, client = begin(timeouts=Timeouts(write=60))
        answer = client.request(GET)
        handler.exchanges[0].start(200, b"", None, handler)
        handler.exchanges[0].write(bytes(65_535))
        client.read()
        for _ in range(20):
            handler.exchanges[0].write(bytes(1000))
            client.send(frames.WindowUpdateFrame(1, 900), frames.WindowUpdateFrame(0, 900))
            client.server.pass_time(30)
        assert (len(answer.body), answer.reset) == (65_535 + 20 * 900, None)

    def test_a_client_that_does_not_read(self) -> None:
        handler, client = begin(timeouts=Timeouts(write=60))
        client.send(frames.WindowUpdateFrame(0, 1 << 30), frames.SettingsFrame(0, settings={4: 1 << 30}))
        client.request(GET)
        client.transport.is_stalled = True
        handler.exchanges[0].respond(200, b"", bytes(1_000_000))
        client.read()
        client.request(GET)  # does not stop the clock
        client.server.pass_time(61)
        client.server.pass_time(1)
        assert client.transport.is_aborted
        assert client.connection.streams == {}


class TestEnd:
    def test_shutdown_ends_an_idle_connection(self) -> None:
        handler, client = begin()
        client.request(GET)
        handler.exchanges[0].respond(200)
        client.connection.shut_down()
        client.read()
        assert client.end == (NO_ERROR, 1)

    def test_shutdown_waits_for_streams(self) -> None:
        """§6.8: a notice first; what comes before the client has seen it is served, what comes later is not."""
        handler, client = begin()
        first = client.request(GET)
        client.connection.shut_down()
        client.read()
        (notice,) = client.of(frames.GoAwayFrame)
        assert (notice.last_stream_id, notice.error_code) == (2**31 - 1, NO_ERROR)
        second = client.request(GET)
        (ping,) = client.of(frames.PingFrame)
        client.send(frames.PingFrame(0, ping.opaque_data, flags=["ACK"]))
        assert client.of(frames.GoAwayFrame)[-1].last_stream_id == 3
        client.request(GET)
        assert len(handler.exchanges) == 2
        for exchange in handler.exchanges:
            exchange.respond(200)
        client.read()
        assert (first.status, second.status) == (200, 200)
        assert client.end == (NO_ERROR, 3)

    def test_max_requests_ends_the_connection(self) -> None:
        handler, client = begin(limits=Limits(max_requests_per_connection=3))
        for _ in range(3):
            client.request(GET)
        assert client.end is None
        for exchange in handler.exchanges:
            exchange.respond(200)
        client.read()
        assert client.end == (NO_ERROR, 5)

    def test_a_draining_process_ends_its_connections(self) -> None:
        handler, client = begin()
        client.server.context.draining = True
        answer = client.request(GET)
        handler.exchanges[0].respond(200)
        client.read()
        assert (answer.status, client.end) == (200, (NO_ERROR, 1))

    def test_too_many_connections_are_refused(self) -> None:
        made = server(Keeper(), timeouts=Timeouts(max_connections_per_ip=1))
        first, second = Client(made), Client(made)
        assert (first.end, second.end) == (None, (ENHANCE_YOUR_CALM, 0))
        first.transport.abort()
        first.read()
        second.transport.abort()
        second.read()
        assert Client(made).end is None

    def test_a_client_that_goes_takes_all_with_it(self) -> None:
        handler, client = begin(receives=True)
        client.begin(POST)
        client.request(GET)
        client.transport.abort()
        client.read()
        assert handler.calls == ["end", "lost: client gone", "cancel", "cancel"]
        assert client.server.context.connections == set()
        assert client.server.context.sweeper.watched == {client.server.front}
        handler.exchanges[1].respond(200)
        handler.exchanges[0].write(b"x")

    def test_a_client_that_ends_its_side(self) -> None:
        """It cannot open windows any more: nobody works for it any longer."""
        handler, client = begin()
        client.request(GET)
        assert not client.connection.eof_received()
        assert (handler.calls, client.connection.streams) == (["cancel"], {})
        handler.exchanges[0].respond(200)

    def test_what_comes_after_the_end(self) -> None:
        _, client = begin()
        client.connection.shut_down()
        client.request(GET)
        assert client.connection.requests == 0
        client.server.pass_time(3)
        assert client.transport.is_aborted

    def test_a_reload_reaches_the_connection(self) -> None:
        """Requests under way end by the old rules, the next one finds the new."""
        handler, client = begin()
        first = client.request(GET)
        other = Keeper()
        client.server.live.front = server(other).front
        second = client.request(GET)
        handler.exchanges[0].respond(200, b"", b"old")
        other.exchanges[0].respond(200, b"", b"new")
        client.read()
        assert (first.body, second.body) == (b"old", b"new")

    def test_a_misdirected_request_is_told_so(self) -> None:
        """RFC 9110 §15.5.20, for each request."""
        handler, client = begin()
        client.connection.misdirected_by = lambda host: "tls[1].client_ca" if host == "closed.example" else ""
        assert client.request([*GET[:3], (":authority", "closed.example")]).status == 421
        assert client.request(GET) == Answer()
        assert len(handler.exchanges) == 1
