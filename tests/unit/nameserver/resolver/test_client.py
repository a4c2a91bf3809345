"""The client of the resolvers: its cache, what clients share, and its limits, over real sockets."""

from __future__ import annotations

import asyncio
import os
import resource
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from npserver.config.units import Seconds
from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver import client as module
from npserver.nameserver.resolver.answer import LastingReply
from npserver.nameserver.resolver.client import RETRY_STALE_S, Group, ResolverClient
from npserver.nameserver.resolver.config import DnsForward
from tests.stage.resolvers import Answer, Resolver, Stage, answered, ask, failing, is_good, plain, query, silent, until
from tests.stage.worker import make_context


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


async def test_a_reply_that_stays_right_for_a_while_may_be_sent_again(stage: Stage) -> None:
    """Fronts that do count each as a hit."""
    client = await stage.client(with_ttl(10), timeout_s=3)
    clock = with_clock(client)
    replies: list[bytes] = []
    asked = query("www.example.net")
    await ask(client, asked)
    for ahead_s in (0.0, 8.5, 9.5):
        clock.ahead_s = ahead_s
        client.ask(asked, replies.append)
    assert [isinstance(reply, LastingReply) for reply in replies] == [True, True, False]
    lasting = replies[0]
    assert isinstance(lasting, LastingReply)
    hits = client._tallies[client._hits]
    lasting.tally[0] += 5
    client.flush()
    client.flush()
    assert client._tallies[client._hits] == hits + 5


