"""A resolver that lies, delays, truncates, mismatches and loses, in all ways at once: a client gets the right answer,
or SERVFAIL, in bounded time, and never anything else.

Real sockets, on both event loops.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from npserver.nameserver.resolver.address import ResolverAddress
from npserver.nameserver.resolver.attempts import MAX_STRAYS
from npserver.nameserver.resolver.client import ResolverClient
from tests.stage.resolvers import Resolver, Stage, answered, ask, is_good, query

LIE = "203.0.113.66"
#: Takes the resolver, the query and whom to answer; sends what it likes.
Behaviour = Callable[["Liar", dns.message.Message, Any], None]


def lie_about(asked: dns.message.Message, name: Any = None, **parts: Any) -> dns.message.Message:
    """Return a reply with a false address, for this name."""
    reply = dns.message.make_response(asked, recursion_available=True, **parts)
    reply.answer.append(dns.rrset.from_text(name or asked.question[0].name, 60, "IN", "A", LIE))
    return reply


class Liar(Resolver):
    """A resolver over UDP and TCP."""

    def __init__(self, behaviour: Behaviour, by_stream: Callable[[dns.message.Message], list[bytes]] | None) -> None:
        super().__init__(lambda resolver, asked: [])
        self.behaviour = behaviour
        self.stream = by_stream
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # not the one that is asked
        self.other.bind(("127.0.0.1", 0))

    def stop(self) -> None:
        super().stop()
        self.other.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = dns.message.from_wire(data)
        self.asked.append(asked)
        self.behaviour(self, asked, addr)

    def send(self, reply: bytes, addr: Any) -> None:
        self._transport.sendto(reply, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked_by_stream += 1
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                asked = dns.message.from_wire(await reader.readexactly(size))
                if self.stream is None:
                    return
                for reply in self.stream(asked):
                    writer.write(len(reply).to_bytes(2, "big") + reply)
        except (EOFError, OSError):
            pass
        finally:
            writer.transport.abort() if self.stream is None else writer.close()


# ── what a resolver may do ──


def right(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.send(answered(asked), addr)


def lose(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    """Say nothing."""


def delay(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    asyncio.get_running_loop().call_later(0.12, liar.send, answered(asked), addr)


def delay_too_long(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    def send() -> None:
        if not liar._transport.is_closing():
            liar.send(answered(asked), addr)

    asyncio.get_running_loop().call_later(3, send)


def truncate(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.send(answered(asked, flags=dns.flags.TC), addr)


def truncate_with_a_lie(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    reply = lie_about(asked)
    reply.flags |= dns.flags.TC
    liar.send(reply.to_wire(), addr)


def twice(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    for _ in range(2):
        liar.send(answered(asked), addr)


def another_id(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    wire = lie_about(asked).to_wire()
    liar.send(bytes((wire[0] ^ 0x55, wire[1])) + wire[2:], addr)


def another_question(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    other = dns.message.make_query("other.example.net", "A", id=asked.id)
    liar.send(lie_about(other).to_wire(), addr)


def another_type(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    other = dns.message.make_query(asked.question[0].name, "AAAA", id=asked.id)
    liar.send(lie_about(other).to_wire(), addr)


def another_owner(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.send(lie_about(asked, "bank.example.").to_wire(), addr)


def another_source(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.other.sendto(lie_about(asked).to_wire(), addr)


def another_case(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    wire = answered(asked)
    end = wire.index(b"\0", 12)
    liar.send(wire[:12] + wire[12:end].swapcase() + wire[end:], addr)


def a_query(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    reply = lie_about(asked)
    reply.flags &= ~dns.flags.QR
    liar.send(reply.to_wire(), addr)


def garbage(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    for size in (0, 1, 11, 12, 40):
        liar.send(random.Random(size).randbytes(size), addr)


def cut_off(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.send(lie_about(asked).to_wire()[:-3], addr)


def pointers(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    """Names that point to themselves."""
    wire = lie_about(asked).to_wire()
    end = wire.index(b"\0", 12) + 5
    liar.send(wire[:end] + bytes((0xC0 | end >> 8, end & 0xFF)) + wire[end + 2 :], addr)


def without_edns(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.send(answered(asked, rcode=0 if asked.edns < 0 else 1), addr)


def code(rcode: int) -> Behaviour:
    return lambda liar, asked, addr: liar.send(answered(asked, rcode=rcode), addr)


def header_alone(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    liar.send(answered(asked)[:2] + b"\x81\x82" + bytes(8), addr)


def flood(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
    for _ in range(3 * MAX_STRAYS):
        another_id(liar, asked, addr)


def then_right(behaviour: Behaviour) -> Behaviour:
    def both(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
        behaviour(liar, asked, addr)
        right(liar, asked, addr)

    return both


STRAYS = [
    another_id, another_question, another_type, another_owner, another_source, a_query, garbage, cut_off, pointers,
]  # fmt: skip

#: What a resolver does, over UDP; and whether a client gets the right answer.
ALONE: list[tuple[Behaviour, bool]] = [
    (right, True), (twice, True), (delay, True), (truncate, True), (truncate_with_a_lie, True), (without_edns, True),
    (another_case, True),  # TCP has it
    *[(then_right(one), True) for one in STRAYS],
    *[(one, False) for one in STRAYS],
    (lose, False), (delay_too_long, False), (code(1), False), (code(2), False), (header_alone, False), (flood, False),
]  # fmt: skip
IDS = [f"{number} {getattr(one, '__name__', one)}" for number, (one, _) in enumerate(ALONE)]


@pytest.fixture
async def stage() -> Any:
    stage = Stage()
    yield stage
    stage.close()


async def client_of(stage: Stage, *liars: Liar, **times: float) -> ResolverClient:
    for one in liars:
        stage.started.append(await one.start())
    return stage.client_of(*[ResolverAddress("udp", *one.address) for one in liars], **times)


def by_stream(asked: dns.message.Message) -> list[bytes]:
    return [answered(asked)]


@pytest.mark.parametrize(("behaviour", "is_answered"), ALONE, ids=IDS)
async def test_what_becomes_of_each(stage: Stage, behaviour: Behaviour, is_answered: bool) -> None:
    client = await client_of(stage, Liar(behaviour, by_stream), timeout_s=0.05, total_s=0.5)
    loop = asyncio.get_running_loop()
    before = loop.time()
    reply = await ask(client, query("www.example.net", use_edns=0))
    assert loop.time() - before < 5  # `total_timeout` and what a busy machine adds
    if is_answered:
        assert is_good(reply)
    else:
        assert reply.rcode() in (dns.rcode.SERVFAIL, dns.rcode.FORMERR)
        assert not reply.answer
    assert (client._sockets, client._waiting, len(client._pending)) == (0, 0, 0)


@pytest.mark.parametrize("stream", [by_stream, None], ids=["tcp", "tcp is reset"])
async def test_a_right_resolver_behind_makes_up_for_each(stage: Stage, stream: Any) -> None:
    """No name is lost where the next resolver is in order."""
    for behaviour, _ in ALONE:
        liars = Liar(behaviour, stream), Liar(right, by_stream)
        client = await client_of(stage, *liars, timeout_s=0.05, total_s=20)
        assert is_good(await ask(client, query("www.example.net"))), behaviour


@pytest.mark.parametrize("seed", range(3))
async def test_all_at_once(stage: Stage, seed: int) -> None:
    """200 names of two resolvers that choose anew for each datagram, and whose TCP is bad now and then."""
    chance = random.Random(seed)
    behaviours = [one for one, _ in ALONE if one is not flood]

    def any_of_them(liar: Liar, asked: dns.message.Message, addr: Any) -> None:
        chance.choice(behaviours)(liar, asked, addr)

    def any_stream(asked: dns.message.Message) -> list[bytes]:
        good, wrong = answered(asked), lie_about(asked, "bank.example.").to_wire()
        return chance.choice([*[[good]] * 20, [wrong, good], [good[:2]], [], [b"\0\0" + good[2:]], [good[:-4]]])

    client = await client_of(
        stage, Liar(any_of_them, any_stream), Liar(any_of_them, any_stream), timeout_s=0.05, total_s=8
    )
    loop = asyncio.get_running_loop()
    before = loop.time()
    replies = await asyncio.gather(*[ask(client, query(f"n{number}.example.net", number)) for number in range(200)])
    assert loop.time() - before < 25
    assert [reply.id for reply in replies] == list(range(200))
    good = sum(map(is_good, [reply for reply in replies if not reply.rcode()]))
    failed = [reply for reply in replies if reply.rcode()]
    assert {reply.rcode() for reply in failed} <= {dns.rcode.SERVFAIL, dns.rcode.FORMERR}
    assert good + len(failed) == 200
    assert good > 100  # a resolver that has said SERVFAIL is not asked again
    assert LIE not in "".join(reply.to_text() for reply in replies)
    assert (client._sockets, client._waiting, len(client._pending), len(client._queue)) == (0, 0, 0, 0)
