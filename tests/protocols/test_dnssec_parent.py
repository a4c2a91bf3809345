"""The parent of a signed zone is asked for its DS record: what its servers say, hostile answers, and roll-overs by it.

Covers `nameserver.dnssec.parent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

from npserver.nameserver.dnssec import parent, service
from npserver.nameserver.dnssec.parent import Servers, ask_parent
from npserver.nameserver.dnssec.rollover import awaits_ds, begin, ds_seen
from tests.protocols.test_dnssec_rollover import APEX, DAY, HOUR, NAME, Primary
from tests.stage.serving import forgiving
from tests.stage.signing import NOW
from tests.stage.worker import running_context

DNSKEY = bytes((1, 1, 3, 13)) + bytes(range(64))
Answer = Callable[[dns.message.Message], dns.message.Message | bytes | None]


def ds_of(dnskey: bytes, digest: str = "SHA256") -> str:
    key = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.DNSKEY, dnskey, 0, len(dnskey))
    return dns.dnssec.make_ds(NAME, key, digest).to_text()


class Parent:
    """A name server of the parent. `records`: its DS records."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.ttl = 3600
        self.answer: Answer = self.as_it_must
        self.asked = 0
        self.tasks: set[asyncio.Task[object]] = set()

    def as_it_must(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        assert not query.flags & dns.flags.RD
        if self.records and query.question[0].rdtype == dns.rdatatype.DS:
            reply.answer.append(dns.rrset.from_text_list(query.question[0].name, self.ttl, "IN", "DS", self.records))
        return reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        query = dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        self.asked += 1
        answer = self.answer(query)
        if answer is not None:
            data = answer if isinstance(answer, bytes) else answer.to_wire()
            writer.write(len(data).to_bytes(2, "big") + data)
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def parents(count: int = 1, host: str = "127.0.0.1") -> AsyncIterator[tuple[list[Parent], Servers]]:
    found = [Parent() for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        addresses = []
        for one in found:
            server = await asyncio.start_server(forgiving(one.serve), host, 0)
            await stack.enter_async_context(server)
            addresses.append((host, server.sockets[0].getsockname()[1]))
        yield found, Servers(tuple(addresses))
        for one in found:
            async with asyncio.timeout(20):
                await asyncio.gather(*one.tasks, return_exceptions=True)


async def test_all_name_servers_have_to_have_it() -> None:
    async with parents(2) as (found, servers):
        said = await ask_parent(APEX, DNSKEY, servers)
        assert said.has_ds is False
        assert "has no DS record of key" in said.text
        found[0].records = [ds_of(DNSKEY)]
        assert (await ask_parent(APEX, DNSKEY, servers)).has_ds is False
        found[1].records, found[1].ttl = [ds_of(DNSKEY[:-1] + b"\0"), ds_of(DNSKEY, "SHA384")], 7200
        said = await ask_parent(APEX, DNSKEY, servers)
        assert (said.has_ds, said.ttl) == (True, 7200)
        found[1].answer = lambda query: dns.message.make_response(query)
        said = await ask_parent(APEX, DNSKEY, servers)
        assert said.has_ds is None
        assert "is no authority for the parent" in said.text


def of_another_owner(reply: dns.message.Message) -> dns.message.Message:
    reply.answer = [dns.rrset.from_text(f"www.{NAME}", 60, "IN", "DS", ds_of(DNSKEY))]
    return reply


def refused(reply: dns.message.Message) -> dns.message.Message:
    reply.set_rcode(dns.rcode.REFUSED)
    return reply


def without_authority(reply: dns.message.Message) -> dns.message.Message:
    reply.flags &= ~dns.flags.AA
    return reply


def truncated(reply: dns.message.Message) -> dns.message.Message:
    reply.flags |= dns.flags.TC
    return reply


def of_another_question(reply: dns.message.Message) -> dns.message.Message:
    reply.question[0].rdtype = dns.rdatatype.CDS
    return reply


def wrong_digest(reply: dns.message.Message) -> dns.message.Message:
    text = ds_of(DNSKEY)
    reply.answer = [dns.rrset.from_text(NAME, 60, "IN", "DS", text[:-1] + ("0" if text[-1] != "0" else "1"))]
    return reply


HOSTILE: dict[str, tuple[Callable[[dns.message.Message], dns.message.Message | bytes], bool | None]] = {
    "another owner": (of_another_owner, False),
    "another digest": (wrong_digest, False),
    "refused": (refused, None),
    "no authority": (without_authority, None),
    "truncated": (truncated, None),
    "another question": (of_another_question, None),
    "another id": (lambda reply: bytes((reply.to_wire()[0] ^ 1,)) + reply.to_wire()[1:], None),
    "no reply": (lambda reply: reply.to_wire()[:2] + b"\0" + reply.to_wire()[3:], None),
    "cut off": (lambda reply: reply.to_wire()[:-5], None),
    "a header": (lambda reply: reply.to_wire()[:12], None),
    "nothing": (lambda reply: b"", None),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_answers_that_are_none(kind: str) -> None:
    change, wanted = HOSTILE[kind]
    async with parents() as ((one,), servers):
        one.records = [ds_of(DNSKEY)]
        one.answer = lambda query: change(one.as_it_must(query))
        assert (await ask_parent(APEX, DNSKEY, servers)).has_ds is wanted


async def test_silence_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "ANSWER_S", 0.1)
    async with parents() as ((one,), servers):
        one.answer = lambda query: None  # and ends the connection
        said = await ask_parent(APEX, DNSKEY, servers)
        assert said.has_ds is None
        assert "cannot be asked" in said.text
    with socket.create_server(servers.given[0]):  # which takes connections, and nothing else
        said = await ask_parent(APEX, DNSKEY, servers)
        assert "does not answer within 0.1 s" in said.text
    said = await ask_parent(APEX, DNSKEY, servers)
    assert said.has_ds is None
    assert "cannot be asked" in said.text


async def test_the_parent_is_found_by_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone above may be several labels up; each of its name servers is asked."""
    async with parents(2) as ((resolver, one), servers):
        (own, (_, port)) = servers.given
        monkeypatch.setattr(parent, "PORT", port)
        names = {("com.", "NS"): ["a.nic.test.", "b.nic.test."], ("a.nic.test.", "A"): ["127.0.0.1"]}

        def resolve(query: dns.message.Message) -> dns.message.Message:
            assert query.flags & dns.flags.RD
            reply, question = dns.message.make_response(query), query.question[0]
            place = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
            if place in names:
                reply.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", place[1], names[place]))
            return reply

        resolver.answer = resolve
        one.records = [ds_of(DNSKEY)]
        by_resolver = Servers(resolvers=(own,))
        said = await ask_parent(APEX, DNSKEY, by_resolver)
        assert said.has_ds is None
        assert "b.nic.test.: it has no address" in said.text
        names["b.nic.test.", "A"] = ["127.0.0.1"]
        assert (await ask_parent(APEX, DNSKEY, by_resolver)).has_ds is True
        assert one.asked == 3
        names["com.", "NS"] = [f"n{number}.nic.test." for number in range(21)]
        assert "at most 20 are asked" in (await ask_parent(APEX, DNSKEY, by_resolver)).text
        del names["com.", "NS"]
        assert "no name servers of the parent" in (await ask_parent(APEX, DNSKEY, by_resolver)).text


def newest(primary: Primary) -> bytes:
    return primary.state.entry_points()[-1].load()[0]


@contextlib.asynccontextmanager
async def rolling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Primary, list[Parent]]]:
    """A zone whose former key is to be replaced: the DS record of the new one is waited for."""
    monkeypatch.setattr(service, "ASK_S", 0.0)
    async with running_context() as context, parents(2) as (found, servers):
        primary = Primary(context, tmp_path, parent=servers)
        await primary.move(0.0)
        await primary.move(2 * DAY)
        for one in found:
            one.records = [ds_of(newest(primary))]
        await primary.service.ask_parents()
        await primary.move(0.0)
        assert awaits_ds(primary.state) is None
        await primary.change(lambda state: begin(state, "csk"))
        await primary.move(2 * HOUR)
        assert awaits_ds(primary.state) is not None
        yield primary, found


async def ask(primary: Primary, seconds: float = 0.0) -> int:
    """Have the parent asked, and move the clock. Return how many keys the zone has."""
    await primary.service.ask_parents()
    await primary.move(seconds)
    return len(primary.state.keys)


async def test_a_former_key_goes_when_all_servers_have_the_new_ds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "npserver.dns")
    async with rolling(tmp_path, monkeypatch) as (primary, found):
        old, new = found[0].records, [ds_of(newest(primary))]
        assert await ask(primary, 100 * DAY) == 2
        found[0].records = [*old, *new]
        assert await ask(primary, 100 * DAY) == 2
        found[1].records, found[1].ttl = new, int(3 * DAY)
        assert await ask(primary, 0.0) == 2
        assert awaits_ds(primary.state) is None
        assert primary.state.entry_points()[-1].ds_ttl == 3 * DAY
        assert await ask(primary, 3 * DAY) == 2  # an hour more, until all name servers have a change
        assert await ask(primary, 2 * HOUR) == 1
        assert "has the DS record of key" in caplog.text


async def test_a_former_key_stays_if_the_new_ds_vanishes_or_was_never_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with rolling(tmp_path, monkeypatch) as (primary, found):
        old, new = found[0].records, [ds_of(newest(primary))]
        await primary.change(lambda state: ds_seen(state, primary.now))  # somebody says so, but it is not
        await primary.move(100 * DAY)  # asked before the key goes
        assert len(primary.state.keys) == 2
        await primary.move(0.0)
        assert awaits_ds(primary.state) is not None
        assert "the former key stays, as the parent lacks the DS record of its successor" in caplog.text
        for one in found:
            one.records = new
        assert await ask(primary, HOUR) == 2
        found[1].records = old
        assert await ask(primary, 100 * DAY) == 2
        found[1].records = new
        assert await ask(primary, HOUR) == 2  # caches may have the old one alone again
        assert await ask(primary, 2 * DAY) == 1


async def test_a_parent_that_cannot_be_asked_is_told_of_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rolling(tmp_path, monkeypatch) as (primary, found):
        for one in found:
            one.answer = lambda query: b""
        assert await ask(primary, 100 * DAY) == 2
        await primary.change(lambda state: ds_seen(state, primary.now))
        assert await ask(primary, 2 * DAY) == 1


async def test_a_dnssec_service_tells_what_the_parent_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from npserver.runtime.signed_zone_states import published_signed

    async with rolling(tmp_path, monkeypatch) as (primary, _):
        await ask(primary)
        context: Any = primary.service._context
        (shown,) = published_signed(context.pubsub)
        assert "has no DS record of key" in shown.parent
        assert primary.now > NOW
