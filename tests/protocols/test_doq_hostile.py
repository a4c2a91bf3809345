"""DNS over QUIC from hostile clients, in one process: each error with its code (RFC 9250 §4.3), floods, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest

from npserver.nameserver.quic import connection as doq
from npserver.nameserver.quic.front import DnsOverQuic
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
from tests.stage.http3 import Server

LARGE = {f"n{n}.home": {"TXT": "x" * 250} for n in range(4000)}  # a zone of more than 1 MB
RESPONSE = bytes(2) + b"\x81" + question()[3:]


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


def with_id(message: bytes, number: int) -> bytes:
    return number.to_bytes(2, "big") + message[2:]


KEEPALIVE = dns.edns.GenericOption(11, b"")
#: Bytes on a stream, with its end, after which the connection is closed with DOQ_PROTOCOL_ERROR (§4.3.3).
PROTOCOL_ERRORS = {
    "a message ID": framed(with_id(question(), 7)),
    "a message ID of 256": framed(with_id(question(), 256)),
    "nothing": b"",
    "half a length": b"\0",
    "a length alone": b"\0\x20",
    "half a message": framed(question())[:-1],
    "an empty message": framed(b""),
    "a message of one byte": framed(b"\0"),
    "less than a header": framed(bytes(11)),
    "a response": framed(RESPONSE),
    "a byte after the query": framed(question()) + b"\0",
    "two queries": 2 * framed(question()),
    "edns-tcp-keepalive": framed(question(use_edns=0, options=[KEEPALIVE])),
    "edns-tcp-keepalive after another option": framed(
        question(use_edns=0, options=[dns.edns.GenericOption(65001, b"x"), KEEPALIVE])
    ),
}


class TestErrors:
    async def test_errors_of_the_protocol(self, server: Server) -> None:
        for case, data in PROTOCOL_ERRORS.items():
            async with connected(server.port) as client:
                answer = client.raw(0, data, has_ended=True)
                assert (case, await client.until_closed(), answer.body) == (case, doq.PROTOCOL_ERROR, b"")
        await client.until(lambda: not server.count("gauge.dns.connections"))

    async def test_more_than_one_query_without_an_end(self, server: Server) -> None:
        async with connected(server.port) as client:
            client.raw(0, framed(question()))
            client.raw(0, framed(question()))
            assert await client.until_closed() == doq.PROTOCOL_ERROR

    @pytest.mark.parametrize("is_reset", [False, True])
    async def test_unidirectional_streams(self, server: Server, is_reset: bool) -> None:
        async with connected(server.port) as client:
            stream = client.quic.get_next_available_stream_id(is_unidirectional=True)
            if is_reset:
                client.quic._get_or_create_stream_for_send(stream)
                client.quic.reset_stream(stream, 0)
                client.send()
            else:
                client.raw(stream, framed(question()), has_ended=True)
            assert await client.until_closed() == doq.PROTOCOL_ERROR

    @pytest.mark.parametrize("sent", [framed(question()), framed(question())[:10]], ids=["whole", "half"])
    async def test_a_stream_that_does_not_end(self, tmp_path: Path, sent: bytes) -> None:
        """Other queries meanwhile do not put off the time at which it must have ended."""
        async with serving(tmp_path, {"timeout": "500ms"}) as server, connected(server.port) as client:
            answer = client.raw(client.quic.get_next_available_stream_id(), sent)
            while client.closed is None:
                _, other = client.ask()
                await client.until(lambda other=other: other.has_ended or client.closed is not None)
            assert (client.closed.error_code, answer.body) == (doq.PROTOCOL_ERROR, b"")

    async def test_a_stream_that_does_not_end_beside_a_query_that_awaits_a_resolver(
        self, tmp_path: Path, resolver: LateResolver
    ) -> None:
        parts = forwarding(resolver)
        async with serving(tmp_path, {"timeout": "300ms"}, **parts) as server, connected(server.port) as client:
            client.ask(question("a.late.net"))
            await client.until(lambda: resolver.due)
            client.raw(client.quic.get_next_available_stream_id(), b"\0")
            assert await client.until_closed() == doq.PROTOCOL_ERROR
            resolver.answer_late()
            async with connected(server.port) as another:
                await another.answered(question("b.net"))  # after the late answer, whose socket is then closed

    async def test_too_much_of_queries_that_do_not_end(self, server: Server) -> None:
        async with connected(server.port) as client:
            for _ in range(5):
                client.raw(client.quic.get_next_available_stream_id(), b"\xff\xff" + bytes(40_000))
            assert await client.until_closed() == doq.EXCESSIVE_LOAD

    async def test_an_internal_error(
        self, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connected(server.port) as client:
            with monkeypatch.context() as patch:
                patch.setattr(DnsOverQuic, "answer", lambda self, *of: 1 // 0)
                _, answer = client.ask()
                await client.until(lambda: answer.reset is not None)
            assert answer.reset == doq.INTERNAL_ERROR
            assert "error while answering a query of 127.0.0.1" in caplog.text
            assert len((await client.answered()).answer) == 1


class TestCancellations:
    async def test_of_a_query_that_awaits_a_resolver(self, tmp_path: Path, resolver: LateResolver) -> None:
        async with serving(tmp_path, **forwarding(resolver)) as server, connected(server.port) as client:
            stream, answer = client.ask(question("a.late.net"))
            await client.until(lambda: resolver.due)
            client.quic.stop_stream(stream, doq.REQUEST_CANCELLED)
            client.send()
            await client.until(lambda: answer.reset is not None)
            assert answer.reset == doq.REQUEST_CANCELLED
            resolver.answer_late()
            assert len((await client.answered()).answer) == 1
            assert answer.body == b""

    async def test_of_a_query_that_is_not_complete(self, server: Server) -> None:
        async with connected(server.port) as client:
            stream = client.quic.get_next_available_stream_id()
            answer = client.raw(stream, b"\0")
            client.quic.reset_stream(stream, doq.REQUEST_CANCELLED)
            client.send()
            await client.until(lambda: answer.reset is not None)
            assert (answer.reset, client.closed) == (doq.REQUEST_CANCELLED, None)
            assert len((await client.answered()).answer) == 1

    async def test_too_many(self, tmp_path: Path) -> None:
        async with serving(tmp_path, limits={"max_resets": 5}) as server, connected(server.port) as client:
            for _ in range(10):
                stream = client.quic.get_next_available_stream_id()
                client.raw(stream, b"\0")
                client.quic.reset_stream(stream, doq.REQUEST_CANCELLED)
                client.send()
            assert await client.until_closed() == doq.EXCESSIVE_LOAD

    async def test_streams_are_forgotten(self, server: Server) -> None:
        """More of them than can be open at once are served, in whatever way they are cancelled."""
        async with connected(server.port) as client:
            for number in range(250):
                stream = client.quic.get_next_available_stream_id()
                answer = client.raw(stream, framed(question())[: number % 3 * 20], has_ended=False)
                if number % 2:
                    client.quic.stop_stream(stream, doq.REQUEST_CANCELLED)
                client.quic.reset_stream(stream, doq.REQUEST_CANCELLED)
                client.send()
                await client.until(lambda answer=answer: answer.reset is not None)
            assert len((await client.answered()).answer) == 1
            (connection,) = server.context.connections
            await client.until(lambda: not connection._streams)
            assert (connection._partial, connection._partial_bytes) == ({}, 0)


class TestLimits:
    async def test_an_idle_connection(self, tmp_path: Path) -> None:
        async with serving(tmp_path, {"timeout": "200ms"}) as server, connected(server.port) as client:
            await client.answered()
            assert await client.until_closed() == doq.NO_ERROR

    async def test_connections_of_an_address(self, tmp_path: Path) -> None:
        """Those that are too many when their handshakes begin are not answered, those that are at its end refused."""
        async with serving(tmp_path, timeouts={"max_connections_per_ip": 2}) as server:
            clients = [DoqClient(server.port) for _ in range(5)]
            await asyncio.gather(*[client.connect() for client in clients])
            await clients[0].until(lambda: sum(one.closed is not None for one in clients) == 3)
            assert [one.closed.error_code for one in clients if one.closed] == [doq.EXCESSIVE_LOAD] * 3
            more = DoqClient(server.port)
            more.quic.connect(more.server, asyncio.get_running_loop().time())
            more.send()
            await more.until(lambda: server.count("quic.strays"))
            assert not more.received
            for client in clients:
                client.leave()
                client.close()
            more.close()
            await more.until(lambda: not server.count("gauge.dns.connections"))
            async with connected(server.port) as client:
                await client.answered()

    async def test_all_connections(self, tmp_path: Path) -> None:
        async with serving(tmp_path, limits={"max_connections": 1}) as server:
            clients = [DoqClient(server.port) for _ in range(2)]
            await asyncio.gather(*[client.connect() for client in clients])
            await clients[0].until(lambda: any(one.closed is not None for one in clients))
            assert [one.closed.error_code for one in clients if one.closed] == [doq.EXCESSIVE_LOAD]
            for client in clients:
                client.leave()
                client.close()

    @pytest.mark.parametrize("key", ["timeouts.write", "limits.max_unread"])
    async def test_a_client_that_reads_nothing(
        self, tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It opens no window for its answers."""
        caplog.set_level("INFO", "npserver.dns")
        section, _, name = key.partition(".")
        more: dict[str, Any] = {section: {name: "500ms" if name == "write" else "20k"}}
        rule = {"allow_transfer": "127.0.0.1", "timeout": "300ms"}
        async with (
            serving(tmp_path, rule, dns=LARGE, **more) as server,
            connected(server.port, max_stream_data=1000) as client,
        ):
            await client.answered(question("n1.home"))
            connection = await accepted(client, server)
            for _ in range(4):
                stream, _ = client.ask(question("home", "AXFR"))
                opened = client.quic._streams[stream]
                opened.max_stream_data_local = opened.max_stream_data_local_sent = 1 << 30  # which it never is told
            assert await client.until_closed() == doq.EXCESSIVE_LOAD
            assert connection._written < 300_000
            assert key in caplog.text

    async def test_answers_that_wait_hold_back_further_queries(self, tmp_path: Path) -> None:
        records = {"big.home": {"TXT": ["y" * 200 + str(n) for n in range(200)]}}
        async with (
            serving(tmp_path, dns=records) as server,
            connected(server.port, max_data=10_000, max_stream_data=10_000) as client,
        ):
            client.quic._local_max_data.value = client.quic._local_max_data.sent = 10_000
            await client.answered(question("none.home"))
            connection = await accepted(client, server)
            asked = [client.ask(question("big.home", "TXT"))[1] for _ in range(30)]
            client.is_muted = True
            await client.until(lambda: connection._quic.quic.is_held)
            assert connection._written < 150_000
            client.is_muted = False
            client.send()
            await client.until(lambda: all(one.has_ended for one in asked))
            assert {len(messages(one)[0].answer[0]) for one in asked} == {200}

    async def test_networks_learn_of_queries(self, tmp_path: Path) -> None:
        config: dict[str, Any] = {"networks": {"busy": {"learn": {"dns": 3}, "except": []}}}
        async with serving(tmp_path, {"deny": "busy"}, **config) as server, connected(server.port) as client:
            rcodes = [(await client.answered()).rcode() for _ in range(4)]
            assert rcodes == [dns.rcode.NOERROR] * 3 + [dns.rcode.REFUSED]
