"""The response cache over real sockets: hits, misses, validation, stale responses, collapsing, parts.

Covers `web.handlers.proxy.cache.handler`, `web.handlers.proxy.cache.fill`, `web.handlers.proxy.cache.fill_body`,
`web.handlers.proxy.cache.fill_exchange`, `web.handlers.proxy.cache.reader`, `web.handlers.proxy.cache.answer`,
`web.handlers.proxy.cache.passed`, `web.handlers.proxy.cache.wanted` and `web.handlers.proxy.cache.response_head`.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from npserver.web.handlers.proxy.cache.entry import IN_MEMORY_BYTES
from tests.protocols.caching import FRESH, caching
from tests.protocols.proxying import Client, Connection, Origin, Stage, get, post, until

LARGE = bytes(range(256)) * (IN_MEMORY_BYTES // 128)  # twice what is kept in memory


@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["empty", "in memory", "in a file"])
async def test_second_request_is_answered_from_the_cache(tmp_path: Path, body: bytes) -> None:
    async with caching(tmp_path) as one:
        one.body = body
        one.fields = FRESH + b"Content-Type: text/css\r\nX-Own: a\r\n"
        first = await one.ask("/a?b")
        one.pass_time(7)
        second = await one.ask("/a?b")
        assert one.count == 1
    assert (first.status, first.body, first.cache_status) == (200, body, "fwd=uri-miss; stored")
    assert (second.status, second.body, second.cache_status) == (200, body, "hit")
    assert second.field("Cache-Status") == "npserver; hit; ttl=53"
    assert (first.field("Age"), second.field("Age")) == ("", "7")
    assert second.field("Content-Type") == "text/css"
    assert second.field("X-Own") == "a"
    assert second.field("Content-Length") == str(len(body))


async def test_a_request_that_comes_often_is_answered_by_the_present_response(tmp_path: Path) -> None:
    """From the memory of the connection's front, of which nothing is left within 10 ms."""
    async with caching(tmp_path) as one:

        async def ask_until(body: bytes, age: str) -> None:
            async with asyncio.timeout(30):
                while ((found := await one.ask()).body, found.field("Age")) != (body, age):
                    assert found.status == 200

        for _ in range(6):
            assert (await one.ask()).body == b"1"
        assert one.count == 1
        assert any(kept.hit is not None for kept in one.handler.store.known.values()), "the short way is taken"
        one.pass_time(7)
        await ask_until(b"1", "7")
        assert (await one.ask(fields="Cache-Control: no-cache\r\n")).body == b"2"
        await ask_until(b"2", "0")
        for file in one.files:
            file.unlink()
        await ask_until(b"3", "0")
        one.pass_time(60)
        await ask_until(b"4", "0")
        assert (await one.ask(method="DELETE")).status == 200
        assert (await one.ask()).body == b"6", "at once, at the worker that saw the change"


