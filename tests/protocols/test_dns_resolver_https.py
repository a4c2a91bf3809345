"""Resolvers over HTTPS (RFC 8484) that answer, refuse, lie, flood, reset and leave; by the library `h2`.

Covers `nameserver.resolver.https_connection`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.message
import pytest

from npserver.nameserver.resolver.address import ResolverAddress
from npserver.nameserver.resolver.client import ResolverClient
from tests.protocols.test_dns_resolver_streams import server_context, stage
from tests.stage.http2_origin import REFUSED, Handler, Http2Origin, Received
from tests.stage.resolvers import Stage, answered, ask, is_good, query, until

__all__ = ["stage"]

TYPE = [("content-type", "application/dns-message")]


@asynccontextmanager
async def resolving(
    stage: Stage,
    certificates: Callable[..., Any],
    *handlers: Handler,
    name: str = "localhost",
    alpn: tuple[str, ...] = ("h2",),
    settings: dict[int, int] | None = None,
    **more: Any,
) -> AsyncIterator[tuple[ResolverClient, list[Http2Origin]]]:
    """Yield a client of resolvers with these handlers, and the resolvers."""
    certificate = certificates("localhost")
    trust: ssl.SSLContext = certificate.client()
    trust.set_alpn_protocols(["h2"])
    origins = [
        Http2Origin(handler, context=server_context(certificate, *alpn), settings=settings) for handler in handlers
    ]
    for origin in origins:
        await origin.open()
    addresses = [
        ResolverAddress("https", "127.0.0.1", origin.port, name, f"{name}:{origin.port}", "/dns-query?x=1")
        for origin in origins
    ]
    try:
        yield stage.client_of(*addresses, tls=trust, **more), origins
    finally:
        for live in stage.live:
            if live.channel.connection is not None:
                live.channel.connection.close()
        for origin in origins:
            await origin.__aexit__()


async def answer(request: Received) -> None:
    """Answer as a resolver does."""
    await request.respond(answered(dns.message.from_wire(await request.whole())), fields=TYPE)


async def test_questions_are_posts_on_one_connection(stage: Stage, certificates: Callable[..., Any]) -> None:
    async with resolving(stage, certificates, answer) as (client, (origin,)):
        asked = [query(f"n{number}.example.net", number) for number in range(150)]
        replies = await asyncio.gather(*[ask(client, one) for one in asked])
        assert all(map(is_good, replies))
        assert [reply.id for reply in replies] == list(range(150))
        assert len(origin.connections) == 1
        request = origin.requests[0]
        assert (request[":method"], request[":path"]) == ("POST", "/dns-query?x=1")
        assert request[":authority"] == f"localhost:{origin.port}"
        assert request["content-type"] == request["accept"] == "application/dns-message"
        assert len(request.body) == int(request["content-length"])
        assert len(request.body) % 128 == 0
        assert {one.body[:2] for one in origin.requests} == {b"\0\0"}  # RFC 8484 §4.1


async def test_the_resolvers_limit_of_streams_holds(stage: Stage, certificates: Callable[..., Any]) -> None:
    running = most = 0

    async def counted(request: Received) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        await answer(request)

    async with resolving(stage, certificates, counted, settings={3: 4}) as (client, _):
        asked = [query(f"n{number}.example.net") for number in range(40)]
        assert all(map(is_good, await asyncio.gather(*[ask(client, one) for one in asked])))
        assert most <= 4


async def failing_status(request: Received) -> None:
    await request.whole()
    await request.respond(b"no", status=503)


async def not_dns(request: Received) -> None:
    await request.respond(
        answered(dns.message.from_wire(await request.whole())), fields=[("content-type", "text/html")]
    )


async def no_type(request: Received) -> None:
    await request.respond(answered(dns.message.from_wire(await request.whole())))


async def another_question(request: Received) -> None:
    asked = dns.message.from_wire(await request.whole())
    await request.respond(answered(dns.message.make_query("other.example.net", "A", id=asked.id)), fields=TYPE)


async def another_id(request: Received) -> None:
    good = answered(dns.message.from_wire(await request.whole()))
    await request.respond(b"\x12\x34" + good[2:], fields=TYPE)


async def garbage(request: Received) -> None:
    await request.whole()
    await request.respond(bytes(range(256)) * 2, fields=TYPE)


async def nothing(request: Received) -> None:
    await request.whole()
    await request.respond(b"", fields=TYPE)


async def endless(request: Received) -> None:
    await request.whole()
    request.head(fields=TYPE)
    while request.reset is None and not request.connection.is_lost:
        await request.data(bytes(16_384))
        await asyncio.sleep(0)


async def reset(request: Received) -> None:
    await request.whole()
    request.cut(2)


async def refused(request: Received) -> None:
    await request.whole()
    request.cut(REFUSED)


async def cut(request: Received) -> None:
    await request.whole()
    request.connection.transport.abort()


async def half(request: Received) -> None:
    await request.whole()
    request.head(fields=TYPE)
    await request.data(b"half")
    request.connection.transport.abort()


async def goaway_error(request: Received) -> None:
    await request.whole()
    request.connection.go_away(0, 11)


LIES = [
    failing_status, not_dns, no_type, another_question, another_id, garbage, nothing, endless, reset, refused, cut,
    half, goaway_error,
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=[lie.__name__ for lie in LIES])
async def test_what_is_no_answer_is_a_failure(stage: Stage, certificates: Callable[..., Any], lie: Handler) -> None:
    async with resolving(stage, certificates, lie, answer) as (client, origins):
        assert is_good(await ask(client, query()))
        assert origins[0].requests
    async with resolving(stage, certificates, lie) as (client, origins):
        reply = await ask(client, query("alone.example.net", use_edns=0))
        assert reply.rcode() == 2
        assert len(origins[0].requests) <= 3


async def test_a_resolver_that_says_nothing_is_waited_for_as_long_as_a_question_lasts(
    stage: Stage, certificates: Callable[..., Any]
) -> None:
    async def silent(request: Received) -> None:
        await request.whole()

    async with resolving(stage, certificates, silent, timeout_s=0.05, total_s=0.5) as (client, _):
        assert (await ask(client, query())).rcode() == 2
    async with resolving(stage, certificates, silent, answer, timeout_s=0.05) as (client, _):
        assert is_good(await ask(client, query()))


async def test_a_resolver_that_leaves_is_asked_on_a_new_connection(
    stage: Stage, certificates: Callable[..., Any]
) -> None:
    async def leaving(request: Received) -> None:
        request.connection.go_away(request.stream)
        await answer(request)

    async with resolving(stage, certificates, leaving) as (client, (origin,)):
        for number in range(4):
            assert is_good(await ask(client, query(f"n{number}.example.net")))
        assert len(origin.connections) == 4
        assert not stage.live[0].failures


async def test_questions_that_were_not_processed_are_asked_again(
    stage: Stage, certificates: Callable[..., Any]
) -> None:
    async def picky(request: Received) -> None:
        if len(request.connection.origin.connections) > 1 or request.stream == 1:
            await answer(request)
        else:
            request.connection.go_away(1)

    async with resolving(stage, certificates, picky) as (client, (origin,)):
        assert is_good(await ask(client, query("first.example.net")))
        asked = [query(f"n{number}.example.net") for number in range(10)]
        assert all(map(is_good, await asyncio.gather(*[ask(client, one) for one in asked])))
        assert len(origin.connections) == 2


async def test_an_idle_connection_is_closed(stage: Stage, certificates: Callable[..., Any]) -> None:
    async with resolving(stage, certificates, answer) as (client, (origin,)):
        assert is_good(await ask(client, query()))
        connection: Any = stage.live[0].channel.connection
        assert connection.deadline <= stage.loop.time() + 15
        connection.expire(0.0)
        await until(lambda: origin.connections[0].is_lost)
        assert origin.connections[0].went_away == 0
        assert is_good(await ask(client, query("other.example.net")))


async def test_a_server_without_http2_is_a_failure(stage: Stage, certificates: Callable[..., Any]) -> None:
    async with resolving(stage, certificates, answer, alpn=("http/1.1",)) as (client, (origin,)):
        assert (await ask(client, query())).rcode() == 2
        assert not origin.requests
    async with resolving(stage, certificates, answer, alpn=()) as (client, _):
        assert (await ask(client, query())).rcode() == 2
        assert "ALPN" in stage.live[0].channel._reason


async def test_the_name_is_verified(stage: Stage, certificates: Callable[..., Any]) -> None:
    async with resolving(stage, certificates, answer, name="elsewhere.example") as (client, (origin,)):
        assert (await ask(client, query())).rcode() == 2
        assert not origin.requests
