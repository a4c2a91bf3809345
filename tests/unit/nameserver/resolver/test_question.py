"""One question to resolvers over real sockets: what is believed, who is asked next and when (RFC 5452)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.rrset
import pytest

from npserver.nameserver.resolver import attempts as module
from npserver.nameserver.resolver import channel
from npserver.nameserver.resolver.resolver import DOWN_AFTER
from tests.stage.resolvers import (
    DEADLINE_S,
    Answer,
    Resolver,
    Stage,
    answered,
    ask,
    failing,
    is_good,
    plain,
    query,
    silent,
    until,
)


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


FIRST = pytest.mark.parametrize(
    ("first", "is_at_fault"),
    [(silent, True), (failing(5), True), (failing(2), False), (failing(4), False)],
    ids=["silent", "refused", "servfail", "notimp"],
)


@FIRST
async def test_the_next_resolver_is_asked(stage: Stage, first: Answer, is_at_fault: bool) -> None:
    """A resolver that fails whatever is asked loses its place; one that cannot resolve a name does not."""
    client = await stage.client(first, plain)
    for number in range(DOWN_AFTER):
        assert is_good(await ask(client, query(f"n{number}.example.net")))
    before = len(stage.resolvers[0].asked)
    assert before >= DOWN_AFTER
    assert stage.live[0].is_down is is_at_fault
    assert is_good(await ask(client, query("other.example.net")))
    assert (len(stage.resolvers[0].asked) == before) is is_at_fault
    assert len(stage.resolvers[1].asked) == DOWN_AFTER + 1


async def test_a_resolver_that_was_down_is_tried_and_comes_back(stage: Stage) -> None:
    """Nobody waits for the trial: the question of the client goes to the other resolver."""
    is_there = False

    def first(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [answered(asked)] if is_there else []

    client = await stage.client(first, plain)
    for number in range(DOWN_AFTER):
        assert is_good(await ask(client, query(f"n{number}.example.net")))
    is_there = True
    stage.live[0].probe_at = stage.loop.time()
    asked = len(stage.resolvers[0].asked)
    assert is_good(await ask(client, query("trial.example.net")))
    await until(lambda: not stage.live[0].is_down)
    assert len(stage.resolvers[0].asked) == asked + 1
    assert is_good(await ask(client, query("back.example.net")))
    assert stage.resolvers[0].asked[-1].question[0].name.to_text().lower() == "back.example.net."


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


async def test_a_truncated_answer_is_asked_for_over_tcp(stage: Stage) -> None:
    client = await stage.client(truncated)
    assert is_good(await ask(client, query()))
    assert stage.resolvers[0].asked_by_stream == 1


@pytest.mark.parametrize("by_stream", [silent, lambda resolver, asked: [b"\0\0" + answered(asked)[2:]]])
async def test_a_stream_that_fails_is_servfail(stage: Stage, by_stream: Answer) -> None:
    client = await stage.client(truncated, by_stream=by_stream)
    assert (await ask(client, query())).rcode() == 2


async def test_an_unexpected_error_is_servfail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **options: object) -> None:
        raise RuntimeError("a fault of ours")

    client = await stage.client(truncated)
    monkeypatch.setattr(channel, "dial", broken)
    assert (await ask(client, query())).rcode() == 2


async def test_a_lost_datagram_is_sent_again_to_the_only_resolver(stage: Stage) -> None:
    client = await stage.client(lambda resolver, asked: [answered(asked)] if len(resolver.asked) == 3 else [])
    assert is_good(await ask(client, query()))
    assert len(stage.resolvers[0].asked) == 3
    assert len({one.id for one in stage.resolvers[0].asked}) == len(set(stage.resolvers[0].ports)) == 1


async def test_no_name_of_200_is_lost_where_every_tenth_datagram_is(stage: Stage) -> None:
    chance = random.Random(1)

    def lossy(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [] if chance.random() < 0.19 else [answered(asked)]  # a tenth of the questions, and of the answers

    client = await stage.client(lossy, timeout_s=0.02, total_s=DEADLINE_S)
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


async def test_a_header_alone_that_is_truncated_is_asked_for_over_tcp(stage: Stage) -> None:
    def header(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [asked.to_wire()[:2] + b"\x83\x80" + bytes(8)]

    assert is_good(await ask(await stage.client(header, timeout_s=5), query()))


@pytest.mark.parametrize("header_alone", [False, True])
async def test_a_resolver_without_edns_is_asked_without(stage: Stage, header_alone: bool) -> None:  # RFC 6891 §7
    def old(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        if asked.edns < 0:
            return [answered(asked)]
        return [asked.to_wire()[:2] + b"\x81\x81" + bytes(8)] if header_alone else [answered(asked, rcode=1)]

    client = await stage.client(old, timeout_s=5)
    assert is_good(await ask(client, query(use_edns=0)))
    assert [one.edns for one in stage.resolvers[0].asked] == [0, -1]


async def test_dnssec_records_are_asked_for_only_for_clients_that_want_them(stage: Stage) -> None:
    client = await stage.client(plain)
    assert (await ask(client, query())).edns == -1
    assert (await ask(client, query(use_edns=0, want_dnssec=True))).edns == 0
    first, second = stage.resolvers[0].asked
    assert first.edns == second.edns == 0
    assert not first.ednsflags & dns.flags.DO
    assert second.ednsflags & dns.flags.DO


# ── names in random case ──


def in_lower_case(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
    reply = answered(asked)
    end = reply.index(b"\0", 12)
    return [reply[:12] + reply[12:end].lower() + reply[end:]]


async def test_names_are_asked_for_in_random_case(stage: Stage) -> None:
    client = await stage.client(plain)
    for number in range(5):
        assert is_good(await ask(client, query(f"name{number}.long-enough.example.net")))
    assert stage.live[0].has_case
    assert len({one.question[0].name.to_text()[:4] for one in stage.resolvers[0].asked}) > 1
    client = await stage.client(plain, random_case=False)
    assert is_good(await ask(client, query()))
    assert stage.resolvers[0].asked[0].question[0].name.to_text() == "www.example.net."


async def test_a_resolver_that_loses_the_case_is_asked_over_tcp_and_then_without(stage: Stage) -> None:
    client = await stage.client(in_lower_case, by_stream=in_lower_case, timeout_s=5)
    assert is_good(await ask(client, query("long-enough.example.net")))
    assert stage.resolvers[0].asked_by_stream == 1
    assert not stage.live[0].has_case
    assert is_good(await ask(client, query("another.example.net")))
    assert (len(stage.resolvers[0].asked), stage.resolvers[0].asked_by_stream) == (2, 1)
    assert stage.resolvers[0].asked[1].question[0].name.to_text() == "another.example.net."


async def test_a_forged_answer_in_another_case_changes_nothing(stage: Stage) -> None:
    """Who guesses port and id, but not the case, has the question asked over TCP, where the case is right."""

    def forged(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return [in_lower_case(resolver, asked)[0].replace(bytes([198, 51, 100, 7]), bytes([6, 6, 6, 6]))]

    client = await stage.client(forged, timeout_s=5)
    assert is_good(await ask(client, query("long-enough.example.net")))
    assert stage.live[0].has_case
    assert stage.resolvers[0].asked_by_stream == 1


async def test_a_resolver_without_tcp_that_loses_the_case_is_asked_without(stage: Stage) -> None:
    client = await stage.client(in_lower_case, timeout_s=5)
    stage.resolvers[0]._server.close()
    await stage.resolvers[0]._server.wait_closed()
    assert is_good(await ask(client, query("long-enough.example.net")))
    assert not stage.live[0].has_case


# ── what is no answer to this question ──


@pytest.mark.parametrize("name", ["other.example.net", "example.net"])
async def test_records_of_other_names_are_passed_over(stage: Stage, name: str) -> None:
    def answer(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        false = dns.message.make_response(asked, recursion_available=True)
        false.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "A", "6.6.6.6"))
        return [false.to_wire(), answered(asked)]

    assert is_good(await ask(await stage.client(answer, timeout_s=5), query()))


async def test_a_weird_question_does_not_cost_a_resolver_its_edns(stage: Stage) -> None:
    """It refuses a type however it is asked; all others are still asked for with EDNS."""

    def picky(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        is_weird = asked.question[0].name.to_text().lower().startswith("weird")
        return [answered(asked, rcode=4)] if is_weird else [answered(asked)]

    client = await stage.client(picky, timeout_s=5)
    assert (await ask(client, query("weird.example.net"))).rcode() == 4
    assert is_good(await ask(client, query()))
    assert [one.edns for one in stage.resolvers[0].asked] == [0, -1, 0]
