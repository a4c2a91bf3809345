"""Connections that begin with a PROXY header: mandatory from those permitted, refused from all others, timed.

Covers `listen.proxy_header`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import npserver
from npserver.net.proxy_protocol import encode_v1, encode_v2
from tests.stage.backends import Backends
from tests.stage.dialing import call
from tests.stage.tls import client
from tests.stage.worker import running_context

RESPOND = {"handler": "respond", "body": "$client_ip $client_port $remote_ip $local_port"}
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SOURCE, DESTINATION = ("192.0.2.7", 4711), ("198.51.100.2", 443)
V1, V2 = encode_v1(SOURCE, DESTINATION), encode_v2(SOURCE, DESTINATION)
DEADLINE_S = 30.0


@asynccontextmanager
async def serve(scheme: str = "http", accept: Any = "127.0.0.0/8", **config: Any) -> AsyncIterator[int]:
    """Serve with `accept_proxy`; yield the port."""
    listen = [{"name": "in", "uri": f"{scheme}://127.0.0.1:0", "accept_proxy": accept}]
    config = {"listen": listen, "dispatch": [RESPOND], **config}
    async with npserver.serve(config, shutdown_s=0) as server:
        yield int(server.url().rpartition(":")[2])


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send pieces; give everything that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(DEADLINE_S):
            return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def body(answer: bytes) -> str:
    assert answer.startswith(b"HTTP/1.1 200 ")
    return answer.partition(b"\r\n\r\n")[2].decode()


class TestHttp:
    """The header's source is the client."""

    @pytest.mark.parametrize("header", [V1, V2])
    async def test_the_source_is_the_client(self, header: bytes) -> None:
        async with serve() as port:
            assert body(await talk(port, header + REQUEST)) == "192.0.2.7 4711 192.0.2.7 443"

    @pytest.mark.parametrize("header", [V1, V2])
    async def test_a_header_in_pieces_is_read(self, header: bytes) -> None:
        async with serve() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in header + REQUEST:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE_S):
                answer = await reader.read(-1)
            writer.close()
        assert body(answer) == "192.0.2.7 4711 192.0.2.7 443"

    @pytest.mark.parametrize("header", [encode_v1(None, None), encode_v2(None, None)])
    async def test_a_header_without_endpoints_leaves_the_peer(self, header: bytes) -> None:
        """The connection's own are used: a health check of the proxy's."""
        async with serve() as port:
            assert body(await talk(port, header + REQUEST)).startswith("127.0.0.1 ")

    async def test_the_next_request_has_no_header(self) -> None:
        async with serve() as port:
            answer = await talk(port, V1 + REQUEST.replace(b"close", b"keep-alive") + V1 + REQUEST)
        assert answer.count(b"HTTP/1.1 200 ") == 1
        assert b"HTTP/1.1 400 " in answer

    async def test_x_forwarded_for_counts_from_the_source(self) -> None:
        forged = REQUEST.replace(b"Host", b"X-Forwarded-For: 203.0.113.9\r\nHost")
        async with serve(trusted_proxies=["192.0.2.0/24"]) as port:
            assert body(await talk(port, V1 + forged)).startswith("203.0.113.9 ")
        async with serve(trusted_proxies=["127.0.0.0/8"]) as port:
            assert body(await talk(port, V1 + forged)).startswith("192.0.2.7 ")

    async def test_a_unix_socket_takes_headers(self, socket_dir: Path) -> None:
        """Every client that may open the socket may send a header."""
        config = {
            "listen": [{"uri": f"unix://{socket_dir}/s", "accept_proxy": "192.0.2.0/24"}],
            "dispatch": [RESPOND],
        }
        async with npserver.serve(config, shutdown_s=0):
            reader, writer = await asyncio.open_unix_connection(socket_dir / "s")
            writer.write(V1 + REQUEST)
            async with asyncio.timeout(DEADLINE_S):
                assert body(await reader.read(-1)).startswith("192.0.2.7 ")
            writer.close()