class Clock:
    """The event loop, whose time can be moved on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ahead_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def time(self) -> float:
        return self.loop.time() + self.ahead_s


def with_clock(client: ResolverClient) -> Clock:
    clock: Any = Clock(client.loop)
    client.loop = clock
    return clock  # type: ignore[no-any-return]


class Changing:
    """A resolver that answers as the test says."""

    def __init__(self, answer: Answer = plain) -> None:
        self.answer = answer

    def __call__(self, resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
        return self.answer(resolver, asked)


def with_ttl(ttl: int) -> Answer:
    return lambda resolver, asked: [answered(asked, ttl=ttl)]


def negative(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
    reply = dns.message.make_response(asked, recursion_available=True)
    reply.set_rcode(dns.rcode.NXDOMAIN)
    reply.authority.append(dns.rrset.from_text("example.net.", 60, "IN", "SOA", "ns.example.net. a.b. 1 2 3 4 50"))
    return [reply.to_wire()]


def no_data_without_soa(resolver: Resolver, asked: dns.message.Message) -> list[bytes]:
    return [dns.message.make_response(asked, recursion_available=True).to_wire()]


async def test_negative_answers_are_cached_by_their_soa(stage: Stage) -> None:
    client = await stage.client(negative, timeout_s=3)
    clock = with_clock(client)
    for seconds, ttl, count in ((0, 50, 1), (20.5, 30, 1), (51, 50, 2)):
        clock.ahead_s = seconds
        reply = await ask(client, query())
        assert (reply.rcode(), reply.authority[0].ttl) == (3, ttl)
        assert len(stage.resolvers[0].asked) == count


async def test_no_data_without_an_soa_is_not_cached(stage: Stage) -> None:  # RFC 2308 §5
    client = await stage.client(no_data_without_soa, timeout_s=3)
    for count in (1, 2):
        assert (await ask(client, query())).rcode() == 0
        assert len(stage.resolvers[0].asked) == count


async def test_a_failure_is_remembered_for_a_short_time(stage: Stage) -> None:  # RFC 9520
    client = await stage.client(failing(2), timeout_s=3, failure_ttl=Seconds(5))
    clock = with_clock(client)
    for seconds, options, count in ((0, [], 1), (4.9, ["EDE 13 (Cached Error)"], 1), (5.1, [], 2)):
        clock.ahead_s = seconds
        reply = await ask(client, query(use_edns=0))
        assert (reply.rcode(), [str(one) for one in reply.options]) == (2, options)
        assert len(stage.resolvers[0].asked) == count


async def test_a_failure_says_why(stage: Stage) -> None:  # RFC 8914
    client = await stage.client(silent, total_s=0.1)
    reply = await ask(client, query(use_edns=0))
    assert [str(one) for one in reply.options] == ["EDE 22 (No Reachable Authority)"]
    stage.resolvers[0].stop()
    client = stage.client_of(stage.live[0].address)
    await asyncio.sleep(0)
    reply = await ask(client, query(use_edns=0))
    assert [str(one) for one in reply.options] == ["EDE 23 (Network Error)"]


async def test_classes_and_flags_have_answers_of_their_own(stage: Stage) -> None:
    changing = Changing()
    client = await stage.client(changing, timeout_s=3)
    checking_disabled = query(flags=dns.flags.RD | dns.flags.CD)
    for asked in (query(), checking_disabled, query(want_dnssec=True), query(), checking_disabled):
        await ask(client, asked)
    assert [one.flags & dns.flags.CD for one in stage.resolvers[0].asked] == [0, dns.flags.CD, 0]
    chaos = parse_query(dns.message.make_query("www.example.net", "A", "CH", id=7).to_wire())
    assert isinstance(chaos, Query)
    changing.answer = failing(5)
    assert (await ask(client, chaos)).rcode() == 5
    assert len(stage.resolvers[0].asked) == 4


async def test_subnets_are_not_passed_on_unless_told(stage: Stage) -> None:
    option = [dns.edns.ECSOption("192.0.2.0", 24)]
    for ecs, sent, count in (("strip", [], 1), ("pass", ["ECS 192.0.2.0/24 scope/0"], 2)):
        client = await stage.client(plain, timeout_s=3, ecs=ecs)
        assert is_good(await ask(client, query(use_edns=0, options=option)))
        assert is_good(await ask(client, query(use_edns=0)))
        assert is_good(await ask(client, query(use_edns=0, options=option)))
        assert [str(one) for one in stage.resolvers[0].asked[0].options] == sent
        assert len(stage.resolvers[0].asked) == count


async def test_domains_have_resolvers_of_their_own(stage: Stage) -> None:
    await stage.client(plain, plain, timeout_s=3)
    one, other = stage.live
    zones = {b"\4corp\7example\0": Group((other,), b"other")}
    client = ResolverClient(stage.context, Group((one,), b"one"), zones, DnsForward(resolvers=[]))
    for name in ("corp.example", "A.Corp.example", "example", "acorp.example"):
        assert is_good(await ask(client, query(name)))
    assert [len(resolver.asked) for resolver in stage.resolvers] == [2, 2]
    client = ResolverClient(stage.context, None, zones, DnsForward(resolvers=[]))
    reply = await ask(client, query("example", use_edns=0))
    assert (reply.rcode(), str(reply.options[0])) == (5, "EDE 18 (Prohibited): no resolver has this name")


# ── answers after their end (RFC 8767) ──


async def test_an_answer_that_has_ended_is_given_if_the_resolvers_fail(stage: Stage) -> None:
    changing = Changing()
    client = await stage.client(changing, timeout_s=3, stale=Seconds(3600))
    clock = with_clock(client)
    assert is_good(await ask(client, query()))
    changing.answer = failing(2)
    clock.ahead_s = 61
    for _ in range(3):
        reply = await ask(client, query(use_edns=0))
        assert is_good(reply)
        assert (reply.answer[0].ttl, [str(one) for one in reply.options]) == (30, ["EDE 3 (Stale Answer)"])
    assert len(stage.resolvers[0].asked) == 2  # it is asked again after 30 s only
    clock.ahead_s = 61 + RETRY_STALE_S + 1
    assert is_good(await ask(client, query()))
    assert len(stage.resolvers[0].asked) == 3
    changing.answer = plain
    clock.ahead_s += RETRY_STALE_S + 1
    assert (await ask(client, query())).answer[0].ttl == 60
    changing.answer = failing(2)
    clock.ahead_s += 60 + 3600 + 1
    assert (await ask(client, query())).rcode() == 2


async def test_an_answer_that_has_ended_is_given_if_the_resolvers_are_slow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALE_AFTER_S", 0.05)
    changing = Changing()
    client = await stage.client(changing, timeout_s=0.4, stale=Seconds(3600))
    clock = with_clock(client)
    assert is_good(await ask(client, query()))
    changing.answer = silent
    clock.ahead_s = 61
    replies = await asyncio.gather(*[ask(client, query(number=number)) for number in range(5)])
    assert {reply.answer[0].ttl for reply in replies} == {30}
    assert client._waiting == 0
    assert len(client._pending) == 1
    changing.answer = plain  # the question goes on: its answer is for the next clients
    await until(lambda: not client._pending)
    assert (await ask(client, query())).answer[0].ttl == 60


async def test_no_answer_is_given_after_its_end_without_the_key(stage: Stage) -> None:
    changing = Changing()
    client = await stage.client(changing, timeout_s=3)
    clock = with_clock(client)
    assert is_good(await ask(client, query()))
    changing.answer = failing(2)
    clock.ahead_s = 61
    assert (await ask(client, query())).rcode() == 2


# ── prefetch ──


async def test_names_in_use_are_asked_for_before_they_end(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3, prefetch=True)
    clock = with_clock(client)
    assert is_good(await ask(client, query()))
    clock.ahead_s = 53
    assert is_good(await ask(client, query()))
    assert len(stage.resolvers[0].asked) == 1
    clock.ahead_s = 55
    assert (await ask(client, query())).answer[0].ttl < 10  # nobody waits for it
    await until(lambda: not client._pending)
    assert len(stage.resolvers[0].asked) == 2
    assert (await ask(client, query())).answer[0].ttl == 60


async def test_a_name_asked_for_once_is_not_prefetched(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3, prefetch=True)
    clock = with_clock(client)
    assert is_good(await ask(client, query()))
    clock.ahead_s = 55
    assert is_good(await ask(client, query()))
    assert not client._pending
    client = await stage.client(plain, timeout_s=3)
    clock = with_clock(client)
    for seconds in (0, 50, 55, 58):
        clock.ahead_s = seconds
        assert is_good(await ask(client, query()))
    assert len(stage.resolvers[0].asked) == 1


async def test_a_prefetch_that_fails_spoils_nothing(stage: Stage) -> None:
    changing = Changing()
    client = await stage.client(changing, timeout_s=3, prefetch=True, failure_ttl=Seconds(5))
    clock = with_clock(client)
    for seconds in (0, 20):
        clock.ahead_s = seconds
        assert is_good(await ask(client, query()))
    changing.answer = failing(2)
    clock.ahead_s = 55
    assert is_good(await ask(client, query()))
    await until(lambda: not client._pending)
    assert is_good(await ask(client, query()))


async def test_an_answer_that_another_worker_has_got_is_not_asked_for(stage: Stage) -> None:
    """Two workers: a second context over the same shared memory."""
    client = await stage.client(plain, timeout_s=3, prefetch=True)
    assert is_good(await ask(client, query()))
    context = make_context(stage.loop, board=stage.context.row.board)
    other = ResolverClient(context, client.default, {}, DnsForward(resolvers=[]))
    other.activate()
    for name in ("www.example.net", "WWW.example.net"):
        assert is_good(await ask(other, query(name)))
    assert len(stage.resolvers[0].asked) == 1
    context.sweeper.close()


async def test_the_cache_outlives_a_config(stage: Stage) -> None:
    client = await stage.client(plain, timeout_s=3)
    assert is_good(await ask(client, query()))
    again = ResolverClient(stage.context, client.default, {}, DnsForward(resolvers=[]))
    again.activate()
    assert is_good(await ask(again, query()))
    assert len(stage.resolvers[0].asked) == 1
    row = stage.context.row
    row.publish()
    counted = {name: row.slots[row.slot(f"dns.cache.{name}")] for name in ("hits", "misses", "stale", "failures")}
    assert counted == {"hits": 1, "misses": 1, "stale": 0, "failures": 0}
    assert row.slots[row.slot(f"dns.resolver.{stage.live[0].address}.questions")] == 1


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
