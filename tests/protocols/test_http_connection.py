"""The life of a client's connection: timeouts, backpressure, order, refusals (RFC 9112 §9).

Covers `web.server.client_connection`, `web.server.connection_limits`, `web.server.exchange_base`,
`web.server.http1.exchange` and `web.server.http1.response`.
"""

from __future__ import annotations

import pytest

from npserver.web.config import Limits, Timeouts
from npserver.web.exchange import Exchange
from npserver.web.server.http1.state import State
from tests.protocols.holding import GET, POST, Held, Recorder, held
from tests.protocols.memory import Client, Server

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def count_of(client: Client, status_class: int) -> int:
    """Return how many requests were counted with a status such as 2xx."""
    front = client.server.front
    return front._tallies[front._class_tallies[status_class]]


def test_cached_head_in_pieces_leaves_nothing_behind() -> None:
    """Where the search for its end had stopped does not count for what comes next."""
    server, handler, client = held()
    for path in (b"/long" * 20,) * 4:
        client.send(GET.replace(b"/ ", path + b" ")[:-1])
        client.send(b"\n")
        handler.exchanges.pop().respond(200)
    client.send(GET + GET)
    for _ in range(2):
        handler.exchanges.pop().respond(200)
        server.loop.settle()
    assert client.received.count(b"HTTP/1.1 200 ") == 6
    assert not client.is_ended


class TestBackpressure:
    def test_slow_handler_stops_the_client(self) -> None:
        _, handler, client = held()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        client.send(b"x" * 70_000)
        assert client.transport.is_paused
        sink = Recorder()
        handler.exchanges[0].receive(sink)
        assert len(sink.body) == 70_000
        handler.exchanges[0].resume_receiving()

    def test_paused_body_is_kept_and_delivered_in_order(self) -> None:
        _, handler, client = held()
        client.send(POST + b"01")
        sink = Recorder()
        exchange = handler.exchanges[0]
        exchange.receive(sink)
        exchange.pause_receiving()
        assert client.transport.is_paused
        client.send(b"23456789")  # was under way already
        assert sink.body == b"01"
        exchange.resume_receiving()
        assert (sink.body, sink.events) == (b"0123456789", ["end"])

    def test_slow_client_pauses_and_resumes_the_source(self) -> None:
        _, handler, client = held()
        client.send(GET)
        source = Recorder()
        client.transport.is_stalled = True
        exchange = handler.exchanges[0]
        exchange.start(200, b"", None, source)
        exchange.write(b"x" * 100_000)
        client.transport.unstall()
        exchange.finish()
        assert source.events == ["pause", "resume"]
        assert client.received.endswith(b"\r\n0\r\n\r\n")

    def test_pipelined_requests_wait_while_the_client_does_not_read(self) -> None:
        class Big:
            def handle(self, exchange: Exchange) -> None:
                exchange.respond(200, b"", b"x" * 100_000)

        client = Server(Big()).connect()
        client.transport.is_stalled = True
        client.send(GET * 50)
        assert len(client.transport.unsent) < 300_000
        while client.transport.unsent:
            client.transport.unstall()
            client.transport.is_stalled = bool(client.received.count(b"HTTP/1.1 200") < 50)
            client.server.loop.settle()
        assert client.received.count(b"HTTP/1.1 200") == 50

    def test_endless_pipelining_is_paused(self) -> None:
        _, _, client = held()
        client.send(GET)
        for _ in range(100):
            if not client.transport.is_paused:
                client.send(GET * 100)
        assert client.transport.is_paused


