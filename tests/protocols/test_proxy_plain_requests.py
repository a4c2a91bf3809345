"""Plain requests take no exchange through the proxy, and nobody may be able to tell (`web.handlers.proxy.direct`).

Whatever an upstream does, it does to a plain request and to one that takes an exchange, each over a pooled connection:
both must fare the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from npserver.web.handlers.proxy.direct import DirectCall
from npserver.web.server.http1.connection import Http1Connection
from npserver.web.server.http1.exchange import Http1Exchange
from tests.protocols.proxying import WAIT_S, Client, Connection, Origin, Stage, get, ok, silent, until
from tests.protocols.upstream_acts import ACTS, Act, sends, then

#: Makes a request that is not plain; upstreams here do not care.
CONDITION = "If-None-Match: x\r\n"


async def fare(act: Act, fields: str, **stage_options: Any) -> tuple[bytes, list[int], int, dict[str, int]]:
    """The response to a second request, the requests still in flight, the connections used, the counters."""
    async with Origin(then(act)) as origin, Stage(origin.url, **stage_options) as stage:
        assert (await stage.ask(get()))[2] == b"first"
        client = await stage.client()
        await client.send(get(fields=fields))
        got = await until_quiet(client)
        client.close()
        await until(lambda: stage.loads == [0])
        front = stage.front
        row = front.context.row
        row.publish()
        counts = {name: row.slots[row.slot(f"http.{name}")] for name in ("requests", "sent_bytes", "responses.2xx")}
        lines = [line for line in got.split(b"\r\n") if not line.startswith(b"Date: ")]
        return b"\r\n".join(lines), stage.loads, len(origin.connections), counts


async def until_quiet(client: Client) -> bytes:
    """All that comes until nothing more does, or the end."""
    got = await asyncio.wait_for(client.reader.read(65536), WAIT_S)
    while not client.reader.at_eof():
        try:
            got += await asyncio.wait_for(client.reader.read(65536), 0.2)
        except TimeoutError:
            return got
    return got + b"<end>"


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_plain_request_fares_as_with_an_exchange(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    init = DirectCall.fall_back

    def fall_back(call: DirectCall) -> Http1Exchange:
        made.append(call)
        return init(call)

    monkeypatch.setattr(DirectCall, "fall_back", fall_back)
    plain = await fare(act, "")
    count = len(made)
    conditional = await fare(act, CONDITION)
    assert plain == conditional
    assert count >= 1, "the first request of all has no idle connection: it takes an exchange"
    assert len(made) == count + 1, "a request with a condition begins with an exchange"


@pytest.mark.parametrize("act", [ACTS["whole"], ACTS["whole and large"], ACTS["empty"], ACTS["404"]])
async def test_a_plain_request_takes_no_exchange(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    exchange_for = Http1Connection.exchange_for

    def note(connection: Http1Connection, *arguments: Any, **options: Any) -> Http1Exchange:
        made.append(connection)
        return exchange_for(connection, *arguments, **options)

    monkeypatch.setattr(Http1Connection, "exchange_for", note)
    await fare(act, "")
    assert len(made) == 1, "for the very first request only"


@pytest.mark.parametrize("fields", ["", CONDITION])
async def test_another_target_is_asked_when_one_is_busy(fields: str) -> None:
    """`retry_on` with a status, and no POST: the second target answers."""
    busy = then(sends(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))

    async def fine(connection: Connection) -> None:
        while await connection.head():
            await connection.send(ok(b"fine"))

    async with Origin(busy) as first, Origin(fine) as second:
        config = {"upstreams": {"pool": {"targets": [first.url, second.url], "retry_on": ["503"]}}}
        async with Stage("upstream://pool", config=config) as stage:
            found = [(await stage.ask(get()))[2] for _ in range(2)]
            assert sorted(found) == [b"fine", b"first"]
            assert [(await stage.ask(get(fields=fields)))[2] for _ in range(2)] == [b"fine", b"fine"]
            assert stage.loads == [0, 0]


class TestClient:
    """The client's actions meanwhile."""

    async def test_a_client_may_leave(self) -> None:
        """The upstream need not go on, and nothing is left behind."""
        async with Origin(then(silent)) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            client = await stage.client()
            await client.send(get())
            await until(lambda: stage.loads == [1] and origin.seen.count(b"GET /") == 2)
            assert len(stage.context.connections) == 2
            client.reset()
            await until(lambda: stage.loads == [0])
            assert len(stage.context.connections) == 1
            await until(lambda: origin.connections[0].reader.at_eof())

    async def test_ends_its_side_and_waits(self) -> None:
        """RFC 9112 §9.6: it still gets its answer, and the connection is closed."""
        gate = asyncio.Event()

        async def act(connection: Connection) -> None:
            await gate.wait()
            await connection.send(ok(b"late"))

        async with Origin(then(act)) as origin, Stage(origin.url) as stage:
            await stage.ask(get())
            client = await stage.client()
            await client.send(get())
            client.writer.write_eof()
            await until(lambda: stage.loads == [1] and any(one.read_all for one in stage.context.connections))
            gate.set()
            got = await client.rest()
            assert got.endswith(b"late")
            assert b"Connection: close\r\n" in got

    async def test_a_client_may_pipeline(self) -> None:
        """Answers keep their order; what was read ahead waits (RFC 9112 §9.3.2)."""

        async def script(connection: Connection) -> None:
            while head := await connection.head():
                await asyncio.sleep(0.01)
                await connection.send(ok(head.split(b" ")[1]))

        async with Origin(script) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.ask(get("/0"))
            await client.send(b"".join(get(f"/{number}") for number in range(1, 9)))
            assert [(await client.answer())[2] for _ in range(8)] == [b"/%d" % number for number in range(1, 9)]
            await client.send(get("/9") + get("/10") + get("/11"))
            client.writer.write_eof()
            heads = (await client.rest()).split(b"HTTP/1.1 ")[1:]
            assert [head.rpartition(b"/")[2] for head in heads] == [b"9", b"10", b"11"]
            assert [b"Connection: close" in head for head in heads] == [False, False, True]

    async def test_waits_for_one_that_is_silent(self) -> None:
        async with Origin(then(silent)) as origin, Stage(origin.url, timeouts={"response": 7}) as stage:
            await stage.ask(get())
            client = await stage.client()
            await client.send(get())
            await until(lambda: stage.loads == [1])
            stage.pass_time(20)
            assert (await client.answer())[0] == 504
            assert stage.loads == [0]

    @pytest.mark.parametrize("fields", ["", CONDITION])
    async def test_is_told_when_its_connection_ends(self, fields: str) -> None:
        """`max_requests_per_connection` holds."""

        async def script(connection: Connection) -> None:
            while await connection.head():
                await connection.send(ok())

        async with Origin(script) as origin:
            async with Stage(origin.url, config={"limits": {"max_requests_per_connection": 3}}) as stage:
                client = await stage.client()
                heads = [(await client.ask(get(fields=fields)))[1] for _ in range(3)]
                assert [b"Connection: close" in head for head in heads] == [False, False, True]
                assert await client.rest() == b""

    async def test_that_a_trusted_proxy_speaks_for(self) -> None:
        """The client's address is read from the fields: that takes an exchange."""

        async def script(connection: Connection) -> None:
            while head := await connection.head():
                await connection.send(ok(head))

        config = {"networks": {"near": ["127.0.0.0/8"]}, "trusted_proxies": ["near"]}
        async with Origin(script) as origin, Stage(origin.url, config=config) as stage:
            for _ in range(3):
                passed = (await stage.ask(get(fields="X-Forwarded-For: 192.0.2.7\r\n")))[2]
                assert b"X-Real-IP: 192.0.2.7\r\n" in passed
