"""The service that asks for the targets of ALIAS records: resolvers that delay, fail and lie, over real sockets.

Covers `nameserver.aliases.addresses`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner
from npserver.nameserver.aliases import service as module
from npserver.nameserver.aliases.addresses import ADDRESSES, forget_aliases
from npserver.nameserver.aliases.service import AliasService, ask_system, asking
from tests.stage.resolvers import Answer, Resolver, Stage, failing, silent, until

NAME = parse_owner("shops.example.net")
A, AAAA = (NAME, codes.A), (NAME, codes.AAAA)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.context.sweeper.close()
    for resolver in stage.started:
        resolver.stop()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "RETRY_S", 0.01)


def giving(*records: str, ttl: int = 0) -> Answer:
    """Answer the records of the type that is asked for, and what is of other names."""

    def answer(resolver: Resolver, query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        kind = query.question[0].rdtype.name
        for one in records:
            name, _, rest = one.partition(" ")
            if rest.split()[0] in (kind, "CNAME"):
                reply.answer.append(dns.rrset.from_text(name, ttl, "IN", *rest.split(" ", 1)))
        if not reply.answer:
            soa = dns.rrset.from_text("example.net.", 0, "IN", "SOA", "ns. host. 1 2 3 4 0")
            reply.authority.append(soa)
        return [reply.to_wire(max_size=65_535)]

    return answer


@asynccontextmanager
async def running(stage: Stage, answer: Answer, stale_s: float = 60.0) -> AsyncIterator[dict[str, Any]]:
    """Run the service with a resolver; yield the parts."""
    client = await stage.client(answer, timeout_s=0.05, total_s=0.2, cache_size=0, random_case=False)
    stage.context.row.slot("dns.aliases.found")
    service = AliasService(stage.context, {NAME: "ALIAS of example.com."}, asking(client), stale_s)
    task = asyncio.create_task(service.run())
    yield {"resolver": stage.resolvers[0], "known": lambda: ADDRESSES.of(stage.context).known}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not client._sockets)  # of questions that nobody waits for any more


async def test_addresses_are_told_and_asked_for_again(stage: Stage) -> None:
    first = giving("shops.example.net. A 198.51.100.2", "shops.example.net. A 198.51.100.1")
    async with running(stage, first) as parts:
        await until(lambda: A in parts["known"]() and AAAA in parts["known"]())
        assert parts["known"]()[A] == (0, (b"\xc6\x33\x64\x01", b"\xc6\x33\x64\x02"))
        assert parts["known"]()[AAAA] == (0, ())
        parts["resolver"].answer = giving("shops.example.net. AAAA 2001:db8::1")
        await until(lambda: parts["known"]()[AAAA][1])
        assert parts["known"]()[A] == (0, ())


async def test_the_ttl_is_the_time_until_the_next_question(stage: Stage) -> None:
    async with running(stage, giving("shops.example.net. A 198.51.100.2", ttl=500)) as parts:
        await until(lambda: A in parts["known"]())
        assert parts["known"]()[A][0] == 500


async def test_records_of_other_names_are_no_answer(stage: Stage) -> None:
    lie = giving("bank.example.net. A 203.0.113.66", "shops.example.net. A 198.51.100.5")
    async with running(stage, lie) as parts:
        failed = stage.context.row.slot("dns.aliases.failed")
        await until(lambda: stage.context.row.slots[failed] >= 2)
        assert A not in parts["known"]()
        parts["resolver"].answer = giving("shops.example.net. CNAME x.example.net.", "x.example.net. A 198.51.100.5")
        await until(lambda: A in parts["known"]())
        assert parts["known"]()[A][1] == (b"\xc6\x33\x64\x05",)


async def test_many_addresses_are_bounded(stage: Stage) -> None:
    lines = [f"shops.example.net. A 198.51.{number // 250}.{number % 250}" for number in range(400)]
    whole = giving(*lines)
    client = await stage.client(lambda resolver, query: [], by_stream=whole, timeout_s=1, total_s=5)

    def truncating(resolver: Resolver, query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    stage.resolvers[0].answer = truncating
    found = await asking(client)(NAME)
    assert not isinstance(found[codes.A], str), found
    assert len(found[codes.A][1]) == module.MAX_ADDRESSES


@pytest.mark.parametrize("failure", [silent, failing(dns.rcode.SERVFAIL), failing(dns.rcode.REFUSED)])
async def test_the_last_addresses_stay_for_a_time(
    stage: Stage, failure: Answer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "npserver.dns")
    good = giving("shops.example.net. A 198.51.100.2")
    async with running(stage, good, stale_s=1000.0) as parts:
        await until(lambda: A in parts["known"]())
        failed = stage.context.row.slot("dns.aliases.failed")
        parts["resolver"].answer = failure
        await until(lambda: stage.context.row.slots[failed] >= 2)
        assert parts["known"]()[A][1] == (b"\xc6\x33\x64\x02",)
        (line,) = [one for one in caplog.messages if "does not resolve" in one]
        assert line.startswith("shops.example.net. does not resolve: the resolvers answer ")
        assert "(dns_alias_stale)" in line
        assert line.endswith("(ALIAS of example.com.)")
        parts["resolver"].answer = good
        await until(lambda: any("resolves again" in one for one in caplog.messages))


async def test_then_they_are_gone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async with running(stage, giving("shops.example.net. A 198.51.100.2"), stale_s=0.0) as parts:
        await until(lambda: A in parts["known"]())
        parts["resolver"].answer = failing(dns.rcode.SERVFAIL)
        await until(lambda: not parts["known"]())
        ended = [one for one in caplog.messages if "are not served any more" in one]
        assert sorted(ended) == [
            f"{kind} addresses of shops.example.net. are not served any more: no answer for 0 s (dns_alias_stale) "
            "(ALIAS of example.com.)"
            for kind in ("A", "AAAA")
        ]


async def test_one_type_can_fail_alone(stage: Stage) -> None:
    good = giving("shops.example.net. A 198.51.100.2")

    def half(resolver: Resolver, query: dns.message.Message) -> list[bytes]:
        is_good = query.question[0].rdtype == codes.A
        return (good if is_good else failing(dns.rcode.SERVFAIL))(resolver, query)

    async with running(stage, half) as parts:
        await until(lambda: A in parts["known"]())
        assert AAAA not in parts["known"]()


async def test_a_name_that_does_not_exist_has_no_addresses(stage: Stage) -> None:
    def missing(resolver: Resolver, query: dns.message.Message) -> list[bytes]:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return [reply.to_wire()]

    async with running(stage, missing) as parts:
        await until(lambda: parts["known"]() == {A: (0, ()), AAAA: (0, ())})


async def test_the_service_of_the_next_config_begins_with_what_is_known(stage: Stage) -> None:
    async with running(stage, giving("shops.example.net. A 198.51.100.2")) as parts:
        await until(lambda: A in parts["known"]())
    async with running(stage, silent) as parts:
        await until(lambda: stage.resolvers[0].asked)
        assert parts["known"]()[A][1] == (b"\xc6\x33\x64\x02",)
    forget_aliases(stage.context.pubsub)
    assert ADDRESSES.of(stage.context).known == {}


async def test_local_names_stay_in_the_network(stage: Stage) -> None:
    client = await stage.client(giving("nas.home.arpa. A 198.51.100.2"), timeout_s=1, random_case=False)
    name = parse_owner("nas.home.arpa")
    await asking(client)(name)
    assert not stage.resolvers[0].asked
    found = await asking(client, {parse_owner("home.arpa")})(name)
    assert found[codes.A] == (0, (b"\xc6\x33\x64\x02",))
    assert stage.resolvers[0].asked


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("192.0.2.1", "::1", "fe80::1%lo"), {codes.A: (30, (b"\xc0\0\2\1",))}),
        (OSError(5, "broken"), {codes.A: "broken", codes.AAAA: "broken"}),
        (TimeoutError(), {codes.A: "no answer within 10 s"}),
    ],
)
async def test_the_resolvers_of_the_system(
    monkeypatch: pytest.MonkeyPatch, found: Any, expected: dict[int, object]
) -> None:
    async def look_up(host: str) -> tuple[str, ...]:
        assert host == "shops.example.net"
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(module, "look_up", look_up)
    assert expected.items() <= (await ask_system(NAME)).items()


async def test_the_system_says_that_a_name_is_gone() -> None:
    found = await ask_system(parse_owner("gone.invalid"))
    assert all(isinstance(one, str) or one == (30, ()) for one in found.values())
    local = await ask_system(parse_owner("localhost"))
    assert local[codes.A] == (30, (b"\x7f\0\0\1",))
