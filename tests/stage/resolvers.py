"""Resolvers on 127.0.0.1 that answer as told, and a client of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import dns.flags
import dns.message
import dns.rrset

from npserver.config.units import Seconds
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver.address import ResolverAddress
from npserver.nameserver.resolver.client import Group, ResolverClient
from npserver.nameserver.resolver.config import DnsForward
from npserver.nameserver.resolver.resolver import Resolver as LiveResolver
from tests.stage.ports import free_port
from tests.stage.serving import forgiving
from tests.stage.worker import make_context

DEADLINE_S = 30.0

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
        self._server = await asyncio.start_server(forgiving(self._serve), *self.address)
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


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0)


class StreamResolver:
    """A resolver over TCP or TLS, whose connections a script serves."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.tls = tls
        self.asked: list[dns.message.Message] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self.faults: list[BaseException] = []

    async def start(self, port: int = 0) -> StreamResolver:
        self._server = await asyncio.start_server(forgiving(self._serve), "127.0.0.1", port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self.script(StreamTalk(self, reader, writer))
        except (EOFError, OSError):
            pass
        except BaseException as error:
            self.faults.append(error)
            raise
        finally:
            self.open -= 1
            writer.close()


class StreamTalk:
    """One connection of a `StreamResolver`."""

    def __init__(self, resolver: StreamResolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.resolver = resolver
        self.reader = reader
        self.writer = writer

    async def question(self) -> dns.message.Message:
        """Return the next question. Raises: EOFError."""
        size = int.from_bytes(await self.reader.readexactly(2), "big")
        found = dns.message.from_wire(await self.reader.readexactly(size))
        self.resolver.asked.append(found)
        return found

    def send(self, *replies: bytes) -> None:
        self.writer.write(b"".join([len(reply).to_bytes(2, "big") + reply for reply in replies]))

    def cut(self) -> None:
        """Close the connection at once."""
        self.writer.transport.abort()


Script = Callable[[StreamTalk], Awaitable[None]]


async def serve(talk: StreamTalk) -> None:
    """Answer all questions."""
    while True:
        talk.send(answered(await talk.question()))


class Stage:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.context = make_context(self.loop)
        self.resolvers: list[Resolver] = []
        self.started: list[Resolver] = []

    def close(self) -> None:
        """End the resolvers, and the connections to them."""
        self.context.sweeper.close()
        for live in getattr(self, "live", ()):
            if live.channel.connection is not None:
                live.channel.connection.close()
        for resolver in self.started:
            resolver.stop()
            assert not getattr(resolver, "faults", [])

    async def client(
        self, *answers: Answer, timeout_s: float = 0.05, total_s: float = 5, by_stream: Answer = plain, **settings: Any
    ) -> ResolverClient:
        self.resolvers = [await Resolver(answer, by_stream).start() for answer in answers]
        self.started += self.resolvers
        addresses = [ResolverAddress("udp", *resolver.address) for resolver in self.resolvers]
        return self.client_of(*addresses, timeout_s=timeout_s, total_s=total_s, **settings)

    def client_of(
        self,
        *addresses: ResolverAddress,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 5,
        total_s: float = 20,
        is_guarded: bool = False,
        unguarded: frozenset[bytes] = frozenset(),
        **settings: Any,
    ) -> ResolverClient:
        """Return a client of resolvers that are there. `is_guarded`: their answers must not have private addresses."""
        self.live = tuple(LiveResolver(self.context, address, tls, "dns_forward") for address in addresses)
        times = {"timeout": Seconds(timeout_s), "total_timeout": Seconds(total_s)}
        whole = DnsForward(resolvers=[], **{"cache_size": 10, "failure_ttl": Seconds(0), **times, **settings})
        group = Group(self.live, repr(addresses).encode(), frozenset(self.live if is_guarded else ()))
        client = ResolverClient(self.context, group, {}, whole, unguarded)
        client.activate()
        return client


def query(name: str = "www.example.net", number: int = 7, **options: Any) -> Query:
    found = parse_query(dns.message.make_query(name, "A", id=number, **options).to_wire())
    assert isinstance(found, Query)
    return found


async def ask(client: ResolverClient, asked: Query) -> dns.message.Message:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    client.ask(asked, future.set_result)
    async with asyncio.timeout(DEADLINE_S):
        return dns.message.from_wire(await future)


def is_good(reply: dns.message.Message) -> bool:
    return not reply.rcode() and str(reply.answer[0][0]) == "198.51.100.7"
