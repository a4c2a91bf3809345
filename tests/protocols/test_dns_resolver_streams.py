"""Resolvers over TCP and TLS that delay, reorder, lie, close in the middle, or are not who they say.

Covers `nameserver.resolver.channel`, `nameserver.resolver.connection` and `nameserver.resolver.stream_connection`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.flags
import dns.message
import pytest

from npserver.nameserver.resolver import channel
from npserver.nameserver.resolver.address import ResolverAddress
from npserver.nameserver.resolver.client import ResolverClient
from npserver.nameserver.resolver.connection import IDLE_S
from npserver.nameserver.resolver.stream_connection import MAX_STRAYS
from tests.stage.resolvers import Script, Stage, StreamResolver, StreamTalk, answered, ask, is_good, query, serve, until


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def server_context(certificate: Any, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def start(stage: Stage, script: Script, certificate: Any = None) -> tuple[StreamResolver, ResolverAddress]:
    """Start a resolver, over TLS if there is a certificate."""
    tls = None if certificate is None else server_context(certificate, "dot")
    resolver = await StreamResolver(script, tls).start()
    stage.started.append(resolver)  # type: ignore[arg-type]
    scheme, name = ("tcp", "") if certificate is None else ("tls", "localhost")
    return resolver, ResolverAddress(scheme, "127.0.0.1", resolver.port, name)


async def client_of(stage: Stage, *scripts: Script, **settings: Any) -> ResolverClient:
    return stage.client_of(*[(await start(stage, script))[1] for script in scripts], **settings)


def names(count: int) -> list[Any]:
    return [query(f"n{number}.example.net", number) for number in range(count)]


@pytest.mark.parametrize("is_tls", [False, True])
async def test_questions_share_a_connection(stage: Stage, certificates: Callable[..., Any], is_tls: bool) -> None:
    certificate = certificates()
    resolver, address = await start(stage, serve, certificate if is_tls else None)
    client = stage.client_of(address, tls=certificate.client() if is_tls else None)
    replies = await asyncio.gather(*[ask(client, one) for one in names(200)])
    assert all(map(is_good, replies))
    assert [reply.id for reply in replies] == list(range(200))
    assert is_good(await ask(client, query("later.example.net")))
    assert resolver.connections == 1
    assert len({one.id for one in resolver.asked}) > 190
    assert {one.question[0].name.to_text().islower() for one in resolver.asked} == {True}
    assert all(len(one.wire or b"") % 128 == 0 for one in resolver.asked) or not is_tls


async def test_answers_come_in_any_order(stage: Stage) -> None:
    async def backwards(talk: StreamTalk) -> None:
        asked = [await talk.question() for _ in range(20)]
        talk.send(*[answered(one) for one in reversed(asked)])
        await serve(talk)

    client = await client_of(stage, backwards)
    replies = await asyncio.gather(*[ask(client, one) for one in names(20)])
    assert all(map(is_good, replies))
    assert [str(reply.question[0].name) for reply in replies] == [f"n{number}.example.net." for number in range(20)]


async def test_messages_in_pieces_and_together(stage: Stage) -> None:
    async def slowly(talk: StreamTalk) -> None:
        asked = [await talk.question() for _ in range(3)]
        data = b"".join([len(one).to_bytes(2, "big") + one for one in map(answered, asked)])
        for byte in data[:90]:
            talk.writer.write(bytes([byte]))
            await talk.writer.drain()
            await asyncio.sleep(0)
        talk.writer.write(data[90:])
        await talk.reader.read()

    client = await client_of(stage, slowly)
    assert all(map(is_good, await asyncio.gather(*[ask(client, one) for one in names(3)])))


async def test_questions_of_a_lost_connection_are_asked_again(stage: Stage) -> None:
    """The first connection answers one of five questions and closes in the middle of the next answer."""

    async def script(talk: StreamTalk) -> None:
        if talk.resolver.connections > 1:
            await serve(talk)
        asked = [await talk.question() for _ in range(5)]
        talk.send(answered(asked[0]))
        talk.writer.write(b"\0\x40half")
        await talk.writer.drain()

    client = await client_of(stage, script)
    assert all(map(is_good, await asyncio.gather(*[ask(client, one) for one in names(5)])))
    (resolver,) = stage.started
    assert resolver.connections == 2  # type: ignore[attr-defined]


async def test_a_resolver_that_closes_when_idle_is_asked_again(stage: Stage) -> None:
    async def once(talk: StreamTalk) -> None:
        talk.send(answered(await talk.question()))

    client = await client_of(stage, once)
    (resolver,) = stage.started
    for number in range(3):
        assert is_good(await ask(client, query(f"n{number}.example.net")))
        await until(lambda: stage.live[0].channel.connection is None)
    assert resolver.connections == 3  # type: ignore[attr-defined]
    assert not stage.live[0].failures


async def test_a_resolver_that_closes_each_connection_is_not_asked_in_a_loop(stage: Stage) -> None:
    async def cut(talk: StreamTalk) -> None:
        talk.cut()

    client = await client_of(stage, cut, serve)
    replies = await asyncio.gather(*[ask(client, one) for one in names(50)])
    assert all(map(is_good, replies))
    first = stage.started[0]
    assert first.connections == 1  # type: ignore[attr-defined]
    assert stage.live[0].is_down


async def test_the_only_resolver_fails_at_once_while_it_cannot_be_connected_to(stage: Stage) -> None:
    client = await client_of(stage, serve)
    stage.started[0].stop()
    for number in range(5):
        reply = await ask(client, query(f"n{number}.example.net", use_edns=0))
        assert reply.rcode() == 2
        assert [str(one) for one in reply.options] == ["EDE 23 (Network Error)"]
    assert stage.live[0].channel._paused_until > stage.loop.time() - 1


async def test_a_connection_that_has_fallen_silent_is_given_up(stage: Stage) -> None:
    """Its first connection takes questions and says nothing any more, as one whose other end has vanished."""

    async def script(talk: StreamTalk) -> None:
        if talk.resolver.connections > 1:
            await serve(talk)
        talk.send(answered(await talk.question()))
        await talk.reader.read()

    client = await client_of(stage, script, timeout_s=0.1)
    assert is_good(await ask(client, query("first.example.net")))
    assert is_good(await ask(client, query("second.example.net")))
    assert stage.started[0].connections == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "forge",
    [
        lambda good: good.replace(b"example", b"exbmple"),
        lambda good: good[:2] + bytes(len(good) - 2),
        lambda good: good[:-1],
        lambda good: good[:2] + bytes([good[2] & 0x7F]) + good[3:],
    ],
    ids=["question", "zeros", "cut off", "a query"],
)
async def test_messages_that_answer_nothing_are_passed_over(stage: Stage, forge: Callable[[bytes], bytes]) -> None:
    async def script(talk: StreamTalk) -> None:
        good = answered(await talk.question())
        talk.send(forge(good), bytes([good[0] ^ 1]) + good[1:], good)
        await serve(talk)

    client = await client_of(stage, script)
    assert is_good(await ask(client, query()))
    assert is_good(await ask(client, query("other.example.net")))
    assert stage.started[0].connections == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("garbage", [b"\0\0", b"\0\x05short", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3000])
async def test_garbage_loses_the_connection(stage: Stage, garbage: bytes) -> None:
    async def script(talk: StreamTalk) -> None:
        await talk.question()
        talk.writer.write(garbage)
        await talk.reader.read()

    client = await client_of(stage, script, serve, timeout_s=0.2)
    assert is_good(await ask(client, query()))


async def test_too_many_strays_lose_the_connection(stage: Stage) -> None:
    async def script(talk: StreamTalk) -> None:
        good = answered(await talk.question())
        talk.send(*[bytes([good[0] ^ 1]) + good[1:]] * MAX_STRAYS)
        await talk.reader.read()

    client = await client_of(stage, script, serve)
    assert is_good(await ask(client, query()))
    assert stage.started[0].connections <= channel.MAX_SENDS  # type: ignore[attr-defined]


async def test_a_truncated_answer_over_a_stream_is_none(stage: Stage) -> None:
    async def script(talk: StreamTalk) -> None:
        while True:
            talk.send(answered(await talk.question(), flags=dns.flags.TC))

    client = await client_of(stage, script, serve, timeout_s=0.05)
    assert is_good(await ask(client, query()))


async def test_an_idle_connection_is_closed(stage: Stage) -> None:
    client = await client_of(stage, serve)
    assert is_good(await ask(client, query()))
    connection = stage.live[0].channel.connection
    assert connection is not None
    now = stage.loop.time()
    assert now < connection.deadline <= now + IDLE_S  # type: ignore[attr-defined]
    connection.expire(now)  # type: ignore[attr-defined]
    await until(lambda: not stage.started[0].open)  # type: ignore[attr-defined]
    assert stage.live[0].channel.connection is None
    assert is_good(await ask(client, query("other.example.net")))
    stage.context.draining = True
    assert is_good(await ask(client, query("last.example.net")))
    await until(lambda: not stage.started[0].open)  # type: ignore[attr-defined]


async def test_a_question_nobody_waits_for_keeps_its_id(stage: Stage) -> None:
    """The answer comes late, when another question could have the same id."""

    async def script(talk: StreamTalk) -> None:
        late = await talk.question()
        talk.send(answered(await talk.question()), answered(late))
        await serve(talk)

    client = await client_of(stage, script, total_s=0.1)
    assert (await ask(client, query("late.example.net"))).rcode() == 2
    client._total_s = 20
    connection: Any = stage.live[0].channel.connection
    assert list(connection._exchanges.values()) == [None]
    for number in range(30):
        assert is_good(await ask(client, query(f"n{number}.example.net")))
    assert not connection._exchanges
    assert stage.started[0].connections == 1  # type: ignore[attr-defined]


# ── TLS ──


async def test_a_resolver_must_have_the_name_and_the_authority(stage: Stage, certificates: Callable[..., Any]) -> None:
    right, other = certificates("localhost"), certificates("elsewhere.example")
    for certificate, trust in ((other, right.client()), (right, ssl.create_default_context())):
        resolver, address = await start(stage, serve, certificate)
        client = stage.client_of(address, tls=trust)
        reply = await ask(client, query(use_edns=0))
        assert reply.rcode() == 2
        assert not resolver.asked
        assert "certificate" in stage.live[0].channel._reason


async def test_an_address_is_verified_as_one(stage: Stage, certificates: Callable[..., Any]) -> None:
    certificate = certificates("127.0.0.1")
    resolver, _ = await start(stage, serve, certificate)
    for name, is_right in (("127.0.0.1", True), ("127.0.0.2", False)):
        client = stage.client_of(ResolverAddress("tls", "127.0.0.1", resolver.port, name), tls=certificate.client())
        assert is_good(await ask(client, query())) is is_right


async def test_tls_that_closes_in_the_middle_is_connected_to_again(
    stage: Stage, certificates: Callable[..., Any]
) -> None:
    async def script(talk: StreamTalk) -> None:
        if talk.resolver.connections > 1:
            await serve(talk)
        talk.send(answered(await talk.question()))
        await talk.question()
        talk.cut()

    certificate = certificates()
    resolver, address = await start(stage, script, certificate)
    client = stage.client_of(address, tls=certificate.client())
    assert is_good(await ask(client, query("first.example.net")))
    assert all(map(is_good, await asyncio.gather(*[ask(client, one) for one in names(10)])))
    assert resolver.connections == 2


async def test_a_plain_server_in_place_of_tls_is_a_failure(stage: Stage, certificates: Callable[..., Any]) -> None:
    async def plain(talk: StreamTalk) -> None:
        talk.writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await talk.reader.read()

    resolver, _ = await start(stage, plain)
    wrong = ResolverAddress("tls", "127.0.0.1", resolver.port, "localhost")
    client = stage.client_of(wrong, tls=certificates().client())
    assert (await ask(client, query())).rcode() == 2
