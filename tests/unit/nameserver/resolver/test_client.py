"""Asking resolvers over real sockets: what is believed, who is asked next, what is shared and kept (RFC 5452)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.flags
import dns.message
import dns.rrset
import pytest

from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver import client as module
from npserver.nameserver.resolver.client import ResolverClient
from tests.stage.worker import make_context

Answer = Callable[["Resolver", dns.message.Message], list[bytes]]


def answered(query: dns.message.Message, *, rcode: int = 0, flags: int = 0, ttl: int = 60) -> bytes:
    reply = dns.message.make_response(query, recursion_available=True)
    reply.set_rcode(dns.rcode.Rcode(rcode))
    reply.flags |= flags
    if not rcode and not flags & dns.flags.TC:
        reply.answer.append(dns.rrset.from_text(query.question[0].name, ttl, "IN", "A", "198.51.100.7"))
    return reply.to_wire()


def plain(resolver: Resolver, query: dns.message.Message) -> list[bytes]:
    return [answered(query)]


def silent(resolver: Resolver, query: dns.message.Message) -> list[bytes]:
    return []


def failing(rcode: int) -> Answer:
    return lambda resolver, query: [answered(query, rcode=rcode)]


class Resolver(asyncio.DatagramProtocol):
    """A resolver on 127.0.0.1, over UDP and TCP, that answers as told."""

    def __init__(self, answer: Answer, by_stream: Answer = plain) -> None:
        self.answer = answer
        self.by_stream = by_stream
        self.asked: list[dns.message.Message] = []
        self.asked_by_stream = 0
        self.ports: list[int] = []
        self.address = ("127.0.0.1", 0)

    async def start(self) -> Resolver:
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = ("127.0.0.1", self._server.sockets[0].getsockname()[1])
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=self.address)
        return self

    def stop(self) -> None:
        self._transport.close()
        self._server.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append(query)
        self.ports.append(addr[1])
        for reply in self.answer(self, query):
            self._transport.sendto(reply, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_by_stream += 1
        size = int.from_bytes(await reader.readexactly(2), "big")
        for reply in self.by_stream(self, dns.message.from_wire(await reader.readexactly(size))):
            writer.write(len(reply).to_bytes(2, "big") + reply)
        writer.close()


class Stage:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.context = make_context(self.loop)
        self.resolvers: list[Resolver] = []

    async def client(self, *answers: Answer, timeout_s: float = 0.05, **settings: Any) -> ResolverClient:
        self.resolvers = [await Resolver(answer, **settings).start() for answer in answers]
        addresses = tuple(resolver.address for resolver in self.resolvers)
        return ResolverClient(self.context, addresses, timeout_s=timeout_s, cache_size=10)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.context.sweeper.close()
    for resolver in stage.resolvers:
        resolver.stop()


def query(name: str = "www.example.net", number: int = 7, **options: Any) -> Query:
    found = parse_query(dns.message.make_query(name, "A", id=number, **options).to_wire())
    assert isinstance(found, Query)
    return found


async def ask(client: ResolverClient, asked: Query, *, by_stream: bool = False) -> dns.message.Message:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    client.ask(asked, future.set_result, by_stream=by_stream)
    async with asyncio.timeout(5):
        return dns.message.from_wire(await future)


def is_good(reply: dns.message.Message) -> bool:
    return not reply.rcode() and str(reply.answer[0][0]) == "198.51.100.7"


async def test_an_answer_comes_back_as_asked(stage: Stage) -> None:
    client = await stage.client(plain)
    reply = await ask(client, query("wWw.Example.NET", 4711, use_edns=0))
    assert reply.id == 4711
    assert reply.question[0].name.to_text() == "wWw.Example.NET."
    assert is_good(reply)
    assert reply.flags & dns.flags.RA


async def test_ids_and_ports_differ(stage: Stage) -> None:  # RFC 5452 §9.2
    client = await stage.client(plain)
    for number in range(20):
        assert is_good(await ask(client, query(f"n{number}.example.net")))
    resolver = stage.resolvers[0]
    assert len({one.id for one in resolver.asked}) > 15
    assert len(set(resolver.ports)) > 15


async def test_answers_are_cached(stage: Stage) -> None:
    client = await stage.client(plain)
    for name in ("www.example.net", "WWW.example.net"):
        assert is_good(await ask(client, query(name)))
    assert len(stage.resolvers[0].asked) == 1


async def test_equal_questions_under_way_are_asked_once(stage: Stage) -> None:
    client = await stage.client(plain)
    replies = await asyncio.gather(*[ask(client, query(number=number)) for number in range(10)])
    assert [reply.id for reply in replies] == list(range(10))
    assert len(stage.resolvers[0].asked) == 1


@pytest.mark.parametrize(
    "forge",
    [
        lambda good: b"\0\0" + good[2:],
        lambda good: good.replace(b"example", b"exbmple"),
        lambda good: good[:-1],
        lambda good: b"",
    ],
    ids=["id", "question", "cut off", "empty"],
)
async def test_forged_replies_are_passed_over(stage: Stage, forge: Callable[[bytes], bytes]) -> None:
    def answer(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        good = answered(asked)
        return [forge(good), forge(good), good]

    assert is_good(await ask(await stage.client(answer, timeout_s=2), query()))


async def test_too_many_forged_replies_give_the_socket_up(stage: Stage) -> None:
    def answer(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [b"\0\0" + answered(asked)[2:]] * module.MAX_STRAYS

    client = await stage.client(answer, plain, timeout_s=2)
    assert is_good(await ask(client, query()))
    assert len(stage.resolvers[1].asked) == 1


@pytest.mark.parametrize(
    "first", [silent, failing(2), failing(5), failing(4)], ids=["silent", "servfail", "refused", "notimp"]
)
async def test_the_next_resolver_is_asked(stage: Stage, first: Answer) -> None:
    client = await stage.client(first, plain)
    assert is_good(await ask(client, query()))
    assert is_good(await ask(client, query("other.example.net")))
    assert len(stage.resolvers[0].asked) == 1  # the one that failed has lost its place
    assert len(stage.resolvers[1].asked) == 2


async def test_a_resolver_that_is_not_there(stage: Stage) -> None:
    client = await stage.client(plain, plain, timeout_s=5)
    stage.resolvers[0].stop()
    await asyncio.sleep(0)
    assert is_good(await ask(client, query()))


async def test_without_an_answer_there_is_servfail(stage: Stage) -> None:
    client = await stage.client(silent, silent)
    reply = await ask(client, query())
    assert (reply.rcode(), reply.id) == (2, 7)
    assert len(client._pending) == 0


async def test_a_failure_is_passed_on_if_nobody_knows_better(stage: Stage) -> None:
    client = await stage.client(failing(5), silent)
    assert (await ask(client, query())).rcode() == 5


async def test_no_such_name_is_an_answer(stage: Stage) -> None:
    client = await stage.client(failing(3), plain)
    assert (await ask(client, query())).rcode() == 3
    assert not stage.resolvers[1].asked


def truncated(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
    return [answered(asked, flags=dns.flags.TC)]


async def test_truncation_is_the_clients_business_over_udp(stage: Stage) -> None:
    client = await stage.client(truncated)
    assert (await ask(client, query())).flags & dns.flags.TC
    assert stage.resolvers[0].asked_by_stream == 0


async def test_truncation_is_ours_for_streams(stage: Stage) -> None:
    client = await stage.client(truncated)
    assert is_good(await ask(client, query(), by_stream=True))
    assert stage.resolvers[0].asked_by_stream == 1


@pytest.mark.parametrize("by_stream", [silent, lambda resolver, asked: [b"\0\0" + answered(asked)[2:]]])
async def test_a_stream_that_fails_is_servfail(stage: Stage, by_stream: Answer) -> None:
    client = await stage.client(truncated, by_stream=by_stream)
    assert (await ask(client, query(), by_stream=True)).rcode() == 2


async def test_an_unexpected_error_is_servfail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    client = await stage.client(truncated)
    monkeypatch.setattr(asyncio, "open_connection", broken)
    assert (await ask(client, query(), by_stream=True)).rcode() == 2


async def test_questions_under_way_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 3)
    monkeypatch.setattr(module, "MAX_SHARING", 2)
    client = await stage.client(silent, timeout_s=0.3)
    waiting = [asyncio.create_task(ask(client, query(f"n{number}.example.net"))) for number in (0, 0, 1, 2)]
    await asyncio.sleep(0)
    began = stage.loop.time()
    assert (await ask(client, query("n0.example.net"))).rcode() == 2
    assert (await ask(client, query("n3.example.net"))).rcode() == 2
    assert stage.loop.time() - began < 0.2
    assert {reply.rcode() for reply in await asyncio.gather(*waiting)} == {2}


async def test_edns_is_asked_with_only_for_clients_that_speak_it(stage: Stage) -> None:
    client = await stage.client(plain)
    assert (await ask(client, query())).edns == -1
    assert (await ask(client, query(use_edns=0, want_dnssec=True))).edns == 0
    first, second = stage.resolvers[0].asked
    assert first.edns == -1
    assert second.ednsflags & dns.flags.DO
