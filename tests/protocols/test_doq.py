"""DNS over QUIC (RFC 9250), in one process: answers, transfers, the end of connections.

Covers nameserver.quic.front, nameserver.quic.connection, nameserver.quic.query_stream.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest

from npserver.nameserver.quic import connection as doq
from npserver.nameserver.quic.query_stream import QueryStream
from tests.stage.doq import (
    DoqClient,
    LateResolver,
    accepted,
    connected,
    forwarding,
    framed,
    messages,
    question,
    serving,
)
from tests.stage.doq_memory import DoqClient as DoqClientInMemory
from tests.stage.http3 import Server

LARGE = {f"n{n}.home": {"TXT": "x" * 250} for n in range(4000)}  # a zone of more than 1 MB


@pytest.fixture
async def resolver() -> AsyncIterator[LateResolver]:
    """Yield a resolver."""
    found = LateResolver()
    await found.start()
    yield found
    found.stop()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Yield a name server."""
    async with serving(tmp_path) as found:
        yield found


class TestAnswers:
    async def test_many_queries_at_once(self, server: Server) -> None:
        async with connected(server.port) as client:
            asked = [client.ask(question("nas.home" if n % 2 else "none.home"))[1] for n in range(90)]
            await client.until(lambda: all(one.has_ended for one in asked))
            replies = [messages(one) for one in asked]
            assert {len(one) for one in replies} == {1}
            assert [one.rcode() for (one,) in replies] == [dns.rcode.NXDOMAIN, dns.rcode.NOERROR] * 45
            assert {one.id for (one,) in replies} == {0}
            await client.answered()
        await client.until(lambda: not server.count("gauge.dns.connections"))

    async def test_more_queries_than_streams_at_once(self, tmp_path: Path) -> None:
        async with serving(tmp_path, limits={"max_streams": 3}) as server, connected(server.port) as client:
            assert client.quic._remote_max_streams_bidi == 3
            for _ in range(20):
                assert len((await client.answered()).answer) == 1

    async def test_a_query_byte_by_byte(self, server: Server) -> None:
        async with connected(server.port) as client:
            stream = client.quic.get_next_available_stream_id()
            for byte in framed(question()):
                client.raw(stream, bytes((byte,)))
            answer = client.raw(stream, b"", has_ended=True)
            await client.until(lambda: answer.has_ended)
            assert len(messages(answer)[0].answer) == 1

    async def test_a_malformed_message_is_answered_as_over_tcp(self, server: Server) -> None:
        async with connected(server.port) as client:
            assert (await client.answered(question()[:-3])).rcode() == dns.rcode.FORMERR
            assert (await client.answered(bytes((0, 0, 0x28)) + bytes(9))).rcode() == dns.rcode.REFUSED  # an update
            assert (await client.answered()).rcode() == dns.rcode.NOERROR

    async def test_the_largest_query(self, server: Server) -> None:
        size = 65_535 - len(question(use_edns=0))
        option = b"\xff\x01" + (size - 4).to_bytes(2, "big") + bytes(size - 4)
        async with connected(server.port) as client:
            largest = question(use_edns=0)[:-2] + size.to_bytes(2, "big") + option
            assert len(largest) == 65_535
            assert len((await client.answered(largest)).answer) == 1

    async def test_answers_are_padded_for_those_who_ask(self, server: Server) -> None:
        async with connected(server.port) as client:
            for padding, size in (([dns.edns.GenericOption(dns.edns.PADDING, b"")], 468), ([], 53 + 11)):
                _, answer = client.ask(question("nas.home", use_edns=0, options=padding))
                await client.until(lambda answer=answer: answer.has_ended)
                assert len(answer.body) - 2 < 468 if not padding else len(answer.body) - 2 == size

    async def test_views_and_access(self, tmp_path: Path) -> None:
        config: dict[str, Any] = {
            "networks": {"office": ["127.0.0.2"], "bad": ["127.0.0.3"]},
            "dns_views": [{"from": "office", "dns": {"nas.home": {"A": "10.0.0.1"}}}],
        }
        async with serving(tmp_path, {"deny": "bad"}, **config) as server:
            for source, expected in (("127.0.0.1", "192.0.2.10"), ("127.0.0.2", "10.0.0.1"), ("127.0.0.3", "REFUSED")):
                async with connected(server.port, source=source) as client:
                    reply = await client.answered()
                    found = str(reply.answer[0][0]) if reply.answer else dns.rcode.to_text(reply.rcode())
                    assert found == expected

    async def test_a_resolver_delays_only_its_own_queries(self, tmp_path: Path, resolver: LateResolver) -> None:
        async with serving(tmp_path, **forwarding(resolver)) as server, connected(server.port) as client:
            _, late = client.ask(question("a.late.net"))
            await client.until(lambda: resolver.due)
            assert str((await client.answered(question("b.net"))).answer[0][0]) == "198.51.100.7"
            assert str((await client.answered()).answer[0][0]) == "192.0.2.10"
            assert not late.has_ended
            resolver.answer_late()
            await client.until(lambda: late.has_ended)
            assert (messages(late)[0].id, messages(late)[0].rcode()) == (0, dns.rcode.NOERROR)

    async def test_a_connection_is_kept_while_a_resolver_is_awaited(
        self, tmp_path: Path, resolver: LateResolver
    ) -> None:
        parts = forwarding(resolver)
        async with serving(tmp_path, {"timeout": "100ms"}, **parts) as server, connected(server.port) as client:
            _, late = client.ask(question("a.late.net"))
            pings = client.received
            await client.until(lambda: client.received > pings + 100)  # PINGs: it has been idle long enough
            resolver.answer_late()
            await client.until(lambda: late.has_ended)
            assert await client.until_closed() == doq.NO_ERROR

    async def test_queries_are_counted(self, server: Server) -> None:
        async with connected(server.port) as client:
            await client.answered()
            await client.answered(question("nas.home", "AAAA"))
            assert server.count("gauge.dns.connections") == 1
            await client.until(lambda: server.count("dns.queries.doq") == 2)
            assert server.count("dns.queries.tls") == 0

    async def test_there_is_nothing_to_resume(self, server: Server) -> None:
        """Without a session ticket there is no 0-RTT either (§4.5)."""
        tickets: list[object] = []
        client = DoqClient(server.port)
        client.quic._session_ticket_handler = tickets.append
        await client.connect()
        await client.answered()
        assert tickets == []
        client.leave()
        client.close()

    @pytest.mark.parametrize("protocol", ["h3", ""])
    async def test_clients_of_another_protocol(self, server: Server, protocol: str) -> None:
        client = DoqClient(server.port, protocol=protocol)
        client.http = None
        await client.connect()
        assert not client.has_shaken
        assert client.closed is not None and client.closed.error_code >> 8 == 1  # a TLS alert
        client.close()


