"""HTTP/3 from hostile clients: frames out of grammar, floods, datagrams of no connection, limits and timeouts.

Covers web.server.http3.session, web.server.http3.client_streams, web.server.http3.request_stream,
listen.quic.paths, listen.quic.library, listen.quic.wake_up, listen.quic.roles.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicPacketType, pull_quic_header
from pylsqpack import Encoder

from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import frame, varint
from tests.stage.http3 import Client, connected, serving

HELLO = {"handler": "respond", "path": "/", "body": "hello"}
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]
CONTROL = 2  # our control stream


def section(fields: list[tuple[bytes, bytes]]) -> bytes:
    return Encoder().encode(0, fields)[1]


def head(fields: list[tuple[bytes, bytes]]) -> bytes:
    return frame(frames.HEADERS, section(fields))


#: Bytes on the first request stream that end the connection with an error code.
CONNECTION_ERRORS = {
    "DATA at first": (frame(frames.DATA, b"x"), frames.FRAME_UNEXPECTED),
    "SETTINGS": (frame(frames.SETTINGS, b""), frames.FRAME_UNEXPECTED),
    "GOAWAY": (frame(frames.GOAWAY, b"\0"), frames.FRAME_UNEXPECTED),
    "PUSH_PROMISE": (frame(frames.PUSH_PROMISE, b"\0"), frames.FRAME_UNEXPECTED),
    "of HTTP/2": (frame(0x6, bytes(8)), frames.FRAME_UNEXPECTED),
    "a head over the limit": (varint(frames.HEADERS) + varint(1 << 20), frames.EXCESSIVE_LOAD),
    "a list over the limit": (head([*GET, *[(b"x-%d" % n, b"y" * 4000) for n in range(60)]]), frames.EXCESSIVE_LOAD),
    "no section": (frame(frames.HEADERS, b"\xff" * 9), frames.QPACK_DECOMPRESSION_FAILED),
    "three sections": (head(POST) + head([(b"a", b"b")]) + head([(b"a", b"b")]), frames.FRAME_UNEXPECTED),
    "half a frame": (head(POST) + b"\0\x05abc", frames.FRAME_ERROR),
    "half a frame's head": (head(POST) + b"\0", frames.FRAME_ERROR),
}
#: Bytes that reset the stream alone.
STREAM_ERRORS = {
    "nothing": (b"", frames.REQUEST_INCOMPLETE),
    "an unknown frame alone": (frame(0x21, b"grease"), frames.REQUEST_INCOMPLETE),
    "a field in upper case": (head([*GET, (b"X-Y", b"z")]), frames.MESSAGE_ERROR),
    "a connection field": (head([*GET, (b"connection", b"close")]), frames.MESSAGE_ERROR),
    "no path": (head(GET[:3]), frames.MESSAGE_ERROR),
    "less than said": (head([*POST, (b"content-length", b"3")]) + frame(frames.DATA, b"ab"), frames.MESSAGE_ERROR),
    "none of what is said": (head([*POST, (b"content-length", b"3")]), frames.MESSAGE_ERROR),
    "more than said": (head([*POST, (b"content-length", b"1")]) + frame(frames.DATA, b"ab"), frames.MESSAGE_ERROR),
    "bad trailers": (head(POST) + head([(b":path", b"/")]), frames.MESSAGE_ERROR),
}
#: Bytes on a unidirectional stream.
CONTROL_ERRORS = {
    "no SETTINGS": (b"\0" + frame(frames.GOAWAY, b"\0"), frames.MISSING_SETTINGS),
    "SETTINGS twice": (b"\0" + 2 * frame(frames.SETTINGS, b""), frames.FRAME_UNEXPECTED),
    "a setting of HTTP/2": (b"\0" + frame(frames.SETTINGS, b"\x02\0"), frames.SETTINGS_ERROR),
    "a setting twice": (b"\0" + frame(frames.SETTINGS, b"\x21\0\x21\0"), frames.SETTINGS_ERROR),
    "half a setting": (b"\0" + frame(frames.SETTINGS, b"\x21"), frames.FRAME_ERROR),
    "DATA": (b"\0" + frame(frames.SETTINGS, b"") + frame(frames.DATA, b""), frames.FRAME_UNEXPECTED),
    "a long frame": (b"\0" + frame(frames.SETTINGS, b"") + b"\x21" + varint(1 << 40), frames.EXCESSIVE_LOAD),
    "CANCEL_PUSH": (b"\0" + frame(frames.SETTINGS, b"") + frame(frames.CANCEL_PUSH, b"\0"), frames.ID_ERROR),
    "a malformed id": (b"\0" + frame(frames.SETTINGS, b"") + frame(frames.MAX_PUSH_ID, b""), frames.FRAME_ERROR),
    "push ids that shrink": (
        b"\0" + frame(frames.SETTINGS, b"") + frame(frames.MAX_PUSH_ID, b"\5") + frame(frames.MAX_PUSH_ID, b"\4"),
        frames.ID_ERROR,
    ),
    "a priority of no request": (
        b"\0" + frame(frames.SETTINGS, b"") + frame(frames.PRIORITY_UPDATE, b"\3u=1"), frames.ID_ERROR,
    ),
    "a priority of a stream over the limit": (
        b"\0" + frame(frames.SETTINGS, b"") + frame(frames.PRIORITY_UPDATE, b"\x80\x01\x00\x00u=1"), frames.ID_ERROR,
    ),
    "a priority of nothing": (
        b"\0" + frame(frames.SETTINGS, b"") + frame(frames.PRIORITY_UPDATE, b""), frames.FRAME_ERROR,
    ),
    "a priority that ends within the stream's number": (
        b"\0" + frame(frames.SETTINGS, b"") + frame(frames.PRIORITY_UPDATE, b"\x80\0"), frames.FRAME_ERROR,
    ),
    "the priority of a push": (
        b"\0" + frame(frames.SETTINGS, b"") + frame(frames.PUSH_PRIORITY_UPDATE, b"\0u=1"), frames.ID_ERROR,
    ),
    "a push": (b"\1\0", frames.STREAM_CREATION_ERROR),
    "bad instructions": (b"\2" + b"\xff" * 20, frames.QPACK_ENCODER_STREAM_ERROR),
}  # fmt: skip


class Bare(Client):
    """A client that sends nothing by itself."""

    def __init__(self, port: int, **settings: Any) -> None:
        super().__init__(port, **settings)
        self.http = None
        self.quic._local_next_stream_id_uni = 2  # aioquic's HTTP/3 has opened its streams already
        self.quic._streams.clear()


async def bare(port: int) -> Bare:
    client = Bare(port)
    client.quic._streams_blocked_uni.clear()
    await client.connect()
    return client


class TestGrammar:
    async def test_errors_of_the_connection(self, server_port: int) -> None:
        for case, (data, code) in CONNECTION_ERRORS.items():
            client = await bare(server_port)
            client.raw(0, data, has_ended="half" in case)
            await client.until(lambda client=client: client.closed is not None)
            assert (case, client.closed and client.closed.error_code) == (case, code)
            client.close()

    async def test_errors_of_a_stream(self, server_port: int) -> None:
        for case, (data, code) in STREAM_ERRORS.items():
            client = await bare(server_port)
            answer = client.raw(0, data, has_ended=True)
            await client.until(lambda answer=answer: answer.reset is not None)
            assert (case, answer.reset, client.closed) == (case, code, None)
            received = client.received
            client.raw(4, head(GET), has_ended=True)
            await client.until(lambda client=client, received=received: client.received > received + 50)  # an answer
            client.leave()
            client.close()

    async def test_errors_of_unidirectional_streams(self, server_port: int) -> None:
        for case, (data, code) in CONTROL_ERRORS.items():
            client = await bare(server_port)
            client.raw(CONTROL, data)
            await client.until(lambda client=client: client.closed is not None)
            assert (case, client.closed and client.closed.error_code) == (case, code)
            client.close()

    async def test_critical_streams_that_end(self, server_port: int) -> None:
        for kind in (b"\0" + frame(frames.SETTINGS, b""), b"\2", b"\3"):
            client = await bare(server_port)
            client.raw(CONTROL, kind, has_ended=True)
            await client.until(lambda client=client: client.closed is not None)
            assert client.closed is not None and client.closed.error_code == frames.CLOSED_CRITICAL_STREAM
            client.close()

    async def test_streams_of_unknown_types_are_stopped(self, server_port: int) -> None:
        client = await bare(server_port)
        answer = client.raw(CONTROL, varint(0x21) + b"grease")
        await client.until(lambda: answer.stopped is not None)
        assert (answer.stopped, client.closed) == (frames.STREAM_CREATION_ERROR, None)
        client.leave()
        client.close()

    async def test_a_request_byte_by_byte(self, server_port: int) -> None:
        client = await bare(server_port)
        wire = (
            frame(0x21, b"") + head(POST) + frame(0x40, b"skipped") + frame(frames.DATA, b"body") + head([(b"a", b"b")])
        )
        for byte in wire:
            client.raw(0, bytes((byte,)))
        answer = client.raw(0, b"", has_ended=True)
        received = client.received
        await client.until(lambda: client.received > received + 50)
        assert (answer.reset, client.closed) == (None, None)
        client.leave()
        client.close()


@pytest.fixture
async def server_port(tmp_path: Path) -> Any:
    """Yield the port of a server."""
    async with serving([HELLO], tmp_path) as server:
        yield server.port


class TestFloods:
    async def test_resets(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, limits={"max_resets": 5}) as server, connected(server.port) as client:
            for _ in range(10):
                stream = client.quic.get_next_available_stream_id()
                client.raw(stream, b"\x01")
                await client.until(lambda: True)
                client.quic.reset_stream(stream, frames.REQUEST_CANCELLED)
                client.send()
            await client.until(lambda: client.closed is not None)
            assert client.closed is not None and client.closed.error_code == frames.EXCESSIVE_LOAD

    async def test_empty_frames(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, limits={"max_control_frames": 50}) as server:
            client = await bare(server.port)
            client.raw(0, frame(0x21, b"") * 100)
            await client.until(lambda: client.closed is not None)
            assert client.closed is not None and client.closed.error_code == frames.EXCESSIVE_LOAD
            client.close()

    async def test_streams_that_end_before_their_type(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, limits={"max_control_frames": 50}) as server:
            client = await bare(server.port)
            for number in range(100):
                client.raw(CONTROL + 4 * number, b"" if number % 2 else b"\x40", has_ended=True)
            await client.until(lambda: client.closed is not None)
            assert client.closed is not None and client.closed.error_code == frames.EXCESSIVE_LOAD
            client.close()

    async def test_streams_are_limited(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, limits={"max_streams": 3}) as server, connected(server.port) as client:
            assert client.quic._remote_max_streams_bidi == 3
            for _ in range(10):
                assert (await client.request()).body == b"hello"

    async def test_connections_of_an_address_are_limited(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, timeouts={"max_connections_per_ip": 2}) as server:
            async with connected(server.port), connected(server.port):
                third = Client(server.port)
                third.quic.connect(third.server, asyncio.get_running_loop().time())
                third.send()
                await third.until(lambda: server.count("quic.strays"))
                assert not third.received
                third.close()
            async with connected(server.port) as client:
                assert (await client.request()).body == b"hello"

    async def test_many_handshakes_have_to_show_their_address(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, limits={"max_handshakes": 1}) as server:
            silent = Client(server.port)
            silent.quic.connect(silent.server, asyncio.get_running_loop().time())
            silent.send()
            silent.is_muted = True
            await silent.until(lambda: server.count("quic.connections") == 1)
            async with connected(server.port) as client:
                assert (await client.request()).body == b"hello"
                assert server.count("quic.retries") == 1
            silent.close()

    async def test_no_more_than_three_times_what_came_goes_to_an_address(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path, timeouts={"tls_handshake": 0.5}) as server:
            client = Client(server.port)
            client.quic.connect(client.server, asyncio.get_running_loop().time())
            (datagram, _), *_ = client.quic.datagrams_to_send(asyncio.get_running_loop().time())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.setblocking(False)
                silent.bind(("127.0.0.1", 0))
                silent.sendto(datagram, client.server)
                await client.until(lambda: server.count("gauge.quic.connections"))
                await client.until(lambda: not server.count("gauge.quic.connections"))  # timeouts.tls_handshake
                size = 0
                while True:
                    try:
                        size += len(silent.recv(65536))
                    except BlockingIOError:
                        break
            assert 1000 < size <= 3 * len(datagram)
            client.close()


class TestTimeouts:
    @pytest.mark.parametrize("key", ["header", "idle"])
    async def test_an_idle_connection_is_closed(self, tmp_path: Path, key: str) -> None:
        async with serving([HELLO], tmp_path, timeouts={key: 0.3}) as server, connected(server.port) as client:
            if key == "idle":
                await client.request()
            await client.until(lambda: client.closed is not None)
            await client.until(lambda: not server.count("gauge.http.connections"))

    async def test_a_body_that_does_not_come(self, tmp_path: Path) -> None:
        rule = {"handler": "proxy", "path": "/**", "proxy_pass": "http://127.0.0.1:1"}
        async with serving([rule], tmp_path, timeouts={"body": 0.3}) as server, connected(server.port) as client:
            stream, answer = client.begin("POST", "/", has_body=True, fields=[("content-length", "10")])
            client.body(stream, b"12345", has_ended=False)
            await client.until(lambda: answer.has_ended)
            assert answer.status in (408, 502)

    async def test_a_client_that_reads_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "big").write_bytes(bytes(2 << 20))
        rule = {"handler": "static", "path": "/**", "root": str(tmp_path)}
        more = {"timeouts": {"write": 0.3, "shutdown": 0}}
        async with serving([rule], tmp_path, **more) as server, connected(server.port, max_stream_data=4096) as client:
            client.quic._configuration.max_stream_data = 4096
            _, answer = client.begin(path="/big")
            client.is_muted = True
            await client.until(lambda: server.context.row.publish() or server.count("http.requests"))
            assert answer.body == b""


class TestDatagrams:
    async def test_of_no_connection(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            caplog.clear()
            sent = [os.urandom(size) for size in (1, 2, 7, 20, 43, 100, 1200, 1400) for _ in range(20)]
            sent += [bytes((0xC0,)) + b"\0\0\0\1" + os.urandom(1250) for _ in range(50)]
            sent += [
                bytes((0xC0,)) + b"\0\0\0\1\x08" + os.urandom(8) + b"\0\0\x44\xd0" + os.urandom(1232) for _ in range(50)
            ]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.1", 0))
                for datagram in sent:
                    stranger.sendto(datagram, ("127.0.0.1", server.port))
                stranger.sendto(b"", ("127.0.0.1", server.port))
            assert (await client.request()).body == b"hello"
            assert [one for one in caplog.records if one.levelname != "DEBUG"] == []

    async def test_another_version(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.setblocking(False)
                stranger.connect(("127.0.0.1", server.port))
                await loop.sock_sendall(stranger, b"\xc0\x1a\x2a\x3a\x4a\x04dest\x03src" + bytes(1200))
                async with asyncio.timeout(20):
                    answer = await loop.sock_recv(stranger, 2000)
                await loop.sock_sendall(stranger, b"\xc0\x1a\x2a\x3a\x4a\x04dest\x03src" + bytes(100))  # too short
            header = pull_quic_header(Buffer(data=answer), 8)
            assert header.packet_type is QuicPacketType.VERSION_NEGOTIATION
            assert (header.destination_cid, 1 in header.supported_versions) == (b"src", True)
            await client.request()
            assert server.count("quic.version_negotiations") == 1

    async def test_a_connection_that_nobody_knows_is_reset(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.setblocking(False)
                stranger.connect(("127.0.0.1", server.port))
                await loop.sock_sendall(stranger, b"\x40" + os.urandom(60))
                async with asyncio.timeout(20):
                    answer = await loop.sock_recv(stranger, 2000)
                assert (len(answer), answer[0] & 0xC0) == (42, 0x40)
                await loop.sock_sendall(stranger, answer)  # two servers do not go on for ever
                await client.request()
                with pytest.raises(BlockingIOError):
                    stranger.recv(2000)
