"""Resolvers on 127.0.0.1 that answer as told, and a client of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.rrset

from npserver.config.units import Seconds
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.config import DnsForward
from npserver.nameserver.resolver.client import ResolverClient
from tests.stage.ports import free_port
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
        self.address = ("127.0.0.1", free_port())
        self._server = await asyncio.start_server(self._serve, *self.address)
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
        self.started: list[Resolver] = []

    async def client(
        self, *answers: Answer, timeout_s: float = 0.05, total_s: float = 5, by_stream: Answer = plain, **settings: Any
    ) -> ResolverClient:
        self.resolvers = [await Resolver(answer, by_stream).start() for answer in answers]
        self.started += self.resolvers
        addresses = tuple(resolver.address for resolver in self.resolvers)
        times = {"timeout": Seconds(timeout_s), "total_timeout": Seconds(total_s)}
        return ResolverClient(self.context, addresses, DnsForward(resolvers=[], cache_size=10, **times, **settings))


def query(name: str = "www.example.net", number: int = 7, **options: Any) -> Query:
    found = parse_query(dns.message.make_query(name, "A", id=number, **options).to_wire())
    assert isinstance(found, Query)
    return found


async def ask(client: ResolverClient, asked: Query, *, by_stream: bool = False) -> dns.message.Message:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    client.ask(asked, future.set_result, by_stream=by_stream)
    async with asyncio.timeout(20):
        return dns.message.from_wire(await future)


def is_good(reply: dns.message.Message) -> bool:
    return not reply.rcode() and str(reply.answer[0][0]) == "198.51.100.7"
