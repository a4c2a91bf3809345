"""The client of the resolvers: its cache, what clients share, and its limits, over real sockets."""

from __future__ import annotations

import asyncio
import os
import resource

import dns.flags
import dns.message
import pytest

from tests.stage.resolvers import Stage, ask, is_good, plain, query, silent


async def test_an_answer_comes_back_as_asked(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3)
    reply = await ask(client, query("wWw.Example.NET", 4711, use_edns=0))
    assert reply.id == 4711
    assert reply.question[0].name.to_text() == "wWw.Example.NET."
    assert is_good(reply)
    assert reply.flags & dns.flags.RA


async def test_answers_are_cached(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3)
    for name in ("www.example.net", "WWW.example.net"):
        assert is_good(await ask(client, query(name)))
    assert len(stage.resolvers[0].asked) == 1


async def test_equal_questions_under_way_are_asked_once(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3)
    replies = await asyncio.gather(*[ask(client, query(number=number)) for number in range(10)])
    assert [reply.id for reply in replies] == list(range(10))
    assert len(stage.resolvers[0].asked) == 1


async def test_any_number_of_equal_questions_join_one(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3)
    replies = await asyncio.gather(*[ask(client, query(number=number)) for number in range(1000)])
    assert [reply.id for reply in replies] == list(range(1000))
    assert all(map(is_good, replies))
    assert len(stage.resolvers[0].asked) == 1


async def test_clients_that_wait_are_bounded(stage: Stage) -> None:
    client = await stage.client(silent, timeout_s=0.3, total_s=0.3, max_waiting=4)
    waiting = [asyncio.create_task(ask(client, query(f"n{number}.example.net"))) for number in (0, 0, 1, 2)]
    await asyncio.sleep(0)
    for name in ("n0.example.net", "n3.example.net"):
        at_once: list[bytes] = []
        client.ask(query(name), at_once.append)
        assert dns.message.from_wire(at_once[0]).rcode() == 2
    assert {reply.rcode() for reply in await asyncio.gather(*waiting)} == {2}
    assert client._waiting == 0


async def test_sockets_are_bounded_and_further_questions_wait_for_one(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=2, max_sockets=3)
    before = len(os.listdir("/proc/self/fd"))
    waiting = [asyncio.create_task(ask(client, query(f"n{number}.example.net"))) for number in range(50)]
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before + 3
    assert all(map(is_good, await asyncio.gather(*waiting)))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_resolvers_that_are_dead_hold_few_sockets(stage: Stage) -> None:
    client = await stage.client(silent, silent, timeout_s=0.03, total_s=0.2, max_sockets=4)
    before = len(os.listdir("/proc/self/fd"))
    waiting = [asyncio.create_task(ask(client, query(f"n{number}.example.net"))) for number in range(100)]
    held = 0
    while not all(one.done() for one in waiting):
        held = max(held, len(os.listdir("/proc/self/fd")) - before)
        await asyncio.sleep(0.01)
    assert 0 < held <= 4
    assert {one.result().rcode() for one in waiting} == {2}
    assert (client._sockets, len(client._queue), client._waiting) == (0, 0, 0)


async def test_sockets_are_at_most_a_quarter_of_the_descriptors(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    client = await stage.client(silent, total_s=0.05)
    assert client._max_sockets == 16
