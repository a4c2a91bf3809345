"""Flow of HTTP/3 in both directions: bodies that a handler does not take, answers that a client does not read.

Covers listen.quic.paths, web.server.http3.incomplete_heads.
"""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived

from npserver.listen.datagrams import open_socket
from npserver.listen.quic.paths import ClientPaths
from npserver.web.config import Limits
from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import varint
from npserver.web.server.http3.sections import headers_frame
from tests.stage.quic_memory import Client

WINDOW = 32 << 10
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]


class Keeper:
    """A handler that keeps its exchanges, and takes bodies when it is told to."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []
        self.received = 0
        self.has_ended = False
        self.is_paused = False

    def handle(self, exchange: Any) -> None:
        self.exchanges.append(exchange)

    def body_data(self, data: bytes) -> None:
        self.received += len(data)

    def body_end(self, trailers: bytes) -> None:
        self.has_ended = True

    def body_lost(self, reason: str) -> None:
        """Note nothing."""

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def cancel(self) -> None:
        """Do nothing."""


def begin(**limits: Any) -> tuple[Keeper, Client]:
    handler = Keeper()
    return handler, Client(handler, limits=Limits(http2_window=WINDOW, **limits), max_body_size=10 << 20)


def test_a_body_is_held_until_the_handler_takes_it() -> None:
    handler, client = begin()
    body = bytes(1 << 20)
    client.http.send_headers(0, [*POST, (b"content-length", b"%d" % len(body))])
    client.http.send_data(0, body, end_stream=True)
    client.exchange()
    (exchange,) = handler.exchanges
    (connection,) = client.endpoint.http
    held = sum(map(len, exchange.body._held))
    assert client.connection.quic.is_held
    assert 2 * WINDOW < held <= 2 * WINDOW + 4 * WINDOW
    assert client.quic._streams[0].sender.highest_offset <= held + 5 * WINDOW
    exchange.receive(handler)
    exchange.pause_receiving()
    client.exchange()
    assert handler.received == held
    assert not handler.has_ended
    exchange.resume_receiving()
    for _ in range(40):
        client.exchange()
    assert (handler.received, handler.has_ended, client.connection.quic.is_held) == (len(body), True, False)
    assert connection.session._unacknowledged == 0
    exchange.respond(200)
    client.exchange()
    client.end()


def test_a_body_that_nobody_wants_does_not_hold_others() -> None:
    handler, client = begin()
    client.http.send_headers(0, POST)
    client.http.send_data(0, bytes(20 << 10), end_stream=False)
    client.exchange()
    handler.exchanges[0].respond(413, b"", b"no")
    client.exchange()
    client.http.send_headers(4, POST)
    client.http.send_data(4, bytes(200 << 10), end_stream=True)
    client.exchange()
    handler.exchanges[1].receive(handler)
    for _ in range(20):
        client.exchange()
    assert (handler.received, handler.has_ended) == (200 << 10, True)
    client.end()


def test_the_source_of_an_answer_is_paused_while_the_client_reads_nothing() -> None:
    handler, client = begin()
    client.http.send_headers(0, GET, end_stream=True)
    client.exchange()
    (exchange,) = handler.exchanges
    exchange.start(200, b"", None, handler)
    written = 0
    while not handler.is_paused:
        exchange.write(bytes(16 << 10))
        written += 16 << 10
        client.loop.settle()
    assert 128 << 10 <= written <= 256 << 10
    for _ in range(40):
        client.pass_time(0.05)  # acknowledgements, pacing
        client.exchange()
    assert not handler.is_paused
    exchange.finish()
    client.exchange()
    client.end()


def test_of_all_that_clients_leave_unread_the_most_is_given_up() -> None:
    handler, client = begin(max_unread=100_000)
    client.http.send_headers(0, GET, end_stream=True)
    client.exchange()
    (exchange,) = handler.exchanges
    exchange.start(200, b"", None, handler)
    for _ in range(10):
        exchange.write(bytes(16 << 10))
    client.loop.settle()
    assert client.connection.is_closed
    assert exchange.is_gone
    client.end()


def test_datagrams_out_of_order_count_as_unread() -> None:
    _, client = begin(max_unread=1 << 20)
    offset = 10
    for _ in range(200):
        client.frames(b"\x06" + (0x80000000 | offset).to_bytes(4, "big") + b"\x44\x00" + bytes(1024))  # CRYPTO
        offset += 1024
        if client.connection.is_closed:
            break
    assert client.connection.is_closed
    assert 60 << 10 < offset < 100 << 10
    client.end()


def begin_head(client: Client, stream: int, size: int) -> None:
    """Send the beginning of a head, as much of it as is to be held."""
    client.quic.send_stream_data(stream, varint(frames.HEADERS) + varint(size + 1) + bytes(size))
    client.exchange()


def test_incomplete_heads_count_as_unread() -> None:
    handler, client = begin(max_unread=1 << 20)
    client.http.send_headers(0, GET, end_stream=True)
    client.exchange()
    for stream in range(4, 4 * 30, 4):
        begin_head(client, stream, 50_000)
    assert client.connection.is_closed
    assert handler.exchanges[0].is_gone
    client.end()


def test_a_head_that_does_not_come_resets_its_stream() -> None:
    handler, client = begin()
    client.http.send_headers(0, GET, end_stream=True)
    client.exchange()  # its answer does not come either: the connection is not idle
    (connection,) = client.endpoint.http
    limit_s, sweeper = client.server.front.timeouts.header, client.server.context.sweeper
    begin_head(client, 4, 1000)
    client.loop.now += limit_s / 2
    begin_head(client, 8, 2000)
    heads = connection.session.heads
    assert (heads.size, heads in sweeper.watched) == (3000 + 6, True)
    client.loop.now += limit_s / 2 + 0.1
    heads.expire(client.loop.now)
    client.exchange()
    assert heads.size == 2000 + 3
    assert heads.deadline == pytest.approx(client.loop.now + limit_s / 2, abs=1.0)
    client.loop.now = heads.deadline
    heads.expire(client.loop.now)
    client.exchange()
    assert (heads.size, heads in sweeper.watched, client.connection.is_closed) == (0, False, False)
    handler.exchanges[0].respond(200, b"", b"yes")
    client.exchange()
    client.end()


def test_a_head_in_pieces_is_counted_until_it_is_whole() -> None:
    handler, client = begin()
    (connection,) = client.endpoint.http
    heads = connection.session.heads
    head = headers_frame(tuple(POST))
    for at in range(len(head) - 1):
        client.quic.send_stream_data(0, head[at : at + 1])
        client.exchange()
    assert heads.size > 0
    client.quic.send_stream_data(0, head[-1:] + b"\0\3yes")
    client.exchange()
    assert (len(handler.exchanges), heads.size, heads._streams) == (1, 0, {})
    assert heads not in client.server.context.sweeper.watched
    client.end()


def hold(client: Client) -> None:
    """Begin an upload, and send as much of it as is held."""
    client.http.send_headers(0, [*POST, (b"content-length", b"%d" % (1 << 20))])
    client.http.send_data(0, bytes(1 << 20), end_stream=True)
    client.exchange()
    assert client.connection.quic.is_held


@pytest.mark.parametrize("how", ["closes", "vanishes"])
def test_a_client_that_leaves_while_its_body_is_held(how: str) -> None:
    handler, client = begin()
    hold(client)
    (exchange,) = handler.exchanges
    if how == "closes":
        client.quic.close(error_code=frames.NO_ERROR)
        client.exchange()
    else:
        client.pass_time(61.0)
    assert (client.connection.is_closed, exchange.is_gone) == (True, True)
    client.end()


def test_a_closed_connection_is_forgotten_soon_however_slow_its_client_was() -> None:
    _, client = begin()
    for _ in range(4):
        client.connection.quic.ping()
        client.connection.flush()
        client.loop.now += 25.0  # its timeout is then more than 40 s
        client.exchange()
    client.quic.close(error_code=frames.NO_ERROR)
    client.exchange()
    connection, sweeper = client.connection, client.server.context.sweeper
    assert (connection.is_closed, client.endpoint.removed, connection in sweeper.watched) == (True, 0, True)
    assert client.endpoint.http[0] not in sweeper.watched
    client.loop.now = connection.deadline
    connection.expire(client.loop.now)
    assert client.endpoint.removed == 1
    client.end()


def test_events_without_windows_count_as_unread_while_they_are_held() -> None:
    _, client = begin(max_unread=1 << 20)
    hold(client)
    for _ in range(2000):
        client.frames(b"\x31\x00" * 10)  # empty DATAGRAM frames
        if client.connection.is_closed:
            break
    assert client.connection.is_closed
    client.end()


def test_packets_that_a_client_does_not_acknowledge_count_as_unread() -> None:
    _, client = begin(max_unread=1 << 20)
    for number in range(8000):
        client.frames(b"\x1a" + number.to_bytes(8, "big"))  # PATH_CHALLENGE, which elicits a PATH_RESPONSE
        client.sent.clear()
        if client.connection.is_closed:
            break
    assert client.connection.is_closed
    client.end()


@pytest.mark.parametrize("how", ["shutdown", "idle"])
def test_an_idle_connection_ends_with_the_number_of_its_requests(how: str) -> None:
    """So that a client knows of a request that it sent meanwhile that it was not served."""
    handler, client = begin()
    for stream in (0, 4):
        client.http.send_headers(stream, GET, end_stream=True)
        client.exchange()
        handler.exchanges[-1].respond(200, b"", b"yes")
        client.exchange()
    (connection,) = client.endpoint.http
    client.pass_time(1.0)
    client.exchange()
    connection.shut_down() if how == "shutdown" else connection.expire(client.loop.now)
    client.loop.settle()
    events = []
    for datagram in client.sent:
        client.quic.receive_datagram(datagram, ("127.0.0.1", 443), client.loop.now)
        while (event := client.quic.next_event()) is not None:
            events.append(event)
    told = [event.data for event in events if isinstance(event, StreamDataReceived)]
    assert told == [frames.frame(frames.GOAWAY, varint(8))]
    client.quic.handle_timer(client.loop.now + 10)
    closed = client.quic.next_event()
    assert isinstance(closed, ConnectionTerminated)
    assert closed.error_code == frames.NO_ERROR
    client.end()


def test_a_stream_that_goes_on_after_it_was_stopped_ends_the_connection() -> None:
    handler, client = begin()
    start = headers_frame(tuple(POST)) + varint(frames.DATA) + varint(1 << 30)
    client.frames(b"\x0a\x00" + varint(len(start)) + start)
    handler.exchanges[0].respond(413, b"", b"no")
    client.loop.settle()
    offset = len(start)
    for _ in range(400):
        client.frames(b"\x0e\x00" + (0x80000000 | offset).to_bytes(4, "big") + b"\x44\x00" + bytes(1024))
        offset += 1024
        if client.connection.is_closed:
            break
    assert client.connection.is_closed
    client.end()


class Cork:
    """A socket that notes what is sent together."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []

    def send_run(self, run: list[bytes], client: Any) -> None:
        self.runs.append([len(data) for data in run])


