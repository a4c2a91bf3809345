"""The stream of a WebSocket over HTTP/2 (RFC 8441), frame by frame.

Covers `http.extended_connect`, `net.tunnel_transport` and `web.server.http2.stream_transport`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hyperframe import frame as frames

from npserver.config.units import Size
from npserver.web.config import Limits
from tests.stage.http2 import GET, Answer, Client, server

CONNECT = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/ws"),
    (":authority", "example.com"), ("sec-websocket-version", "13"),
]  # fmt: skip
NO_ERROR, PROTOCOL_ERROR, CANCEL = 0, 1, 8
WINDOW_BYTES = 65535  # of our client


class Side(asyncio.Protocol):
    """Uses a tunnel as a relay does."""

    def __init__(self) -> None:
        self.received = b""
        self.happened: list[str] = []
        self.keeps = True

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.happened.append("eof")
        return self.keeps

    def pause_writing(self) -> None:
        self.happened.append("pause")

    def resume_writing(self) -> None:
        self.happened.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.happened.append(f"lost {type(error).__name__}" if error else "lost")


class Agreeing:
    """A handler that keeps its exchanges, until `agree`."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []
        self.side = Side()

    def handle(self, exchange: Any) -> None:
        self.exchanges.append(exchange)

    def agree(self, client: Client) -> asyncio.Transport:
        transport, early = self.exchanges[-1].switch(b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX-App: 1\r\n")
        transport.set_protocol(self.side)
        self.side.received += early
        transport.resume_reading()
        client.read()
        return cast("asyncio.Transport", transport)


def begin(**settings: Any) -> tuple[Agreeing, Client, int, Answer]:
    handler = Agreeing()
    client = Client(server(handler, **settings))
    stream, answer = client.begin(CONNECT)
    return handler, client, stream, answer


def data(stream: int, size: int = 10, *flags: str) -> frames.DataFrame:
    return frames.DataFrame(stream, b"x" * size, flags=flags)


class TestAgreement:
    def test_the_setting_says_that_it_can_be_asked_for(self) -> None:
        """§3."""
        _, client, _, _ = begin()
        assert client.of(frames.SettingsFrame)[0].settings[8] == 1

    def test_what_comes_before_the_agreement_is_held(self) -> None:
        handler, client, stream, answer = begin()
        client.send(data(stream, 5000))
        assert not client.of(frames.WindowUpdateFrame)[1:], "no new window for what nobody has taken"
        transport = handler.agree(client)
        assert handler.side.received == b"x" * 5000
        assert answer.fields[0] == (":status", "200") and ("x-app", "1") in answer.fields
        assert {name for name, _ in answer.fields}.isdisjoint({"upgrade", "sec-websocket-accept", "content-length"})
        transport.write(b"hello")
        client.read()
        assert (answer.body, answer.has_ended) == (b"hello", False)

    def test_the_request_is_that_of_http1(self) -> None:
        handler, client, _, _ = begin()
        client.request(GET)
        request, other = (one.request for one in handler.exchanges)
        assert (request.method, request.upgrade, request.is_connect, request.is_plain) == (
            "GET", b"websocket", True, False,
        )  # fmt: skip
        assert len(request.fields[b"sec-websocket-key"]) == 24
        assert (other.is_connect, other.upgrade) == (False, b"")

    def test_a_client_that_goes_before_it(self) -> None:
        handler, client, stream, _ = begin()
        client.send(data(stream), frames.RstStreamFrame(stream, CANCEL))
        assert handler.exchanges[0].is_gone
        assert client.request(GET) == Answer(), "the connection goes on"

    def test_a_refusal_ends_the_stream(self) -> None:
        """The client may be about to send more: it is told that nobody reads it."""
        handler, client, stream, answer = begin()
        client.send(data(stream))
        handler.exchanges[0].respond(403, b"", b"no")
        client.read()
        assert (answer.status, answer.body, answer.reset) == (403, b"no", NO_ERROR)
        client.send(data(stream))
        assert client.connection.streams == {}

    def test_a_page_is_no_agreement(self) -> None:
        """A streamed one is cancelled."""
        handler, client, _, answer = begin()
        cancelled: list[int] = []

        class Source:
            def pause(self) -> None: ...
            def resume(self) -> None: ...
            def cancel(self) -> None:
                cancelled.append(1)

        exchange = handler.exchanges[0]
        exchange.start(200, b"X: y\r\n", None, Source())
        exchange.write(b"page")
        client.read()
        assert (answer.status, cancelled) == (400, [1])
        assert b"page" not in answer.body

    @pytest.mark.parametrize(("change", "status"), [({":protocol": "x"}, 501), ({}, 400)])
    def test_requests_that_are_none(self, change: dict[str, str], status: int) -> None:
        """A stream that has ended cannot become a tunnel."""
        client = Client(server(Agreeing()))
        answer = client.request(list({**dict(CONNECT), **change}.items()), b"" if change else None)
        assert answer.status == status

    def test_a_get_has_no_protocol(self) -> None:
        client = Client(server(Agreeing()))
        answer = client.request([(":method", "GET"), *CONNECT[1:]])
        assert answer.reset == PROTOCOL_ERROR


class TestFlow:
    def test_the_client_sends_no_more_than_its_window_ahead(self) -> None:
        handler, client, stream, _ = begin(limits=Limits(http2_window=Size(65_536)))
        transport = handler.agree(client)
        transport.pause_reading()
        before = len(client.of(frames.WindowUpdateFrame))
        for _ in range(6):
            client.send(data(stream, 10_000))
        assert (len(handler.side.received), len(client.of(frames.WindowUpdateFrame))) == (0, before)
        transport.resume_reading()
        client.read()
        assert len(handler.side.received) == 60_000
        assert client.of(frames.WindowUpdateFrame)[before:]

    def test_the_sender_waits_for_a_client_that_does_not_read(self) -> None:
        handler, client, stream, answer = begin()
        transport = handler.agree(client)
        transport.set_write_buffer_limits(20_000)
        for _ in range(10):
            transport.write(b"y" * 10_000)
        client.read()
        assert handler.side.happened == ["pause"]
        assert len(answer.body) == WINDOW_BYTES
        client.send(frames.WindowUpdateFrame(0, 200_000), frames.WindowUpdateFrame(stream, 200_000))
        assert handler.side.happened == ["pause", "resume"]
        assert len(answer.body) == 100_000


class TestEnd:
    def test_each_side_ends_by_itself(self) -> None:
        """§5: END_STREAM is the end of one side."""
        handler, client, stream, answer = begin()
        transport = handler.agree(client)
        client.send(data(stream, 10, "END_STREAM"))
        assert (handler.side.received, handler.side.happened) == (b"x" * 10, ["eof"])
        transport.write(b"last words")
        transport.write_eof()
        transport.write(b"too late")
        client.read()
        assert (answer.body, answer.has_ended, answer.reset) == (b"last words", True, None)
        assert handler.side.happened == ["eof", "lost"]
        assert client.connection.streams == {}

    def test_a_close_sends_what_waits_first(self) -> None:
        handler, client, stream, answer = begin()
        transport = handler.agree(client)
        transport.write(b"z" * 100_000)
        transport.close()
        client.read()
        assert (handler.side.happened, answer.has_ended) == (["pause"], False)
        client.send(frames.WindowUpdateFrame(0, 200_000), frames.WindowUpdateFrame(stream, 200_000))
        assert (len(answer.body), answer.has_ended, answer.reset) == (100_000, True, NO_ERROR)
        assert handler.side.happened[-1] == "lost"

    def test_a_reset_passes_both_ways(self) -> None:
        handler, client, stream, _ = begin()
        handler.agree(client)
        client.send(frames.RstStreamFrame(stream, CANCEL))
        assert handler.side.happened == ["lost ConnectionResetError"]
        handler, client, stream, answer = begin()
        transport = handler.agree(client)
        transport.abort()
        transport.abort()
        client.read()
        assert (answer.reset, handler.side.happened) == (CANCEL, ["lost"])

    def test_the_connection_is_lost(self) -> None:
        handler, client, _, _ = begin()
        transport = handler.agree(client)
        client.connection.connection_lost(None)
        client.server.loop.settle()
        assert handler.side.happened == ["lost ConnectionResetError"]
        transport.write(b"nobody")
        transport.close()

    def test_resets_are_bounded(self) -> None:
        """Tunnels that are asked for and reset are as good a flood as any."""
        handler = Agreeing()
        client = Client(server(handler))
        for _ in range(2000):
            stream, _ = client.begin(CONNECT)
            client.send(frames.RstStreamFrame(stream, CANCEL))
            if client.end is not None:
                break
        assert client.end is not None and client.end[0] == 11