class TestUnwantedBody:
    """The rest of a body that comes after the answer, of a request that is not answered twice and counted once."""

    def test_one_that_is_too_long_ends_the_connection_but_not_the_answer(self) -> None:
        _, handler, client = held()
        client.send(CHUNKED_POST)
        handler.exchanges[0].respond(507, b"", b"full")
        client.send(b"20000\r\n" + b"x" * 0x11000)
        assert client.received.endswith(b"\r\n\r\nfull")
        assert client.is_ended
        assert not client.transport.is_closed  # a reset would take the answer with it
        assert count_of(client, 5) == 1

    def test_one_that_is_badly_framed(self) -> None:
        _, handler, client = held()
        client.send(CHUNKED_POST)
        handler.exchanges[0].respond(200, b"", b"ok")
        client.send(b"no chunk\r\n")
        assert (client.is_ended, count_of(client, 2), count_of(client, 4)) == (True, 1, 0)

    def test_one_that_stalls(self) -> None:
        server, handler, client = held(timeouts=Timeouts(body=30))
        client.send(CHUNKED_POST)
        handler.exchanges[0].respond(200, b"", b"ok")
        server.pass_time(31)
        assert (client.is_ended, count_of(client, 2)) == (True, 1)

    def test_a_client_that_leaves_within_it(self) -> None:
        server, handler, client = held()
        client.send(CHUNKED_POST)
        handler.exchanges[0].respond(200, b"", b"ok")
        client.transport.abort()
        server.loop.settle()
        assert count_of(client, 2) == 1

    def test_a_client_that_ends_its_side_within_it(self) -> None:
        _, handler, client = held()
        client.send(CHUNKED_POST)
        handler.exchanges[0].respond(200, b"", b"ok")
        client.end()
        assert (client.is_ended, count_of(client, 2)) == (True, 1)


class TestOrder:
    def test_answers_keep_the_order_of_requests(self) -> None:
        server, handler, client = held()
        client.send(GET * 3)
        assert len(handler.exchanges) == 1
        for number in range(3):
            handler.exchanges[number].respond(200, b"", b"%d" % number)
            server.loop.settle()
        assert [part[-1:] for part in client.received.split(b"HTTP/1.1 200")[1:]] == [b"0", b"1", b"2"]

    def test_interim_response_comes_first(self) -> None:
        _, handler, client = held()
        client.send(GET)
        handler.exchanges[0].inform(103, b"Link: </a.css>; rel=preload\r\n")
        handler.exchanges[0].respond(200, b"", b"x")
        assert client.received.startswith(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200"
        )


class TestStreaming:
    def test_head_is_joined_with_the_first_piece(self) -> None:
        _, handler, client = held()
        client.send(GET)
        exchange = handler.exchanges[0]
        exchange.start(200, b"A: b\r\n", None, Recorder())
        assert client.received == b""
        exchange.write(b"abc")
        exchange.finish(b"T: u\r\n")
        assert client.received.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n")

    def test_head_alone_goes_out_at_once(self) -> None:
        server, handler, client = held()
        client.send(GET)
        handler.exchanges[0].start(200, b"", None, Recorder())
        server.loop.settle()
        assert client.received.endswith(b"\r\n\r\n")

    def test_http_1_0_is_ended_by_closing(self) -> None:
        _, handler, client = held()
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        exchange = handler.exchanges[0]
        exchange.start(200, b"", None, Recorder())
        exchange.write(b"abc")
        exchange.finish()
        assert client.received.endswith(b"Connection: close\r\n\r\nabc")
        assert client.is_ended

    @pytest.mark.parametrize("pieces", [[b"abc"], [b"abcdef"]], ids=["shorter", "longer"])
    def test_wrong_length_breaks_the_connection(self, pieces: list[bytes]) -> None:
        _, handler, client = held()
        client.send(GET)
        exchange = handler.exchanges[0]
        exchange.start(200, b"", 5, Recorder())
        for piece in pieces:
            exchange.write(piece)
        exchange.finish()
        assert client.is_ended

    def test_head_request_gets_no_body(self) -> None:
        _, handler, client = held()
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        handler.exchanges[0].respond(200, b"", b"abc")
        assert client.received.endswith(b"Content-Length: 3\r\n\r\n")

    def test_204_has_no_length_9110_8_6(self) -> None:
        _, handler, client = held()
        client.send(GET)
        handler.exchanges[0].respond(204)
        assert b"Content-Length" not in client.received


