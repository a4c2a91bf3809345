"""A client of DNS over QUIC, and a name server in this process for it: `tests.stage.http3` without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.message
from aioquic.quic import events

import npserver
from npserver.nameserver.quic.connection import DoqConnection
from tests.stage.http3 import Answer, Client, Server
from tests.stage.resolvers import Resolver, answered


def question(name: str = "nas.home", kind: str = "A", **more: Any) -> bytes:
    """Return a query with message ID 0."""
    return dns.message.make_query(name, kind, id=0, **more).to_wire()


def framed(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return len(message).to_bytes(2, "big") + message


class DoqClient(Client):
    """The other end of one connection."""

    def __init__(self, port: int, **settings: Any) -> None:
        super().__init__(port, **{"protocol": "doq", **settings})

    def ask(self, message: bytes = b"", *, has_ended: bool = True) -> tuple[int, Answer]:
        """Send a query on a stream of its own. Return the stream, and the answer that will come."""
        stream = self.quic.get_next_available_stream_id()
        return stream, self.raw(stream, framed(message or question()), has_ended=has_ended)

    async def answered(self, message: bytes = b"") -> dns.message.Message:
        """Send a query and wait for its answer."""
        _, answer = self.ask(message)
        await self.until(lambda: answer.has_ended or answer.reset is not None or self.closed is not None)
        found, *others = messages(answer)
        assert others == []
        return found

    async def until_closed(self) -> int:
        """Wait for the end of the connection. Return its error code."""
        await self.until(lambda: self.closed is not None)
        assert self.closed is not None
        return self.closed.error_code

    def _take_events(self) -> None:
        seen = len(self.events)
        super()._take_events()
        for event in self.events[seen:]:
            if isinstance(event, events.StreamDataReceived) and event.stream_id in self.answers:
                answer = self.answers[event.stream_id]
                answer.body += event.data
                answer.has_ended = answer.has_ended or event.end_stream


def messages(answer: Answer) -> list[dns.message.Message]:
    """Return the messages of a stream, which has ended and has nothing else."""
    assert answer.has_ended, answer
    data, found = answer.body, []
    while data:
        size = int.from_bytes(data[:2], "big")
        assert len(data) >= 2 + size
        found.append(dns.message.from_wire(data[2 : 2 + size]))
        data = data[2 + size :]
    return found


@asynccontextmanager
async def connected(port: int, **settings: Any) -> AsyncIterator[DoqClient]:
    """Yield a client whose handshake is complete."""
    client = DoqClient(port, **settings)
    try:
        await client.connect()
        assert client.closed is None, client.closed
        yield client
        client.leave()
    finally:
        client.close()


@asynccontextmanager
async def serving(directory: Path, rule: Mapping[str, Any] | None = None, **config: Any) -> AsyncIterator[Server]:
    """Yield a server of DNS over QUIC with a certificate of the local authority."""
    made = {
        "listen": [{"uri": "quic://127.0.0.1:0", "name": "doq", **config.pop("listen", {})}],
        "dns": {"nas.home": {"A": "192.0.2.10"}},
        "dispatch": [{"listener": "doq", "handler": "dns", **(rule or {})}],
        "store": str(directory / "store"),
        **config,
    }
    async with npserver.serve(made) as running:
        yield Server(running, running.addresses["doq"].port)


async def accepted(client: DoqClient, server: Server) -> DoqConnection:
    """Return the connection of the only client."""
    found: list[DoqConnection] = []

    def is_there() -> bool:
        found[:] = [one for one in server.context.connections if isinstance(one, DoqConnection)]
        return bool(found)

    await client.until(is_there)
    (connection,) = found
    return connection


class LateResolver(Resolver):
    """A resolver that answers names of `late.net` when told to, and all others at once."""

    def __init__(self) -> None:
        self.due: list[tuple[bytes, tuple[str, int]]] = []
        super().__init__(lambda resolver, query: self.replies(query))

    def replies(self, query: dns.message.Message) -> list[bytes]:
        reply = answered(query)
        if not query.question[0].name.is_subdomain(dns.name.from_text("late.net")):
            return [reply]
        self.due.append((reply, ("127.0.0.1", self.ports[-1])))
        return []

    def answer_late(self) -> None:
        """Answer the last of them."""
        self._transport.sendto(*self.due.pop())


def forwarding(resolver: Resolver, **more: Any) -> dict[str, Any]:
    return {
        "dns_forward": {"resolvers": [f"127.0.0.1:{resolver.address[1]}"], "timeout": 20, "total_timeout": 20},
        **more,
    }