class TestRefused:
    """Not one byte of an answer."""

    async def test_peer_that_is_not_permitted(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "npserver.server")
        async with serve(accept=["192.0.2.0/24"]) as port:
            assert await talk(port, V1 + REQUEST) == b""
            assert await talk(port, REQUEST) == b""
        assert [" refused (accept_proxy)" in line for line in caplog.messages if "refused" in line] == [True, True]

    @pytest.mark.parametrize(
        "wire",
        [
            REQUEST,
            b"PROXY TCP4 192.0.2.1\r\n" + REQUEST,
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 99999\r\n" + REQUEST,
            V2[:12] + b"\x11" + V2[13:] + REQUEST,
            V2[:14] + b"\xff\xff" + V2[16:] + REQUEST,
            b"PROXY " + b"x" * 200,
        ],
    )
    async def test_a_header_that_is_none_ends_the_connection(
        self, wire: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG", "npserver.server")
        async with serve() as port:
            assert await talk(port, wire) == b""
            assert body(await talk(port, V1 + REQUEST))
        assert [line.endswith(" (accept_proxy)") for line in caplog.messages if "refused" in line] == [True]

    @pytest.mark.parametrize("wire", [b"", V1[:-1], V2[:14], V2[:-1]])
    async def test_header_that_is_not_finished(self, wire: bytes) -> None:
        async with serve(timeouts={"proxy_header": "50ms"}) as port:
            assert await talk(port, wire) == b""

    async def test_without_accept_proxy_it_is_no_header(self) -> None:
        config = {"listen": ["http://127.0.0.1:0"], "dispatch": [RESPOND]}
        async with npserver.serve(config, shutdown_s=0) as server:
            answer = await talk(int(server.url().rpartition(":")[2]), V1 + REQUEST)
        assert answer.startswith(b"HTTP/1.1 400 ")


class TestBefore:
    """The header stands before TLS, and before what is forwarded."""

    async def test_a_header_comes_before_tls(self, certificates: Callable[..., Any]) -> None:
        issued = certificates()
        async with running_context() as context, serve("https", tls=issued.config) as port:
            ear = await call(context, f"ssl://127.0.0.1:{port}", tls=client(issued.ca), preface=V2)
            ear.transport.write(REQUEST)
            await ear.until(lambda ear: ear.is_lost)
        assert body(bytes(ear.heard)) == "192.0.2.7 4711 192.0.2.7 443"

    async def test_tls_without_a_header_is_refused(self, certificates: Callable[..., Any]) -> None:
        issued = certificates()
        async with running_context() as context, serve("https", tls=issued.config) as port:
            with pytest.raises(npserver.errors.UpstreamError):
                await call(context, f"ssl://127.0.0.1:{port}", tls=client(issued.ca))

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_a_header_is_passed_on(self, backends: Backends, version: str) -> None:
        port, received = backends.tcp_sink()
        rule = {
            "listener": "in",
            "handler": "forward",
            "forward_to": f"tcp://127.0.0.1:{port}",
            "send_proxy": version,
        }
        async with serve("tcp", dispatch=[rule]) as own_port:
            reader, writer = await asyncio.open_connection("127.0.0.1", own_port)
            writer.write(V1 + b"hello")
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                await reader.read(-1)
            writer.close()
        assert received == [(V1 if version == "v1" else V2) + b"hello"]

    async def test_a_header_is_sent_ahead_of_tls(self, certificates: Callable[..., Any]) -> None:
        """To an `ssl` target: the header, then the handshake."""
        issued = certificates()
        rule = {
            "listener": "in",
            "handler": "forward",
            "forward_to": "",
            "send_proxy": "v2",
            "tls": {"ca": str(issued.ca)},
        }
        async with serve("https", tls=issued.config) as behind:
            async with serve("tcp", dispatch=[rule | {"forward_to": f"ssl://127.0.0.1:{behind}"}]) as port:
                assert body(await talk(port, V1 + REQUEST)) == "192.0.2.7 4711 192.0.2.7 443"
