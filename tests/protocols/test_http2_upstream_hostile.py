"""Targets over HTTP/2 that break the rules: the documented error for that stream or connection, and nothing else."""

from __future__ import annotations

import logging

import pytest
from hpack import Encoder
from hyperframe import frame as frames

from tests.protocols.proxying import Stage, get, until
from tests.stage.http2_origin import OK, Fields, RawStream, h2c, raw_origin

LARGE: Fields = [(f"x-{number}", "v" * 4000) for number in range(40)]


def head(fields: Fields, *flags: str, stream: int = 1) -> bytes:
    """Return a HEADERS frame of an encoder of its own, which uses no dynamic table."""
    block = Encoder().encode([(name, value) for name, value in fields])
    if len(block) <= 16000:
        return bytes(frames.HeadersFrame(stream, block, flags=["END_HEADERS", *flags]).serialize())
    pieces = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    data = frames.HeadersFrame(stream, pieces[0], flags=[*flags]).serialize()
    for piece in pieces[1:-1]:
        data += frames.ContinuationFrame(stream, piece).serialize()
    return bytes(data + frames.ContinuationFrame(stream, pieces[-1], flags=["END_HEADERS"]).serialize())


def field(name: str, value: str) -> bytes:
    return head([*OK, (name, value)], "END_STREAM")


BAD_RESPONSES = {
    "upper case": field("Foo", "x"),
    "connection field": field("connection", "close"),
    "transfer-encoding": field("transfer-encoding", "chunked"),
    "line break in a value": field("foo", "x\r\nset-cookie: evil"),
    "blank in a name": field("f oo", "x"),
    "no status": head([("foo", "x")], "END_STREAM"),
    "bad status": head([(":status", "20")], "END_STREAM"),
    "status 101": head([(":status", "101")]),
    "two statuses": head([*OK, (":status", "204")], "END_STREAM"),
    "pseudo-header after fields": head([("a", "b"), *OK], "END_STREAM"),
    "two lengths": head([*OK, ("content-length", "2"), ("content-length", "3")]),
    "bad length": field("content-length", "+2"),
    "no body for the length": field("content-length", "5"),
    "many fields": head([*OK, *[("x", "y")] * 300]),
    "large head": head([*OK, *LARGE[:17]]),
    "many interim responses": head([(":status", "103")]) * 33,
    "reset": frames.RstStreamFrame(1, 2).serialize(),
}