def test_datagrams_of_one_size_go_out_together() -> None:
    cork: Any = Cork()
    paths = ClientPaths(("192.0.2.1", 1), cork)
    for size in (1200, 1200, 1200, 30, 1200, 30, 40, 1200):
        paths.send(bytes(size), paths.peer)
    paths.send(b"nowhere", ("192.0.2.2", 1))
    paths.flush()
    assert cork.runs == [[1200, 1200, 1200, 30], [1200, 30], [40], [1200]]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("lacks", [False, True])
async def test_a_run_arrives_as_datagrams(host: str, lacks: bool) -> None:
    loop = asyncio.get_running_loop()
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((host, 0))
    arrived = loop.create_future()
    front = SimpleNamespace(datagram=lambda data, client, sock: arrived.set_result(client))
    live: Any = SimpleNamespace(listener=SimpleNamespace(name="q", accepts_proxy=None), front=front)
    context: Any = SimpleNamespace(loop=loop)
    opened = open_socket(context, live, bound)
    opened._lacks_segments = opened._lacks_segments or lacks
    with socket.socket(bound.family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("::1" if ":" in host else "127.0.0.1", opened.name[1]))
        client.send(b"hello")
        sender = await asyncio.wait_for(arrived, 30)
        opened.send_run([b"a" * 100, b"b" * 100, b"c" * 7], sender)
        received = [await asyncio.wait_for(loop.sock_recv(client, 2000), 30) for _ in range(3)]
    opened.close()
    assert received == [b"a" * 100, b"b" * 100, b"c" * 7]