class TestEnds:
    def test_client_gone_cancels_the_source(self) -> None:
        _, handler, client = held()
        client.send(GET)
        source = Recorder()
        handler.exchanges[0].source = source
        client.connection.connection_lost(None)
        assert source.events == ["cancel"]
        assert handler.exchanges[0].is_gone
        handler.exchanges[0].respond(200, b"", b"too late")
        assert client.received == b""

    def test_half_closed_client_is_still_answered(self) -> None:
        _, handler, client = held()
        client.send(GET)
        client.end()
        assert not client.transport.is_closed
        handler.exchanges[0].respond(200, b"", b"x")
        assert client.received.endswith(b"x")
        assert client.is_ended

    def test_end_within_a_body_is_an_error(self) -> None:
        _, handler, client = held()
        client.send(POST + b"1")
        sink = Recorder()
        handler.exchanges[0].receive(sink)
        client.end()
        assert sink.events == ["lost: client closed within the request body"]
        assert client.received.startswith(b"HTTP/1.1 400")

    def test_handlers_fault_is_a_500(self, caplog: pytest.LogCaptureFixture) -> None:
        class Faulty:
            def handle(self, exchange: Exchange) -> None:
                raise RuntimeError("boom")

        client = Server(Faulty()).connect()
        client.send(GET)
        assert client.received.startswith(b"HTTP/1.1 500")
        assert client.is_ended
        assert "boom" in caplog.text
        line = "500 for GET / from 192.0.2.1: internal error (dispatch)"
        assert [record.levelname for record in caplog.records if record.getMessage() == line] == ["ERROR"]

    def test_draining_closes_after_the_answer(self) -> None:
        server, handler, client = held()
        idle = server.connect()
        client.send(GET)
        server.context.draining = True
        for connection in list(server.context.connections):
            connection.shut_down()
        server.loop.settle()
        assert idle.is_ended
        assert not client.is_ended
        handler.exchanges[0].respond(200, b"", b"x")
        assert b"Connection: close" in client.received
        assert client.is_ended

    def test_requests_per_connection_are_bounded(self) -> None:
        server, handler, client = held(limits=Limits(max_requests_per_connection=2))
        client.send(GET)
        handler.exchanges[0].respond(200)
        client.send(GET)
        handler.exchanges[1].respond(200)
        assert client.received.count(b"Connection: close") == 1
        assert client.is_ended
        row = server.context.row
        row.publish()
        assert row.slots[row.slot("http.requests")] == 2


class TestLimits:
    def test_connections_per_address_are_limited(self) -> None:
        server = Server(Held(), timeouts=Timeouts(max_connections_per_ip=2))
        first, second, third = (server.connect() for _ in range(3))
        other = server.connect(("192.0.2.2", 1))
        assert [client.is_ended for client in (first, second, third, other)] == [False, False, True, False]
        assert third.received.startswith(b"HTTP/1.1 503 ")
        first.connection.connection_lost(None)
        third.connection.connection_lost(None)
        assert not server.connect().is_ended

    def test_connections_in_all_are_limited(self) -> None:
        server = Server(Held(), limits=Limits(max_connections=1))
        server.connect()
        refused = server.connect(("192.0.2.9", 1))
        assert refused.received.startswith(b"HTTP/1.1 503 ")

    def test_nothing_is_counted_twice(self) -> None:
        server = Server(Held())
        clients = [server.connect() for _ in range(5)]
        for client in clients:
            client.connection.connection_lost(None)
            client.connection.release()
        assert server.context.row.slots[server.front.connections_slot] == 0
        assert not server.context.connections
        assert all(one is server.front for one in server.context.sweeper.watched)


def test_repr_tells_the_state() -> None:
    _, _, client = held()
    assert repr(client.connection).endswith("192.0.2.1 idle requests=0>")
    client.send(b"GET")
    assert client.connection.state is State.HEAD