@pytest.mark.parametrize("answer", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
async def test_bad_response_fails_alone(answer: bytes) -> None:
    async def script(stream: RawStream) -> None:
        await stream.request()
        await stream.send(answer)
        await stream.until(frames.RstStreamFrame) if answer != BAD_RESPONSES["reset"] else None
        while number := await stream.request():
            await stream.send(head(OK, stream=number), frames.DataFrame(number, b"ok", flags=["END_STREAM"]))

    async with raw_origin(script) as origin, Stage(h2c(origin)) as stage:
        assert (await stage.ask(get()))[0] == 502
        assert (await stage.ask(get()))[::2] == (200, b"ok")
        assert len(origin.connections) == 1
        assert stage.loads == [0]


BAD_BODIES = {
    "short": [head([*OK, ("content-length", "5")]), frames.DataFrame(1, b"abc", flags=["END_STREAM"]).serialize()],
    "long": [head([*OK, ("content-length", "2")]), frames.DataFrame(1, b"abc").serialize()],
    "second head": [head(OK), head(OK, "END_STREAM")],
    "pseudo-header in trailers": [head(OK), head([(":path", "/")], "END_STREAM")],
    "trailers without an end": [head(OK), head([("x", "y")])],
}


@pytest.mark.parametrize("answer", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_bad_body_cuts_the_response(answer: list[bytes]) -> None:
    async def script(stream: RawStream) -> None:
        await stream.request()
        await stream.send(answer[0])
        await until(lambda: begun)
        await stream.send(answer[1])
        await stream.until(frames.RstStreamFrame)
        while number := await stream.request():
            await stream.send(head(OK, stream=number), frames.DataFrame(number, b"ok", flags=["END_STREAM"]))

    begun: list[int] = []
    async with raw_origin(script) as origin, Stage(h2c(origin)) as stage:
        client = await stage.client()
        await client.send(get())
        await client.head()
        begun.append(1)
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
        assert (await stage.ask(get()))[::2] == (200, b"ok")
        assert len(origin.connections) == 1


BAD_CONNECTIONS = {
    "unknown stream": head(OK, "END_STREAM", stream=7),
    "even stream": head(OK, "END_STREAM", stream=2),
    "body before the head": frames.DataFrame(1, b"x").serialize(),
    "stream window overflow": frames.WindowUpdateFrame(1, 2**31 - 1).serialize(),
    "connection window overflow": frames.WindowUpdateFrame(0, 2**31 - 1).serialize(),
    "more than the window": head(OK) + frames.DataFrame(1, b"x" * 16384).serialize() * 17,
    "bad compression": frames.HeadersFrame(1, b"\xff" * 8, flags=["END_HEADERS"]).serialize(),
    "frame too large": b"\xff\xff\xff\0\0\0\0\0\1",
    "reset of an idle stream": frames.RstStreamFrame(9, 8).serialize(),
    "head over twice the limits": head([*OK, *LARGE], "END_STREAM"),
    "CONTINUATION flood": frames.HeadersFrame(1, b"\x88").serialize() + frames.ContinuationFrame(1).serialize() * 100,
    "SETTINGS flood": frames.SettingsFrame(0, settings={3: 100}).serialize() * 200,
    "GOAWAY flood": frames.GoAwayFrame(0, 2**31 - 1, error_code=2).serialize() * 200,
    "PING flood": frames.PingFrame(0).serialize() * 200,
    "WINDOW_UPDATE flood": frames.WindowUpdateFrame(0, 1).serialize() * 200,
    "empty DATA flood": head(OK) + frames.DataFrame(1, b"").serialize() * 500,
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "end": b"",
}


@pytest.mark.parametrize("sent", BAD_CONNECTIONS.values(), ids=BAD_CONNECTIONS)
async def test_bad_connection_ends(
    sent: bytes, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    caplog.set_level(logging.INFO, "npserver.upstream")

    async def script(stream: RawStream) -> None:
        if len(origin.connections) == 1:
            await stream.request()
            await stream.send(sent)
            while sent and await stream.connection.read():
                pass
            return
        while number := await stream.request():
            await stream.send(head(OK, stream=number), frames.DataFrame(number, b"ok", flags=["END_STREAM"]))

    async with raw_origin(script) as origin:
        app = {"targets": [h2c(origin)], "retries": 0, "http2": {"max_control_frames": 100}}
        async with Stage("upstream://app", config={"upstreams": {"app": app}}) as stage:
            client = await stage.client()
            await client.send(get())
            if sent is BAD_CONNECTIONS["more than the window"]:
                assert not (await client.rest()).endswith(b"0\r\n\r\n")
            else:
                assert (await client.answer())[0] == 502
            assert (await stage.ask(get()))[::2] == (200, b"ok")
            target = stage.proxy.upstream.targets[0]
            assert stage.loads == [0]
            assert [target.slots[slot] for slot in target.http2_slots] == [1, 0]
    if "flood" in request.node.callspec.id and "CONTINUATION" not in request.node.callspec.id:
        assert caplog.text.count("(upstreams.app.http2.max_control_frames)") == 2  # the connection, and the request
    assert caplog.text.count("ends a connection: INTERNAL_ERROR") == ("GOAWAY" in request.node.callspec.id)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_goaway_for_too_many_pings_moves_the_requests() -> None:
    """Servers of gRPC end connections so; the log says it."""

    async def script(stream: RawStream) -> None:
        number = await stream.request()
        if len(origin.connections) == 1:
            await stream.send(frames.GoAwayFrame(0, 0, error_code=11, additional_data=b"too_many_pings"))
            return
        await stream.send(head(OK, stream=number), frames.DataFrame(number, b"ok", flags=["END_STREAM"]))
        await stream.request()

    async with raw_origin(script) as origin, Stage(h2c(origin)) as stage:
        assert (await stage.ask(get()))[::2] == (200, b"ok")
        assert len(origin.connections) == 2


async def test_late_frames_of_ended_streams_are_ignored() -> None:
    """A client that leaves resets its stream; what is still on its way gives its window back."""

    async def script(stream: RawStream) -> None:
        await stream.request()
        await stream.send(head(OK))
        await stream.until(frames.RstStreamFrame)
        await stream.send(frames.DataFrame(1, b"x" * 16000).serialize() * 10, frames.WindowUpdateFrame(1, 100))
        while number := await stream.request():
            await stream.send(head(OK, stream=number), frames.DataFrame(number, b"ok", flags=["END_STREAM"]))

    async with raw_origin(script) as origin, Stage(h2c(origin)) as stage:
        client = await stage.client()
        await client.send(get())
        await client.head()
        client.reset()
        for _ in range(3):
            assert (await stage.ask(get()))[::2] == (200, b"ok")
        assert len(origin.connections) == 1


async def test_settings_that_lower_the_limit_hold_for_later_requests() -> None:
    async def script(stream: RawStream) -> None:
        first = await stream.request()
        if len(origin.connections) == 1:
            await stream.send(frames.SettingsFrame(0, settings={3: 1}))
            await until(lambda: len(origin.connections) == 2)
        await stream.send(head(OK, stream=first), frames.DataFrame(first, b"ok", flags=["END_STREAM"]))
        await stream.request()

    async with raw_origin(script) as origin, Stage(h2c(origin)) as stage:
        first, second = await stage.client(), await stage.client()
        await first.send(get())
        await until(lambda: stage.proxy.upstream.targets[0].pool.connections)
        await until(lambda: stage.proxy.upstream.targets[0].pool.connections[0].max_streams == 1)
        await second.send(get())
        assert (await first.answer())[0] == (await second.answer())[0] == 200
