"""The time limits of a client's connection (RFC 9112 §9.5).

Covers `web.server.client_connection` and `web.server.http1.connection`.
"""

from __future__ import annotations

from npserver.web.config import Timeouts
from tests.protocols.holding import GET, POST, Recorder, held


def test_idle_connection_is_closed_without_a_word() -> None:
    server, _, client = held(timeouts=Timeouts(idle=60))
    server.pass_time(59)
    assert not client.is_ended
    server.pass_time(2)
    assert client.is_ended
    assert client.received == b""


def test_slow_head_gets_408() -> None:
    server, _, client = held(timeouts=Timeouts(header=10))
    client.send(b"GET / HTT")
    for _ in range(5):
        server.pass_time(2)
        client.send(b"P")  # a drip does not renew the time for the whole head
    server.pass_time(1)
    assert client.received.startswith(b"HTTP/1.1 408 ")
    assert client.is_ended


def test_a_client_that_was_slow_to_read_still_owes_its_body_in_time() -> None:
    """The answer came first, and nobody wants the body: its rest is awaited once the answer has been read."""
    server, handler, client = held(timeouts=Timeouts(body=30, write=60))
    client.send(POST + b"12")
    client.transport.is_stalled = True
    handler.exchanges[0].respond(200, b"", b"x" * 100_000)
    server.pass_time(20)
    assert not client.is_ended
    client.transport.unstall()
    server.pass_time(29)
    assert not client.is_ended
    server.pass_time(2)
    assert client.is_ended


def test_stalled_body_gets_408() -> None:
    server, handler, client = held(timeouts=Timeouts(body=30))
    client.send(POST + b"12")
    sink = Recorder()
    handler.exchanges[0].receive(sink)
    for _ in range(4):
        server.pass_time(20)
        client.send(b"x")  # each read renews the time: long uploads are not cut
    assert not client.is_ended
    server.pass_time(31)
    assert client.received.startswith(b"HTTP/1.1 408 ")
    assert sink.events == ["lost: request body stalled"]
    assert client.is_ended


def test_body_that_the_handler_holds_back_is_not_timed() -> None:
    server, handler, client = held(timeouts=Timeouts(body=30))
    client.send(POST + b"12")
    handler.exchanges[0].receive(Recorder())
    handler.exchanges[0].pause_receiving()
    server.pass_time(1000)
    assert not client.is_ended


def test_handler_may_take_its_time() -> None:
    server, handler, client = held()
    client.send(GET)
    server.pass_time(1000)
    handler.exchanges[0].respond(200, b"", b"late")
    assert client.received.endswith(b"late")


def test_client_that_takes_nothing_is_cut_off() -> None:
    server, handler, client = held(timeouts=Timeouts(write=60))
    client.send(GET)
    source = Recorder()
    client.transport.is_stalled = True
    handler.exchanges[0].start(200, b"", 1_000_000, source)
    handler.exchanges[0].write(b"x" * 100_000)
    assert source.events == ["pause"]
    server.pass_time(59)
    del client.transport.unsent[:10]  # it takes a little: the time starts again
    server.pass_time(2)
    assert not client.transport.is_closed
    server.pass_time(61)
    assert client.transport.is_aborted
    assert source.events == ["pause", "cancel"]


def test_last_answer_may_be_taken_slowly() -> None:
    server, handler, client = held(timeouts=Timeouts(write=60))
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    client.transport.is_stalled = True
    handler.exchanges[0].respond(200, b"", b"x" * 100_000)
    for _ in range(5):
        del client.transport.unsent[:1000]
        server.pass_time(61)
        assert not client.transport.is_aborted
    server.pass_time(61)
    assert client.transport.is_aborted


def test_refused_client_that_goes_on_sending_is_cut_off() -> None:
    server, _, client = held()
    client.send(b"nonsense\r\n\r\n")
    assert client.transport.has_eof
    assert not client.transport.is_closed
    client.send(b"more")
    server.pass_time(3)
    assert client.transport.is_closed
