"""One question to resolvers over real sockets: what is believed, who is asked next and when (RFC 5452)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import pytest

from npserver.nameserver.resolver import question as module
from tests.stage.resolvers import Answer, Resolver, Stage, answered, ask, failing, is_good, plain, query, silent


async def test_ids_and_ports_differ(stage: Stage) -> None:  # RFC 5452 §9.2
    client = await stage.client(plain)
    for number in range(20):
        assert is_good(await ask(client, query(f"n{number}.example.net")))
    resolver = stage.resolvers[0]
    assert len({one.id for one in resolver.asked}) > 15
    assert len(set(resolver.ports)) > 15


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
    client = await stage.client(silent, silent, total_s=0.3)
    reply = await ask(client, query())
    assert (reply.rcode(), reply.id) == (2, 7)
    assert len(client._pending) == 0


async def test_a_failure_is_passed_on_if_nobody_knows_better(stage: Stage) -> None:
    client = await stage.client(failing(5), silent)
    assert (await ask(client, query())).rcode() == 5
    assert len(stage.resolvers[0].asked) == 1
    assert len(stage.resolvers[1].asked) == 2
    client = await stage.client(failing(5), silent, timeout_s=2, total_s=0.1)
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


async def test_a_lost_datagram_is_sent_again_to_the_only_resolver(stage: Stage) -> None:
    client = await stage.client(lambda resolver, asked: [answered(asked)] if len(resolver.asked) == 3 else [])
    assert is_good(await ask(client, query()))
    assert len(stage.resolvers[0].asked) == 3
    assert len({one.id for one in stage.resolvers[0].asked}) == len(set(stage.resolvers[0].ports)) == 1


async def test_no_name_of_200_is_lost_where_every_tenth_datagram_is(stage: Stage) -> None:
    chance = random.Random(1)

    def lossy(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [] if chance.random() < 0.19 else [answered(asked)]  # a tenth of the questions, and of the answers

    client = await stage.client(lossy, timeout_s=0.02)
    replies = await asyncio.gather(*[ask(client, query(f"n{number}.example.net")) for number in range(200)])
    assert sum(map(is_good, replies)) == 200
    assert len(stage.resolvers[0].asked) > 210


class NotedLoop:
    """The event loop, with the delays of its timers noted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.delays: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def call_later(self, delay: float, *call: Any) -> asyncio.TimerHandle:
        self.delays.append(delay)
        return self.loop.call_later(delay, *call)


async def test_waits_double_with_each_round_in_a_total_bound(stage: Stage) -> None:
    client = await stage.client(silent, silent, timeout_s=0.005, total_s=1)
    noted: Any = NotedLoop(stage.loop)
    client.loop = noted
    assert (await ask(client, query())).rcode() == 2
    assert noted.delays[:7] == [1, 0.005, 0.005, 0.01, 0.01, 0.02, 0.02]


async def test_a_late_answer_counts(stage: Stage) -> None:
    """The resolver answers the first datagram only, after two rounds."""

    def late(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [answered(resolver.asked[0])] if len(resolver.asked) == 3 else []

    client = await stage.client(late, silent)
    assert is_good(await ask(client, query()))


async def test_a_reply_with_bytes_after_it_is_an_answer(stage: Stage) -> None:
    client = await stage.client(lambda resolver, asked: [answered(asked) + b"trailing"], timeout_s=5)
    assert is_good(await ask(client, query()))


@pytest.mark.parametrize("rcode", [0, 1, 2, 5])
async def test_a_header_alone_is_a_failure_at_once(stage: Stage, rcode: int) -> None:
    def header(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [asked.to_wire()[:2] + bytes((0x81, 0x80 | rcode)) + bytes(8)]

    client = await stage.client(header, plain, timeout_s=5)
    assert is_good(await ask(client, query()))
    client = await stage.client(header, timeout_s=5)
    assert (await ask(client, query())).rcode() == 2


async def test_a_header_alone_that_is_truncated_is_passed_on(stage: Stage) -> None:
    def header(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [asked.to_wire()[:2] + b"\x83\x80" + bytes(8)]

    client = await stage.client(header, timeout_s=5)
    assert (await ask(client, query())).flags & dns.flags.TC
    assert is_good(await ask(client, query(), by_stream=True))


@pytest.mark.parametrize("header_alone", [False, True])
async def test_a_resolver_without_edns_is_asked_without(stage: Stage, header_alone: bool) -> None:  # RFC 6891 §7
    def old(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        if asked.edns < 0:
            return [answered(asked)]
        return [asked.to_wire()[:2] + b"\x81\x81" + bytes(8)] if header_alone else [answered(asked, rcode=1)]

    client = await stage.client(old, timeout_s=5)
    assert is_good(await ask(client, query(use_edns=0)))
    assert [one.edns for one in stage.resolvers[0].asked] == [0, -1]


async def test_edns_is_asked_with_only_for_clients_that_speak_it(stage: Stage) -> None:
    client = await stage.client(plain)
    assert (await ask(client, query())).edns == -1
    assert (await ask(client, query(use_edns=0, want_dnssec=True))).edns == 0
    first, second = stage.resolvers[0].asked
    assert first.edns == -1
    assert second.ednsflags & dns.flags.DO