async def test_requests_that_differ_have_responses_of_their_own(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        paths = ["/a", "/a?", "/a?x", "/b", "/A"]
        first = [(await one.ask(path)).body for path in paths] + [(await one.ask("/a", host="other.test")).body]
        assert len(set(first)) == 6
        again = [(await one.ask(path)).body for path in paths] + [(await one.ask("/a", host="OTHER.test")).body]
        assert again == first


async def test_what_does_not_say_how_long_is_not_stored_but_by_default_ttl(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = b""
        assert [(await one.ask()).body for _ in range(2)] == [b"1", b"2"]
        assert one.files == []
    async with caching(tmp_path, default_ttl="10s") as one:
        one.fields = b""
        assert [(await one.ask()).body for _ in range(2)] == [b"1", b"1"]
        one.pass_time(10)
        assert (await one.ask()).body == b"2"


async def test_a_response_in_pieces_is_sent_as_it_arrives_and_stored_when_whole(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        gates = [asyncio.Event() for _ in range(2)]

        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(b"HTTP/1.1 200 OK\r\n" + FRESH + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await gates[0].wait()
            await connection.send(b"3\r\ntwo\r\n")
            await gates[1].wait()
            await connection.send(b"0\r\n\r\n")

        async with Origin(script) as origin, Stage(origin.url, cache=one.cache) as stage:
            first, second = await stage.client(), await stage.client()
            await first.send(get())
            assert b"chunked" in await first.head()
            assert await first.reader.readexactly(8) == b"3\r\none\r\n"
            await second.send(get())  # joins amid the response
            assert b"collapsed" in await second.head()
            assert await second.reader.readexactly(8) == b"3\r\none\r\n"
            assert one.files == []
            gates[0].set()
            for client in (first, second):
                assert await client.reader.readexactly(8) == b"3\r\ntwo\r\n"
            gates[1].set()
            for client in (first, second):
                assert await client.reader.readexactly(5) == b"0\r\n\r\n"
            await until(lambda: one.files)
            status, head, body = await stage.ask(get())
            assert (status, body) == (200, b"onetwo")
            assert b"Content-Length: 6" in head
            assert len(origin.connections) == 1


async def test_a_response_that_breaks_off_is_not_stored(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.answer = b"HTTP/1.1 200 OK\r\n" + FRESH + b"Content-Length: 9\r\n\r\nhalf"
        client = await one.stage.client()
        await client.send(get())
        await client.head()
        assert await client.reader.readexactly(4) == b"half"
        one.stage.pass_time(61)  # `timeouts.read`
        assert await client.rest() == b""
        assert one.files == []
        assert list((tmp_path / ".new").iterdir()) == []


# ── validation ──


async def test_a_stale_response_is_validated_and_updated(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b'ETag: "a"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Own: old\r\n'
        await one.ask()
        one.pass_time(60)
        one.answer = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nCache-Control: max-age=5\r\nX-Own: new\r\n\r\n'
        validated = await one.ask()
        assert b'\r\nIf-None-Match: "a"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n' in one.heads[1]
        assert (validated.status, validated.body, validated.field("X-Own")) == (200, b"1", "new")
        assert validated.cache_status == "fwd=stale; fwd-status=304"
        one.pass_time(4)
        hit = await one.ask()
        assert (hit.body, hit.field("X-Own"), hit.field("Age"), one.count) == (b"1", "new", "4", 2)
        one.pass_time(1)
        one.answer = b""
        replaced = await one.ask()
        assert (replaced.body, replaced.cache_status, one.count) == (b"3", "fwd=stale; stored", 3)


async def test_what_was_asked_for_and_other_variants_are_told_from_misses(tmp_path: Path) -> None:
    """RFC 9211 §2.2."""
    async with caching(tmp_path) as one:
        one.fields = FRESH + b'Vary: Accept-Language\r\nETag: "a"\r\n'
        assert (await one.ask(fields="Accept-Language: de\r\n")).cache_status == "fwd=uri-miss; stored"
        assert (await one.ask(fields="Accept-Language: fr\r\n")).cache_status == "fwd=vary-miss; stored"
        assert (await one.ask(fields="Accept-Language: it\r\n", method="HEAD")).cache_status == "fwd=vary-miss"
        demand = "Accept-Language: de\r\nCache-Control: no-cache\r\n"
        assert (await one.ask(fields=demand)).cache_status == "fwd=request; stored"
        one.answer = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'
        assert (await one.ask(fields=demand)).cache_status == "fwd=request; fwd-status=304"


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["in memory", "in a file"])
async def test_no_cache_is_validated_each_time(tmp_path: Path, body: bytes) -> None:
    """cache-handler#135: `no-cache` was served without validation."""
    async with caching(tmp_path) as one:
        one.body = body
        one.fields = b'Cache-Control: no-cache\r\nETag: "a"\r\n'
        assert (await one.ask()).body == body
        one.answer = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'
        for count in (2, 3):
            assert (await one.ask()).body == body
            assert one.count == count


async def test_a_304_for_another_response_is_not_used(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b'ETag: "a"\r\n'
        await one.ask()
        one.pass_time(60)
        one.once = [b'HTTP/1.1 304 Not Modified\r\nETag: "b"\r\n\r\n']
        answer = await one.ask()
        assert answer.status == 200
        assert b"If-None-Match" not in one.heads[-1]


async def test_a_304_that_has_become_private_removes_the_response(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b'ETag: "a"\r\n'
        await one.ask()
        one.pass_time(60)
        one.answer = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nSet-Cookie: a=b\r\n\r\n'
        assert (await one.ask()).field("Set-Cookie") == "a=b"
        assert one.files == []


# ── stale responses ──


async def test_stale_while_revalidate(tmp_path: Path) -> None:
    async with caching(tmp_path, stale="10s") as one:
        await one.ask()
        one.pass_time(65)
        one.is_held.clear()
        stale = await one.ask()
        assert (stale.body, stale.field("Cache-Status")) == (b"1", "npserver; hit; ttl=-5")
        await until(lambda: one.count == 2)
        assert (await one.ask()).body == b"1", "it is being validated already"
        one.is_held.set()
        await until(lambda: not one.fills)
        assert (await one.ask()).body == b"2"
        assert one.count == 2
        one.pass_time(70)
        assert (await one.ask()).body == b"3", "older than `stale` allows"


async def test_a_stale_response_that_has_become_private_is_not_served_again(tmp_path: Path) -> None:
    async with caching(tmp_path, stale="1h") as one:
        await one.ask()
        one.pass_time(61)
        one.fields = b"Cache-Control: private\r\n"
        assert (await one.ask()).body == b"1"
        assert ((await one.ask()).body, one.files) == (b"3", [])


@pytest.mark.parametrize("control", ["max-age=60", "max-age=60, stale-if-error=30"])
async def test_stale_if_error(tmp_path: Path, control: str) -> None:
    async with caching(tmp_path, stale_on_error="30s") as one:
        one.fields = f"Cache-Control: {control}\r\n".encode()
        await one.ask()
        one.pass_time(80)
        one.answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown"
        stale = await one.ask()
        assert (stale.status, stale.body, stale.cache_status) == (200, b"1", "hit; detail=stale-if-error")
        one.answer = b"nonsense"
        assert (await one.ask()).status == 200
        one.pass_time(10)
        assert (await one.ask()).status == 502


@pytest.mark.parametrize("key", ["stale", "stale_on_error"])
async def test_the_log_says_that_the_upstream_fails_while_stale_responses_are_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    async with caching(tmp_path, **{key: "1h"}) as one:
        await one.ask("/page")
        one.pass_time(61)
        one.answer = b"nonsense\r\n\r\n"
        assert (await one.ask("/page")).body == b"1"
        await until(lambda: not one.fills)
    sent = r"the stale response for GET /page was sent, as there is no new one: upstream .*: bad status line .*"
    assert len(re.findall(sent + r" \(dispatch\[0\]\.proxy_pass\)", caplog.text)) == 1


async def test_must_revalidate_is_never_served_stale(tmp_path: Path) -> None:
    async with caching(tmp_path, stale="1h", stale_on_error="1h") as one:
        one.fields = b"Cache-Control: max-age=60, must-revalidate\r\n"
        await one.ask()
        one.pass_time(60)
        one.answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown"
        assert (await one.ask()).status == 503


# ── conditions, parts, HEAD ──


@pytest.mark.parametrize("body", [b"0123456789", b"0123456789" * 20000], ids=["in memory", "in a file"])
async def test_head_conditions_and_ranges_from_the_stored_response(tmp_path: Path, body: bytes) -> None:
    async with caching(tmp_path) as one:
        one.body = body
        one.fields = FRESH + b'ETag: "a"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/css\r\n'
        await one.ask()
        head = await one.ask(method="HEAD")
        assert (head.status, head.field("Content-Length"), head.body) == (200, str(len(body)), b"")
        for condition in ('If-None-Match: "b", W/"a"', "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"):
            answer = await one.ask(fields=condition + "\r\n")
            assert (answer.status, answer.body, answer.field("ETag")) == (304, b"", '"a"')
            assert answer.field("Content-Type") == ""
        assert (await one.ask(fields='If-None-Match: "b"\r\n')).body == body
        part = await one.ask(fields="Range: bytes=2-4\r\n")
        assert (part.status, part.body, part.field("Content-Range")) == (206, b"234", f"bytes 2-4/{len(body)}")
        tail = await one.ask(fields="Range: bytes=-3\r\n")
        assert (tail.status, tail.body) == (206, b"789")
        assert (await one.ask(fields='Range: bytes=2-4\r\nIf-Range: "b"\r\n')).body == body
        assert (await one.ask(fields='Range: bytes=2-4\r\nIf-Range: "a"\r\n')).status == 206
        assert (await one.ask(fields="Range: bytes=1-2, 4-5\r\n")).body == body, "several are answered with the whole"
        beyond = await one.ask(fields=f"Range: bytes={len(body)}-\r\n")
        assert (beyond.status, beyond.field("Content-Range")) == (416, f"bytes */{len(body)}")
        assert one.count == 1


async def test_a_miss_with_conditions_stores_the_whole_and_answers_them(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b'ETag: "a"\r\n'
        answer = await one.ask(fields='If-None-Match: "a"\r\n')
        assert (answer.status, answer.body) == (304, b"")
        assert b"If-None-Match" not in one.heads[0]
        assert (await one.ask()).body == b"1"


@pytest.mark.parametrize(("method", "fields"), [("HEAD", ""), ("GET", "Range: bytes=0-0\r\n")])
async def test_head_and_ranges_that_miss_are_passed_on(tmp_path: Path, method: str, fields: str) -> None:
    async with caching(tmp_path) as one:
        one.answer = (
            b"HTTP/1.1 206 Partial Content\r\n" + FRESH + b"Content-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\n"
        )
        one.answer += b"" if method == "HEAD" else b"x"
        assert (await one.ask(method=method, fields=fields)).status == 206
        assert one.files == []


async def test_only_if_cached(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        assert (await one.ask(fields="Cache-Control: only-if-cached\r\n")).status == 504
        await one.ask()
        assert (await one.ask(fields="Cache-Control: only-if-cached\r\n")).body == b"1"
        assert one.count == 1


# ── invalidation, RFC 9111 §4.4 ──


@pytest.mark.parametrize(
    ("method", "status", "is_removed"),
    [("POST", 200, True), ("PUT", 204, True), ("DELETE", 301, True), ("PATCH", 404, False), ("OPTIONS", 200, False)],
)
async def test_what_changes_a_resource_removes_its_response(
    tmp_path: Path, method: str, status: int, is_removed: bool
) -> None:
    async with caching(tmp_path) as one:
        await one.ask("/a")
        await one.ask("/b")
        one.answer = b"HTTP/1.1 %d X\r\n%b\r\n" % (status, b"" if status == 204 else b"Content-Length: 0\r\n")
        assert (await one.ask("/a", method=method)).status == status
        one.answer = b""
        assert (await one.ask("/a")).body == (b"4" if is_removed else b"1")
        assert (await one.ask("/b")).body == b"2"


async def test_a_response_that_was_under_way_at_a_change_is_not_stored(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.is_held.clear()
        old = asyncio.create_task(one.ask())
        await until(lambda: one.count == 1)
        change = asyncio.create_task(one.ask(method="DELETE"))
        await until(lambda: one.count == 2)
        handler = one.handler
        handler.store.remove(next(iter(one.fills)))  # as the answer to DELETE does
        one.is_held.set()
        assert (await old).body == b"1"
        await change
        assert (await one.ask()).body == b"3"


async def test_kept_connections_serve_hits_and_misses_in_turn(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        client: Client = await one.stage.client()
        bodies = [(await client.ask(get(path)))[2] for path in ("/a", "/b", "/a", "/c", "/b", "/a")]
        assert bodies == [b"1", b"2", b"1", b"3", b"2", b"1"]


async def test_upgrades_and_bodies_are_passed_on(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.once = [b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nhello"]
        client = await one.stage.client()
        await client.send(get(fields="Connection: Upgrade\r\nUpgrade: raw\r\n"))
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.reader.readexactly(5) == b"hello"
        client.close()
        answer = await one.stage.ask(post(b"x" * 100_000))
        assert (answer[0], answer[2]) == (200, b"2")
        assert one.files == []
