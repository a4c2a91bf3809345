"""Plain requests over HTTP/2 take no exchange through the proxy, and nobody may be able to tell (RFC 9113 §8).

Whatever an upstream or a client does, it does to a plain request and to one that takes an exchange, each over a pooled
connection: both must fare the same. Covers `web.handlers.proxy.direct` and `web.server.http2.response_head`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from npserver.observe.request_record import RequestRecord
from npserver.web.handlers.proxy.direct import DirectStream
from npserver.web.server.http2.connection import Http2Connection
from npserver.web.server.http2.exchange import Http2Exchange
from tests.protocols.proxying import WAIT_S, Client, Connection, Origin, Stage, get, ok, silent, until
from tests.protocols.upstream_acts import ACTS, Act, then
from tests.stage.worker import SilentLog

if TYPE_CHECKING:
    from npserver.observe.access_log import AccessLog

#: Makes a request that is not plain; upstreams here do not care.
CONDITION = {"if-none-match": "x"}


class Records:
    """An access log that keeps what it is told."""

    enabled = True
    gives_ids = False

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def request(self, record: RequestRecord) -> None:
        is_timed = 0 < record.duration_s < WAIT_S
        self.seen.append((record.client_ip, record.scheme, record.status, record.sent, is_timed, bool(record.upstream)))


class Streams:
    """A client of HTTP/2."""

    def __init__(self, client: Client, window: int = 65535) -> None:
        self.client = client
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.http2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.events: dict[int, list[tuple[Any, ...]]] = {}
        self.is_over = False

    async def begin(self, fields: dict[str, str] | None = None) -> int:
        """Ask for `/`; return the stream."""
        stream = self.http2.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "site.test", **(fields or {})}
        self.http2.send_headers(stream, list(head.items()), end_stream=True)
        self.events[stream] = []
        await self.flush()
        return stream

    async def flush(self) -> None:
        await self.client.send(self.http2.data_to_send())

    async def ended(self, stream: int) -> list[tuple[Any, ...]]:
        """Return what has come on a stream once it has ended, or the connection."""
        while not self.is_over and not any(event[0] in ("end", "reset") for event in self.events[stream]):
            await self.read()
        return self.events[stream]

    async def read(self) -> None:
        """Read once."""
        data = await asyncio.wait_for(self.client.reader.read(65536), WAIT_S)
        self.is_over = not data
        for event in self.http2.receive_data(data):
            self._note(event)
        if not self.is_over:
            await self.flush()

    def received(self, stream: int) -> int:
        """Return how many bytes of a body have come."""
        return sum(len(event[1]) for event in self.events[stream] if event[0] == "data")

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, (h2.events.ResponseReceived, h2.events.InformationalResponseReceived)):
            fields = [(name, value) for name, value in event.headers or () if name != "date"]
            self.events[event.stream_id].append(("head", fields))
        elif isinstance(event, h2.events.TrailersReceived):
            self.events[event.stream_id].append(("trailers", event.headers))
        elif isinstance(event, h2.events.StreamEnded):
            self.events[event.stream_id].append(("end",))
        elif isinstance(event, h2.events.StreamReset):
            self.events[event.stream_id].append(("reset", event.error_code))
        elif isinstance(event, h2.events.DataReceived):
            seen = self.events[event.stream_id]
            if seen[-1][0] == "data":
                seen[-1] = "data", seen[-1][1] + event.data
            else:
                seen.append(("data", event.data))


@asynccontextmanager
async def staged(origin: Origin, **options: Any) -> AsyncIterator[Stage]:
    """Serve HTTP/2 without TLS, with a connection to the origin in the pool."""
    async with Stage(origin.url, **options) as stage:
        stage.front.plain_http2 = True
        assert (await stage.ask(get()))[2] == b"first"
        yield stage


def counts(stage: Stage) -> dict[str, int]:
    row = stage.front.context.row
    row.publish()
    return {name: row.slots[row.slot(f"http.{name}")] for name in ("requests", "sent_bytes", "responses.2xx")}


def connection_of(stage: Stage) -> Http2Connection:
    (connection,) = [one for one in stage.context.connections if isinstance(one, Http2Connection)]
    return connection


async def fare(act: Act, fields: dict[str, str], log: Records | SilentLog) -> tuple[object, ...]:
    """What came, the requests still in flight, the connections used, the counters."""
    async with Origin(then(act)) as origin, staged(origin) as stage:
        stage.context.access_log = cast("AccessLog", log)
        client = Streams(await stage.client())
        seen = await client.ended(await client.begin(fields))
        await until(lambda: stage.loads == [0])
        connection = connection_of(stage)
        await until(lambda: not connection.streams)
        return seen, stage.loads, len(origin.connections), counts(stage)


@pytest.fixture
def fallen_back(monkeypatch: pytest.MonkeyPatch) -> list[DirectStream]:
    """Return the list of calls that take an exchange after all."""
    made: list[DirectStream] = []
    fall_back = DirectStream.fall_back

    def note(call: DirectStream) -> None:
        made.append(call)
        fall_back(call)

    monkeypatch.setattr(DirectStream, "fall_back", note)
    return made


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Http2Exchange]:
    """Return the list of exchanges that are made."""
    made: list[Http2Exchange] = []
    exchange_for = Http2Connection.exchange_for

    def note(connection: Http2Connection, *arguments: Any) -> Http2Exchange:
        made.append(exchange_for(connection, *arguments))
        return made[-1]

    monkeypatch.setattr(Http2Connection, "exchange_for", note)
    return made


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
async def test_a_plain_request_fares_as_with_an_exchange(act: Act, fallen_back: list[DirectStream]) -> None:
    plain, conditional = Records(), Records()
    seen = await fare(act, {}, plain)
    count = len(fallen_back)
    assert seen == await fare(act, CONDITION, conditional)
    assert len(plain.seen) == 1
    assert plain.seen == conditional.seen
    assert len(fallen_back) == count, "a request with a condition begins with an exchange"


@pytest.mark.parametrize("name", ["whole", "whole and large", "empty", "404"])
async def test_a_plain_request_takes_no_exchange(name: str, exchanges: list[Http2Exchange]) -> None:
    await fare(ACTS[name], {}, SilentLog())
    assert not exchanges
    await fare(ACTS[name], CONDITION, SilentLog())
    assert len(exchanges) == 1


@pytest.mark.parametrize("fields", [{}, CONDITION], ids=["plain", "conditional"])
class TestClient:
    """The client's actions meanwhile."""

    async def test_may_reset_its_request(self, fields: dict[str, str]) -> None:
        """The upstream need not go on; the request is counted, and nothing is left behind."""
        async with Origin(then(silent)) as origin, staged(origin) as stage:
            client = Streams(await stage.client())
            stage.context.access_log = cast("AccessLog", log := Records())
            stream = await client.begin(fields)
            await until(lambda: stage.loads == [1] and origin.seen.count(b"GET /") == 2)
            client.http2.reset_stream(stream)
            await client.flush()
            await until(lambda: stage.loads == [0])
            assert not connection_of(stage).streams
            assert counts(stage)["requests"] == 2
            assert log.seen == [("127.0.0.1", "http", 499, 0, True, True)]
            await until(lambda: origin.connections[0].reader.at_eof())

    async def test_may_leave(self, fields: dict[str, str]) -> None:
        """Likewise."""
        async with Origin(then(silent)) as origin, staged(origin) as stage:
            client = Streams(await stage.client())
            await client.begin(fields)
            await until(lambda: stage.loads == [1] and origin.seen.count(b"GET /") == 2)
            client.client.reset()
            await until(lambda: stage.loads == [0])
            await until(lambda: len(stage.context.connections) == 1)
            assert counts(stage)["requests"] == 2
            await until(lambda: origin.connections[0].reader.at_eof())

    async def test_may_read_slowly(self, fields: dict[str, str]) -> None:
        """What its window does not allow waits for it."""
        async with Origin(then(ACTS["whole and large"])) as origin, staged(origin) as stage:
            client = Streams(await stage.client(), window=1000)
            stream = await client.begin(fields)
            while client.received(stream) < 1000:
                await client.read()
            connection = connection_of(stage)
            assert list(connection.streams) == [stream]
            client.http2.increment_flow_control_window(9000, stream)
            await client.flush()
            seen = await client.ended(stream)
            assert seen[1] == ("data", b"b" * 9000)
            await until(lambda: not connection.streams)
            assert counts(stage) == {"requests": 2, "sent_bytes": 9005, "responses.2xx": 2}

    async def test_that_reads_nothing_is_given_up(self, fields: dict[str, str]) -> None:
        """`timeouts.write` ends its stream; the request has been counted already."""
        limit = {"timeouts": {"write": 0.5}}
        async with Origin(then(ACTS["whole and large"])) as origin, staged(origin, config=limit) as stage:
            client = Streams(await stage.client(), window=1000)
            stream = await client.begin(fields)
            while client.received(stream) < 1000:
                await client.read()
            connection = connection_of(stage)
            assert (await client.ended(stream))[-1] == ("reset", h2.errors.ErrorCodes.CANCEL)
            await until(lambda: not connection.streams)
            assert counts(stage) == {"requests": 2, "sent_bytes": 9005, "responses.2xx": 2}

    async def test_waits_for_an_upstream_that_is_silent(self, fields: dict[str, str]) -> None:
        """`timeouts.response` holds."""
        async with Origin(then(silent)) as origin, staged(origin, timeouts={"response": 7}) as stage:
            client = Streams(await stage.client())
            stream = await client.begin(fields)
            await until(lambda: stage.loads == [1] and origin.seen.count(b"GET /") == 2)
            stage.pass_time(20)
            (head, *_) = await client.ended(stream)
            assert dict(head[1])[":status"] == "504"
            assert stage.loads == [0]

    async def test_has_each_answer_on_its_stream(self, fields: dict[str, str]) -> None:
        """Of more requests at once than there are idle connections, the others take an exchange."""

        async def script(connection: Connection) -> None:
            while head := await connection.head():
                turn = head.partition(b"x-turn: ")[2][:3]
                await connection.send(ok(turn or b"first"))

        async with Origin(script) as origin, staged(origin) as stage:
            client = Streams(await stage.client())
            for _ in range(2):
                streams = {await client.begin({"x-turn": str(100 + turn), **fields}): turn for turn in range(50)}
                for stream, turn in streams.items():
                    assert (await client.ended(stream))[1:] == [("data", b"%d" % (100 + turn)), ("end",)]
            await until(lambda: stage.loads == [0])

    async def test_is_told_when_its_connection_ends(self, fields: dict[str, str]) -> None:
        """`max_requests_per_connection` holds: GOAWAY comes after the last request, which is answered."""

        async def script(connection: Connection) -> None:
            while await connection.head():
                await connection.send(ok(b"first"))

        async with Origin(script) as origin:
            async with staged(origin, config={"limits": {"max_requests_per_connection": 3}}) as stage:
                client = Streams(await stage.client())
                for _ in range(2):
                    assert (await client.ended(await client.begin(fields)))[-1] == ("end",)
                await client.begin(fields)
                assert b"first" in await client.client.rest()  # the library would read no stream after GOAWAY
                assert counts(stage)["responses.2xx"] == 4
