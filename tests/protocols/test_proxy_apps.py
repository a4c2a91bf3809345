"""The proxy before real applications and over TLS and Unix sockets; stickiness with real cookies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import uvicorn

import npserver
from npserver.net.proxy_protocol import parse_header
from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok, until
from tests.stage.nginx import running_nginx
from tests.stage.programs import needs, needs_localhost
from tests.stage.serving import forgiving

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Echo the body; `/stream` sends pieces; `/late` answers before the body has come."""
    body = b""
    if scope["path"] != "/late":
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
    fields = [(b"x-path", scope["raw_path"]), (b"x-client", scope["client"][0].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for piece in (b"a", b"b", b"c") if scope["path"] == "/stream" else (body,):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical", **options)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    try:
        yield server
    finally:
        server.should_exit = True
        await running


def port_of(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


class TestUvicorn:
    @pytest.mark.parametrize("http", ["h11", "httptools"])
    async def test_bodies_go_both_ways(self, http: str) -> None:
        async with serving(http=http) as server, Stage(f"http://127.0.0.1:{port_of(server)}") as stage:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stage.port}") as client:
                for size in (0, 1, 70_000, 1_000_000):
                    answer = await client.post("/echo", content=b"x" * size)
                    assert answer.content == b"x" * size
                    assert answer.headers["x-path"] == "/echo"

                async def pieces() -> AsyncIterator[bytes]:
                    for _ in range(100):
                        yield b"0123456789" * 100

                assert (await client.put("/echo", content=pieces())).content == b"0123456789" * 10_000
                assert (await client.get("/stream")).text == "abc"
                assert (await client.head("/stream")).status_code == 200
                assert stage.loads == [0]

    async def test_an_answer_comes_before_the_body_has_ended(self) -> None:
        async with serving() as server, Stage(f"http://127.0.0.1:{port_of(server)}") as stage:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stage.port}") as client:
                assert (await client.post("/late", content=b"x" * 2_000_000)).status_code == 200
                assert (await client.post("/echo", content=b"again")).content == b"again"


class TestUnix:
    async def test_http_over_a_unix_socket(self, socket_dir: Path) -> None:
        path = socket_dir / "app.sock"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nHost: localhost\r\n" in head
            writer.write(ok(b"unix"))
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(forgiving(serve), path)
        async with server, Stage(f"unix://{path}") as stage:
            assert (await stage.ask(get()))[2] == b"unix"


class TestTls:
    async def _ask(self, tls: dict[str, Any], name: str, tmp_path: Path, directory_ca: bool = True) -> tuple[int, int]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        names: list[str | None] = []
        context.sni_callback = lambda _object, name, _context: names.append(name)
        accepted = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal accepted
            accepted += 1
            while not reader.at_eof():
                try:
                    await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    break
                writer.write(ok(b"secret"))
            writer.close()

        server = await asyncio.start_server(forgiving(serve), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        if directory_ca:
            tls = {"ca": str(tmp_path / "ca.pem"), **tls}
        async with server, Stage(f"https://localhost:{port}", tls=tls) as stage:
            for _ in range(2):
                status, _, _ = await stage.ask(get())
            return status, accepted

    @needs_localhost
    async def test_a_verified_connection_is_used_again(self, tmp_path: Path) -> None:
        assert await self._ask({}, "localhost", tmp_path) == (200, 1)

    @needs_localhost
    async def test_the_server_name_is_sent(self, tmp_path: Path) -> None:
        assert await self._ask({"server_name": "app.test"}, "app.test", tmp_path) == (200, 1)

    @pytest.mark.filterwarnings("ignore")
    async def test_wrong_name_is_refused(self, tmp_path: Path) -> None:
        assert (await self._ask({}, "other.test", tmp_path))[0] == 502

    @pytest.mark.filterwarnings("ignore")
    async def test_unknown_ca_is_refused(self, tmp_path: Path) -> None:
        assert (await self._ask({}, "localhost", tmp_path, directory_ca=False))[0] == 502

    @needs_localhost
    async def test_insecure_accepts_any_certificate(self, tmp_path: Path) -> None:
        assert (await self._ask({"insecure": True}, "other.test", tmp_path, directory_ca=False))[0] == 200


class TestSticky:
    async def test_cookie_keeps_the_client(self) -> None:
        async def name(connection: Connection) -> None:
            while await connection.head():
                await connection.send(ok(b"%d" % connection.origin.port))

        async with Origin(name) as one, Origin(name) as two:
            upstream = {"targets": [one.url, two.url], "sticky": {"cookie": "srv"}}
            async with Stage("upstream://app", config={"upstreams": {"app": upstream}}) as stage:
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stage.port}") as client:
                    first = await client.get("/")
                    assert "srv=" in first.headers["set-cookie"]
                    for _ in range(4):
                        again = await client.get("/")
                        assert again.text == first.text
                        assert "set-cookie" not in again.headers
                    await (one if first.text == str(one.port) else two).close()
                    for target in stage.proxy.upstream.targets:
                        for idle in list(target.pool.idle):
                            idle.close()
                    moved = await client.get("/")
                    assert moved.text != first.text
                    assert "srv=" in moved.headers["set-cookie"]
                    assert (await client.get("/")).text == moved.text

    async def test_upstreams_of_one_host_have_cookies_of_their_own(self) -> None:
        async def name(connection: Connection) -> None:
            while await connection.head():
                await connection.send(ok(b"%d" % connection.origin.port))

        async with Origin(name) as one, Origin(name) as two, Origin(name) as three, Origin(name) as four:
            config = {
                "listen": [{"name": "in", "uri": "http://127.0.0.1:0"}],
                "upstreams": {
                    "a": {"targets": [one.url, two.url], "sticky": {}},
                    "b": {"targets": [three.url, four.url], "sticky": {}},
                },
                "dispatch": [
                    {"handler": "proxy", "proxy_pass": "upstream://a"},
                    {"handler": "proxy", "path": "/b", "proxy_pass": "upstream://b"},
                ],
            }
            async with (
                npserver.serve(config, shutdown_s=0) as server,
                httpx.AsyncClient(base_url=server.url()) as client,
            ):
                seen = {path: {(await client.get(path)).text for _ in range(4)} for path in ("/", "/b")}
                seen["/"] |= {(await client.get("/")).text for _ in range(4)}
            assert {path: len(targets) for path, targets in seen.items()} == {"/": 1, "/b": 1}


class TestUnixSocketListener:
    @pytest.mark.parametrize(("trusted", "seen"), [("unix:", b"203.0.113.9"), ("127.0.0.1", b"")])
    async def test_a_proxy_at_a_unix_socket_is_trusted_where_the_config_says_so(
        self, socket_dir: Path, trusted: str, seen: bytes
    ) -> None:
        async with Origin(answering(ok())) as origin:
            config = {
                "listen": [{"name": "in", "uri": f"unix://{socket_dir}/web"}],
                "trusted_proxies": trusted,
                "dispatch": [{"listener": "in", "handler": "proxy", "proxy_pass": origin.url}],
            }
            async with npserver.serve(config, shutdown_s=0):
                transport = httpx.AsyncHTTPTransport(uds=f"{socket_dir}/web")
                async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as client:
                    answer = await client.get("/", headers={"X-Forwarded-For": "203.0.113.9"})
            assert answer.status_code == 200
            line = b"\r\nX-Forwarded-For: " + seen + b"\r\n"
            assert (line in origin.seen) is bool(seen)
            assert b"unix:" not in origin.seen


@needs("nginx")
async def test_nginx_compresses_its_answers_behind_us(tmp_path: Path) -> None:
    """With Via it would not: `gzip_proxied` is off by default."""
    (tmp_path / "page.html").write_text("words " * 1000)
    with running_nginx(tmp_path, "gzip on;") as url:
        async with Stage(url) as stage, Stage(url, via=True) as with_via:
            sizes = []
            for one in (stage, with_via):
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{one.port}") as client:
                    answer = await client.get("/page.html", headers={"Accept-Encoding": "gzip"})
                assert answer.text == "words " * 1000
                sizes.append(answer.num_bytes_downloaded)
    assert sizes[0] < 200
    assert sizes[1] == 6000


class TestCookies:
    @pytest.mark.parametrize(("rewrite", "is_kept"), [(True, False), ("host", True), (False, True)])
    async def test_one_application_below_two_rules_keeps_its_session(self, rewrite: Any, is_kept: bool) -> None:
        async def session(connection: Connection) -> None:
            while head := await connection.head():
                known = b"\r\ncookie: session=1" in head.lower()
                await connection.send(ok(b"known" if known else b"new", b"Set-Cookie: session=1; Path=/\r\n"))

        async with Origin(session) as origin:
            rule = {"handler": "proxy", "proxy_pass": origin.url, "strip_prefix": True, "rewrite_cookies": rewrite}
            config = {
                "listen": [{"name": "in", "uri": "http://127.0.0.1:0"}],
                "dispatch": [{**rule, "path": "/api/**"}, {**rule, "path": "/ws/**"}],
            }
            async with (
                npserver.serve(config, shutdown_s=0) as server,
                httpx.AsyncClient(base_url=server.url()) as client,
            ):
                answers = [(await client.get(path)).text for path in ("/api/x", "/api/y", "/ws/x")]
        assert answers == ["new", "known", "known" if is_kept else "new"]


class TestProxyHeader:
    """Targets with `send_proxy` are told the client's address and the address that it reached."""

    @asynccontextmanager
    async def _told(self, version: str, listen: str, **config: Any) -> AsyncIterator[tuple[npserver.Server, list[Any]]]:
        """A server in front of an upstream that keeps each connection's header."""
        headers: list[Any] = []

        async def script(connection: Connection) -> None:
            wire = b""
            while (header := parse_header(wire)) is None:
                wire += await connection.exactly(1)
            headers.append(header)
            await connection.head()
            await connection.send(ok())

        async with Origin(script) as origin:
            config |= {
                "upstreams": {"app": {"targets": [{"uri": origin.url, "send_proxy": version}]}},
                "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app"}],
            }
            listener = {"name": "in", "uri": listen, **config.pop("listener", {})}
            async with npserver.serve({"listen": [listener], **config}, shutdown_s=0) as server:
                yield server, headers

    @staticmethod
    async def _ask(host: str, port: int, before: bytes = b"") -> tuple[str, int]:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(before + get("/", "Connection: close\r\n"))
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 30)
        name = writer.get_extra_info("sockname")
        writer.close()
        return name[0], name[1]

    @pytest.mark.parametrize("version", ["v1", "v2"])
    @pytest.mark.parametrize(
        ("listen", "reached"),
        [("http://127.0.0.1:0", ["127.0.0.1"]), ("http://:0", ["127.0.0.1", "127.0.0.2", "::1"])],
    )
    async def test_says_where_from_and_where_to(self, version: str, listen: str, reached: list[str]) -> None:
        async with self._told(version, listen) as (server, headers):
            port = server.addresses["in"].port
            clients = [await self._ask(host, port) for host in reached]
        assert [header.source for header in headers] == clients
        assert [header.destination for header in headers] == [(host, port) for host in reached]

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_passes_on_what_a_trusted_header_said(self, version: str) -> None:
        listener = {"accept_proxy": "127.0.0.1"}
        async with self._told(version, "http://127.0.0.1:0", listener=listener) as (server, headers):
            before = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"
            await self._ask("127.0.0.1", server.addresses["in"].port, before)
        assert (headers[0].source, headers[0].destination) == (("2001:db8::7", 4711), ("2001:db8::1", 443))

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_unix_sockets_have_no_addresses(self, version: str, socket_dir: Path) -> None:
        async with self._told(version, f"unix://{socket_dir}/s") as (_, headers):
            reader, writer = await asyncio.open_unix_connection(socket_dir / "s")
            writer.write(get("/", "Connection: close\r\n"))
            assert b" 200 " in await asyncio.wait_for(reader.readline(), 30)
            writer.close()
        assert (headers[0].source, headers[0].destination) == (None, None)

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_connection_serves_one_client(self, version: str) -> None:
        async with self._told(version, "http://127.0.0.1:0") as (server, headers):
            for _ in range(2):
                await self._ask("127.0.0.1", server.addresses["in"].port)
            assert len(headers) == 2


class TestBalance:
    async def test_round_robin_over_real_targets(self) -> None:
        async with Origin(answering(ok(b"1"))) as one, Origin(answering(ok(b"2"))) as two:
            upstreams = {"app": {"targets": [one.url, {"uri": two.url, "weight": 2}]}}
            async with Stage("upstream://app", config={"upstreams": upstreams}) as stage:
                answers = [(await stage.ask(get()))[2] for _ in range(9)]
                assert answers.count(b"1") == 3
                assert answers.count(b"2") == 6
