"""Requests through the proxy, as raw bytes on both sides (RFC 9110 §7.6, RFC 9112).

Covers `web.handlers.proxy.handler`, `web.handlers.proxy.proxy`, `web.handlers.proxy.request_head` and
`web.handlers.proxy.upload`.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.protocols.proxying import WAIT_S, Connection, Origin, Stage, answering, get, ok, post, until

LARGE = bytes(range(256)) * 4096  # 1 MiB


class TestRequestHead:
    async def test_a_head_is_rewritten(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            await stage.ask(get("/a/../b?c=%20", "Accept: x\r\nUser-Agent: y\r\n"))
            assert origin.seen.split(b"\r\n") == [
                b"GET /b?c=%20 HTTP/1.1",
                b"Host: 127.0.0.1:%d" % origin.port,
                b"Accept: x",
                b"User-Agent: y",
                b"X-Forwarded-Host: site.test",
                b"X-Forwarded-Proto: http",
                b"CDN-Loop: npserver",
                b"X-Forwarded-For: 127.0.0.1",
                b"X-Real-IP: 127.0.0.1",
                b"",
                b"",
            ]

    async def test_is_the_same_when_cached(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            for _ in range(3):
                await stage.ask(get("/a", "Cookie: a\r\n"))
            requests = origin.seen.split(b"\r\n\r\n")[:-1]
            assert len(requests) == 3
            assert len(set(requests)) == 1

    async def test_hop_by_hop_fields_are_removed_rfc9110_7_6_1(self) -> None:
        fields = (
            "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"
            "Proxy-Authorization: x\r\nUpgrade: foo\r\nTE: gzip\r\nHTTP2-Settings: x\r\nX-Kept: 2\r\n"
        )
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            await stage.ask(get("/", fields))
            seen = origin.seen.lower()
            for name in (b"secret", b"keep-alive", b"proxy-", b"upgrade", b"te:", b"http2", b"connection"):
                assert name not in seen
            assert b"x-kept: 2\r\n" in seen

    async def test_te_trailers_is_said_by_us(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            await stage.ask(get("/", "TE: trailers, gzip\r\nConnection: TE\r\n"))
            assert b"TE: trailers\r\nConnection: TE\r\n" in origin.seen
            assert origin.seen.count(b"TE") == 2

    async def test_host_can_be_preserved(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, preserve_host=True) as stage:
            await stage.ask(get(host="Site.test:81"))
            assert b"\r\nHost: Site.test:81\r\n" in origin.seen

    async def test_rule_headers_change_the_request(self) -> None:
        headers = {"X-A": "$scheme $client_ip $host", "X-B": None, "Host": "other", "+X-C": "2"}
        async with Origin(answering(ok())) as origin, Stage(origin.url, headers=headers) as stage:
            await stage.ask(get("/", "X-A: forged\r\nX-B: 1\r\nX-C: 1\r\n"))
            assert b"\r\nX-A: http 127.0.0.1 site.test\r\n" in origin.seen
            assert b"X-B" not in origin.seen
            assert origin.seen.count(b"\r\nX-C:") == 2
            assert origin.seen.count(b"\r\nHost:") == 1
            assert b"\r\nHost: other\r\n" in origin.seen

    async def test_via_is_sent_where_asked(self) -> None:
        """RFC 9110 §7.6.3."""
        async with Origin(answering(ok())) as origin, Stage(origin.url, via=True) as stage:
            await stage.ask(get("/", "Via: 1.0 other\r\n"))
            assert b"\r\nVia: 1.0 other\r\n" in origin.seen
            assert b"\r\nVia: 1.1 npserver\r\n" in origin.seen

    async def test_loop_is_found(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            status, _, _ = await stage.ask(get("/", "CDN-Loop: " + ", ".join(["npserver"] * 8) + "\r\n"))
            assert status == 508
            assert origin.seen == b""


class TestPath:
    @pytest.mark.parametrize(
        ("base", "rule", "asked", "passed"),
        [
            ("", {}, "/a", "/a"),
            ("/", {}, "/a", "/a"),
            ("/base", {}, "/a?q", "/base/a?q"),
            ("/base/", {}, "/a", "/base/a"),
            ("", {"path": "/api/**", "strip_prefix": True}, "/api/x", "/x"),
            ("", {"path": "/api/**", "strip_prefix": True}, "/api", "/"),
            ("", {"path": "/api/**", "strip_prefix": True}, "/apis", "/apis"),
            ("/v1", {"path": "/api/**", "strip_prefix": True}, "/api/x", "/v1/x"),
            ("", {"strip_prefix": "/one"}, "/one/two", "/two"),
            ("", {"rewrite": {"^/old/(.*)$": "/new/$1"}}, "/old/x?q", "/new/x?q"),
            ("", {"rewrite": {"^/u/(\\d+)$": "/user?id=$1"}}, "/u/7?x=y", "/user?id=7&x=y"),
            ("", {"rewrite": {"^/a": "/b", "^/b": "/c"}}, "/a", "/b"),
            ("", {}, "/a//b///c//", "/a/b/c/"),
            ("", {"merge_slashes": False}, "/a//b///c//?q//", "/a//b///c//?q//"),
            ("", {"merge_slashes": False}, "/unsafe/http://x.test//y%2e.jpg", "/unsafe/http://x.test//y..jpg"),
            ("", {"merge_slashes": False}, "//x.test//a", "/x.test//a"),
            ("", {"merge_slashes": False}, "/a//./b", "/a//b"),
            ("", {"merge_slashes": False}, "/a//../b", "/b"),
            ("", {"merge_slashes": False}, "/a/b//../c", "/a/c"),
            ("/base", {"merge_slashes": False}, "/a//b", "/base/a//b"),
            ("", {"path": "/api/**", "strip_prefix": True, "merge_slashes": False}, "/api//x//y", "/x//y"),
            ("", {"path": "/a/b/**", "strip_prefix": True, "merge_slashes": False}, "/a//b//x//y", "/x/y"),
            ("", {"rewrite": {"^/old/(.*)$": "/new//$1"}, "merge_slashes": False}, "/old/x//y", "/new//x//y"),
        ],
    )
    async def test_a_path_is_mapped(self, base: str, rule: dict[str, object], asked: str, passed: str) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url + base, **rule) as stage:
            await stage.ask(get(asked))
            assert origin.seen.startswith(f"GET {passed} HTTP/1.1\r\n".encode())

    async def test_rewriting_cannot_leave_the_root(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, rewrite={"^/x(.*)$": "$1"}) as stage:
            status, _, _ = await stage.ask(get("/x..%2f../etc"))
            assert status == 400
            assert origin.seen == b""


class TestRequestBody:
    async def test_a_body_with_length_keeps_it(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            await stage.ask(post(b"hello"))
            assert origin.seen.endswith(b"Content-Length: 5\r\n\r\nhello")

    async def test_none_is_said_where_one_is_expected_rfc9110_8_6(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            await stage.ask(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert origin.seen.endswith(b"Content-Length: 0\r\n\r\n")

    async def test_chunks_are_framed_again(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            await client.send(b"5;ext=1\r\nhello\r\n00a\r\n0123456789\r\n0\r\nX-T: 1\r\nHost: forged\r\n\r\n")
            assert (await client.answer())[0] == 200
            body = origin.seen.partition(b"\r\n\r\n")[2]
            assert b"ext" not in body
            assert b"forged" not in body
            assert body.endswith(b"0\r\nX-T: 1\r\n\r\n")

    async def test_large_body_arrives_whole(self) -> None:
        received = []

        async def script(connection: Connection) -> None:
            received.append(await connection.body(await connection.head()))
            await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(post(LARGE)))[0] == 200
            assert received == [LARGE]

    async def test_slow_upstream_slows_the_client(self) -> None:
        go_on = asyncio.Event()

        async def script(connection: Connection) -> None:
            head = await connection.head()
            await go_on.wait()
            await connection.body(head)
            await connection.send(ok())

        size = 32 << 20
        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            client.writer.write(bytes(size))
            (server,) = await until(lambda: list(stage.context.connections))
            await until(lambda: not server.is_reading)
            before = client.writer.transport.get_write_buffer_size()
            assert before > size // 2  # kernel buffers hold some of it, we hold next to nothing
            go_on.set()
            assert (await client.answer())[0] == 200
            assert server.is_reading

    async def test_expect_100_is_the_upstreams_to_answer_rfc9110_10_1_1(self) -> None:
        async def script(connection: Connection) -> None:
            head = await connection.head()
            assert b"\r\nExpect: 100-continue\r\n" in head
            await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await connection.body(head)
            await connection.send(ok())

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            request = post(b"hello", "Expect: 100-continue\r\n")
            await client.send(request[:-5])
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert origin.seen.endswith(b"\r\n\r\n")
            await client.send(b"hello")
            assert (await client.answer())[0] == 200
            assert origin.seen.endswith(b"hello")

    async def test_expect_100_can_be_refused(self) -> None:
        refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(refusal)
            await connection.read()

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(post(b"hello", "Expect: 100-continue\r\n")[:-5])
            assert (await client.answer())[0] == 413
            await until(lambda: not stage.proxy.upstream.targets[0].pool.idle)
            assert not origin.seen.endswith(b"hello")

    async def test_expect_100_is_not_waited_for_forever(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(post(b"hello", "Expect: 100-continue\r\n")[:-5])
            await until(lambda: origin.seen)
            stage.pass_time(2)
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"hello")
            assert (await client.answer())[0] == 200

    async def test_client_that_breaks_off_breaks_off_upstream(self) -> None:
        ended = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.head()
            while await connection.read():
                pass
            ended.set()

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhel")
            await until(lambda: origin.seen.endswith(b"hel"))
            client.close()
            await asyncio.wait_for(ended.wait(), WAIT_S)
            await until(lambda: stage.loads == [0])
