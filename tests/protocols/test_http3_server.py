"""HTTP/3 from the outside: requests, bodies, limits, migration, reload, the end; the real server in this process.

Covers listen.quic.connection, listen.quic.endpoint, listen.quic.transport, web.server.http3.connection,
web.server.http3.exchange, web.server.http3.front.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from npserver.address import Address
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from tests.stage.http3 import Client, Path3, Server, connected, serving
from tests.stage.serving import forgiving
from tests.stage.worker import make_context

HELLO = {"handler": "respond", "path": "/", "body": "hello"}
BIG = bytes(range(256)) * 800  # 200 KB


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "big").write_bytes(BIG)
    return {"handler": "static", "path": "/files/**", "root": str(tmp_path / "files")}


class Upstream:
    """An HTTP/1.1 server that tells how long each body was, and reads when it is told to."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.received = 0
        self.heads: list[bytes] = []

    async def __aenter__(self) -> Upstream:
        self.server = await asyncio.start_server(forgiving(self._serve), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *args: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    @property
    def rule(self) -> dict[str, Any]:
        return {"handler": "proxy", "path": "/api/**", "proxy_pass": f"http://127.0.0.1:{self.port}"}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                await self.may_read.wait()
                size = 0
                if b"chunked" in head:
                    while piece := int(await reader.readline(), 16):
                        size += len(await reader.readexactly(piece))
                        self.received = size
                        await reader.readline()
                    await reader.readline()
                elif b"content-length: " in head.lower():
                    left = int(head.lower().partition(b"content-length: ")[2].split()[0])
                    while size < left:
                        size += len(await reader.read(min(65536, left - size)))
                        self.received = size
                body = b"%d" % size
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def http3_connections(server: Server) -> list[Any]:
    """Return the connections that speak HTTP/3."""
    return [one for one in server.context.connections if hasattr(one, "session")]


class TestRequests:
    async def test_an_answer_from_memory(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            answer = await client.request()
            assert (answer.status, answer.body, answer.fields["content-length"]) == (200, b"hello", "5")
            assert (await client.request(path="/none")).status == 404
            server.context.row.publish()
            assert server.count("http.requests") == 2

    async def test_a_file_and_many_at_once(self, tmp_path: Path, files: dict[str, Any]) -> None:
        async with serving([HELLO, files], tmp_path) as server, connected(server.port) as client:
            _, big = client.begin(path="/files/big")
            others = [client.begin()[1] for _ in range(50)]
            await client.until(lambda: all(one.has_ended for one in (*others, big)))
            assert big.body == BIG
            assert {one.body for one in others} == {b"hello"}

    async def test_uploads_go_through_the_proxy(self, tmp_path: Path) -> None:
        async with Upstream() as upstream, serving([upstream.rule], tmp_path) as server:
            async with connected(server.port) as client:
                length = [("content-length", str(len(BIG)))]
                assert (await client.request("POST", "/api/x", BIG, fields=length)).body == b"%d" % len(BIG)
                assert (await client.request("POST", "/api/x", b"abc")).body == b"3"
                stream, answer = client.begin("POST", "/api/x", has_body=True)
                client.body(stream, b"", has_ended=True)
                await client.until(lambda: answer.has_ended)
                assert answer.body == b"0"

    @pytest.mark.parametrize(
        ("uri", "host"), [("https://:0", "127.0.0.1"), ("https://:0", "::1"), ("https://[::1]:0", "::1")]
    )
    async def test_addresses(self, tmp_path: Path, uri: str, host: str) -> None:
        rule = {**HELLO, "body": "$client_ip $local_port $sni $tls_version $tls_cipher $protocol"}
        async with serving([rule], tmp_path, listen={"uri": uri}) as server:
            async with connected(server.port, host=host) as client:
                answer = (await client.request()).body.decode()
                assert answer == f"{host} {server.port} localhost TLSv1.3 TLS_AES_128_GCM_SHA256 HTTP/3.0"
                (connection,) = http3_connections(server)
                port = client.move()
                await client.request()
                await client.until(lambda: connection.client_port == port)
                assert connection.client_ip == host

    async def test_alt_svc_is_told_over_tcp_alone(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server:
            async with httpx.AsyncClient(verify=False) as client:
                fields = (await client.get(f"https://127.0.0.1:{server.port}/")).headers
                assert fields["alt-svc"] == f'h3=":{server.port}"; ma=86400'
            await server.running.reload({
                "listen": [{"uri": "https://127.0.0.1:0", "name": "web", "tls": "internal"}], "dispatch": [HELLO],
                "store": str(tmp_path / "store"),
            })  # fmt: skip
            async with httpx.AsyncClient(verify=False) as client:
                assert "alt-svc" not in (await client.get(f"https://127.0.0.1:{server.port}/")).headers


class TestPaths:
    @pytest.mark.parametrize(("loss", "reordering"), [(0.1, 0.0), (0.05, 0.2)])
    async def test_loss_and_reordering(
        self, tmp_path: Path, files: dict[str, Any], loss: float, reordering: float
    ) -> None:
        path = Path3(loss, reordering)
        async with Upstream() as upstream, serving([HELLO, files, upstream.rule], tmp_path) as server:
            async with connected(server.port, path=path) as client:
                assert (await client.request(path="/files/big")).body == BIG
                assert (await client.request("POST", "/api/x", BIG)).body == b"%d" % len(BIG)
                assert path.lost + path.reordered > 20

    async def test_a_client_moves(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            await client.request()
            (connection,) = http3_connections(server)
            port = client.move()
            assert (await client.request()).body == b"hello"
            await client.until(lambda: connection.client_port == port)

    async def test_a_client_comes_back(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            await client.request()
            (connection,) = http3_connections(server)
            old = client.socket
            client.move(keeps=True)
            assert (await client.request()).body == b"hello"
            await client.until(lambda: connection.client_port == client.socket.getsockname()[1])
            client.use(old)
            assert (await client.request()).body == b"hello"
            await client.until(lambda: connection.client_port == old.getsockname()[1])

    async def test_the_fourth_move_closes_the_connection(self, tmp_path: Path) -> None:
        """qh3 keeps four paths and forgets none, so that a fifth address would never be answered."""
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            for _ in range(4):
                await client.request()
                client.move()
            client.begin()
            await client.until(lambda: client.closed is not None)
            assert server.count("gauge.quic.connections") == 0

    async def test_a_client_moves_with_another_connection_id(self, tmp_path: Path) -> None:
        async with serving([HELLO], tmp_path) as server, connected(server.port) as client:
            await client.request()
            for _ in range(3):
                client.quic.change_connection_id()
                client.move()
                assert (await client.request()).body == b"hello"

    @pytest.mark.parametrize(("size", "retries"), [(8, 0), (12, 1)])
    async def test_clients_without_connection_ids(self, tmp_path: Path, size: int, retries: int) -> None:
        """As browsers are. The server has to take the id that they choose at first, which is of its length with them;
        with another length it chooses one by a Retry."""
        async with serving([HELLO], tmp_path) as server:
            async with connected(server.port, destination=os.urandom(size)) as client:
                assert (await client.request()).body == b"hello"
                (connection,) = http3_connections(server)
                port = client.move()
                assert (await client.request()).body == b"hello"
                await client.until(lambda: connection.client_port == port)
                assert server.count("quic.retries") == retries


async def test_a_worker_without_the_socket_tells_of_it() -> None:
    """Where another worker has the only one."""
    told: list[int] = []
    front: Any = SimpleNamespace(opened=told.append)
    listener = Listener("quic", "web", Address("quic", "127.0.0.1", 4433), 16, "test")
    live = LiveListener(listener, front, make_context(asyncio.get_running_loop()))
    await live.start(())
    await live.replace(listener, front)
    live.stop()
    live.context.sweeper.close()
    assert told == [4433, 4433]


class TestReload:
    async def test_a_listener_that_goes_and_comes_back(self, tmp_path: Path) -> None:
        """Its last connections end on the old sockets, new ones begin on those of the same port."""
        async with Upstream() as upstream, serving([upstream.rule], tmp_path) as server:
            async with connected(server.port) as client:
                upstream.may_read.clear()
                _, answer = client.begin("GET", "/api/x")
                await client.until(lambda: upstream.heads)
                for has_http3 in (False, True):
                    await server.running.reload({
                        "listen": [
                            {"uri": "https://127.0.0.1:0", "name": "web", "http3": has_http3, "tls": "internal"},
                        ],
                        "dispatch": [HELLO], "store": str(tmp_path / "store"),
                    })  # fmt: skip
                for _ in range(8):  # the kernel gives some of them to the old sockets
                    async with connected(server.port) as another:
                        assert (await another.request()).body == b"hello"
                upstream.may_read.set()
                await client.until(lambda: answer.has_ended)
                assert answer.body == b"0"

    async def test_connections_and_answers_go_on(self, tmp_path: Path) -> None:
        async with Upstream() as upstream, serving([upstream.rule], tmp_path) as server:
            async with connected(server.port) as client:
                upstream.may_read.clear()
                _, answer = client.begin("GET", "/api/x")
                await client.until(lambda: upstream.heads)
                for number in range(5):
                    await server.running.reload({
                        "listen": [{"uri": "https://127.0.0.1:0", "name": "web", "http3": True, "tls": "internal"}],
                        "dispatch": [{**HELLO, "body": f"config {number}"}], "store": str(tmp_path / "store"),
                    })  # fmt: skip
                    assert (await client.request()).body == b"config %d" % number
                upstream.may_read.set()
                await client.until(lambda: answer.has_ended)
                assert answer.body == b"0"
                assert server.count("quic.connections") == 1

    async def test_a_listener_that_is_removed_ends_its_connections(self, tmp_path: Path) -> None:
        async with Upstream() as upstream, serving([upstream.rule], tmp_path) as server:
            async with connected(server.port) as client, connected(server.port) as idle:
                upstream.may_read.clear()
                _, answer = client.begin("GET", "/api/x")
                await client.until(lambda: upstream.heads)
                await idle.request(path="/none")
                await server.running.reload({
                    "listen": [{"uri": "https://127.0.0.1:0", "name": "web", "tls": "internal"}], "dispatch": [HELLO],
                    "store": str(tmp_path / "store"),
                })  # fmt: skip
                await idle.until(lambda: idle.closed is not None)
                assert idle.closed is not None and idle.closed.error_code == 0x100
                rejected = await client.request(path="/api/y")
                assert rejected.reset == 0x10B  # H3_REQUEST_REJECTED: may be sent again elsewhere
                upstream.may_read.set()
                await client.until(lambda: client.closed is not None)
                assert answer.body == b"0"
                await client.until(lambda: True)
            assert server.count("gauge.quic.connections") == 0


class TestTheEnd:
    async def test_shutdown_lets_answers_end(self, tmp_path: Path) -> None:
        async with Upstream() as upstream, serving([upstream.rule], tmp_path) as server:
            client = Client(server.port)
            await client.connect()
            upstream.may_read.clear()
            _, answer = client.begin("GET", "/api/x")
            await client.until(lambda: upstream.heads)
            stopping = asyncio.ensure_future(server.running._single.stop())
            await client.until(lambda: client.http is not None and server.context.draining)
            upstream.may_read.set()
            await client.until(lambda: client.closed is not None)
            await stopping
            assert (answer.body, client.closed.error_code if client.closed else None) == (b"0", 0x100)
            client.close()

    async def test_shutdown_aborts_what_takes_too_long(self, tmp_path: Path) -> None:
        timeouts = {"timeouts": {"shutdown": 0.2}}
        async with Upstream() as upstream, serving([upstream.rule], tmp_path, **timeouts) as server:
            async with connected(server.port) as client:
                upstream.may_read.clear()
                client.begin("GET", "/api/x")
                await client.until(lambda: upstream.heads)
                await server.running._single.stop()
                await client.until(lambda: client.closed is not None)
                assert client.closed is not None and client.closed.error_code == 0x100  # H3_NO_ERROR
            upstream.may_read.set()