class TestTransfers:
    async def test_a_zone_larger_than_the_windows(self, tmp_path: Path) -> None:
        async with (
            serving(tmp_path, {"allow_transfer": "127.0.0.1"}, dns=LARGE) as server,
            connected(server.port) as client,
        ):
            asked = [client.ask(question("home", "AXFR"))[1] for _ in range(2)]
            assert len((await client.answered(question("n1.home", "TXT"))).answer) == 1
            await client.until(lambda: all(one.has_ended for one in asked))
            for one in asked:
                assert sum(len(rrset) for reply in messages(one) for rrset in reply.answer) == 4002
                assert len(messages(one)) > 10

    async def test_those_who_may_not(self, server: Server) -> None:
        async with connected(server.port) as client:
            assert (await client.answered(question("home", "AXFR"))).rcode() == dns.rcode.REFUSED

    async def test_one_that_is_cancelled(self, tmp_path: Path) -> None:
        async with (
            serving(tmp_path, {"allow_transfer": "127.0.0.1"}, dns=LARGE) as server,
            connected(server.port, max_stream_data=4096) as client,
        ):
            stream, answer = client.ask(question("home", "AXFR"))
            await client.until(lambda: answer.body)
            client.quic.stop_stream(stream, doq.REQUEST_CANCELLED)
            client.send()
            await client.until(lambda: answer.reset is not None)
            assert answer.reset == doq.REQUEST_CANCELLED
            assert len((await client.answered(question("n1.home", "TXT"))).answer) == 1


class TestLeaving:
    async def test_a_stop_waits_for_the_present_answers(self, tmp_path: Path, resolver: LateResolver) -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(serving(tmp_path, **forwarding(resolver)))
            idle, busy = DoqClient(server.port), DoqClient(server.port)
            for client in (idle, busy):
                await client.connect()
                await client.answered()
            _, late = busy.ask(question("a.late.net"))
            await busy.until(lambda: resolver.due)
            stopping = asyncio.ensure_future(stack.aclose())
            assert await idle.until_closed() == doq.NO_ERROR
            assert busy.closed is None
            assert len((await busy.answered()).answer) == 1
            resolver.answer_late()
            assert await busy.until_closed() == doq.NO_ERROR
            assert len(messages(late)[0].answer) == 1
            await stopping
            for client in (idle, busy):
                client.close()

    async def test_a_client_that_acknowledges_nothing_does_not_hold_up_a_stop(
        self, tmp_path: Path, resolver: LateResolver
    ) -> None:
        async with AsyncExitStack() as stack:
            more = {"timeouts": {"shutdown": 25}, **forwarding(resolver)}
            server = await stack.enter_async_context(serving(tmp_path, **more))
            client = DoqClient(server.port)
            await client.connect()
            client.ask(question("a.late.net"))
            await client.until(lambda: resolver.due)
            client.is_muted = True
            connection = await accepted(client, server)
            stopping = asyncio.ensure_future(stack.aclose())
            await client.until(lambda: connection._is_leaving)
            resolver.answer_late()
            async with asyncio.timeout(20):
                await stopping
            client.close()


def test_a_connection_leaves_no_reference_cycle() -> None:
    gc.collect()
    client = DoqClientInMemory()
    for stream, query in enumerate((question(), question("home", "AXFR"))):
        client.quic.send_stream_data(4 * stream, framed(query), end_stream=True)
    client.quic.send_stream_data(8, framed(question())[:5])
    client.exchange()
    assert client.doq._written
    gc.disable()
    try:
        client.end()
        client.endpoint.http.clear()
        assert [one for one in gc.get_objects() if isinstance(one, (doq.DoqConnection, QueryStream))] == []
    finally:
        gc.enable()
