"""Middleware around a handler over HTTP/1.1 and HTTP/2: requests that wait, responses that are changed.

Covers `web.exchange` and `web.server.exchange_peer`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from npserver.http.request import Request
from npserver.web.exchange import Middleware, Page, Refusal, ResponseFilter, ResponseStart
from tests.protocols.memory import Client as Http1Client
from tests.protocols.memory import Server
from tests.stage.http2 import GET
from tests.stage.http2 import Client as Http2Client
from tests.stage.http2 import server as http2_server


class Reply(Protocol):
    """A response as far as a client has received it."""

    status: int
    body: bytes


class Answering:
    """A handler that does to each exchange what a test says."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self.act = act
        self.exchanges: list[Any] = []

    def handle(self, exchange: Any) -> None:
        self.exchanges.append(exchange)
        self.act(exchange)


def respond(exchange: Any) -> None:
    exchange.respond(200, b"Content-Type: text/plain\r\n", b"body")


class Asked:
    """One GET over one version of HTTP: `status`, `fields`, `body`, `trailers` of what has come."""

    def __init__(self, version: str, handler: Answering, *middleware: Middleware, method: str = "GET") -> None:
        self.version = version
        self._method = method
        if version == "1.1":
            self.server = Server(handler, middleware=middleware)
            self._client = Http1Client(self.server, ("192.0.2.1", 40000))
            self._client.send(f"{method} /a HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        else:
            self.server = http2_server(handler, middleware=middleware)
            self._client2 = Http2Client(self.server)
            self._answer = self._client2.request([(":method", method), *GET[1:]])

    def settle(self) -> None:
        self.server.loop.settle()
        if self.version != "1.1":
            self._client2.read()

    @property
    def raw(self) -> bytes:
        return self._client.received

    @property
    def status(self) -> int:
        if self.version != "1.1":
            return self._answer.status if self._answer.fields else 0
        final = self.raw.rpartition(b"HTTP/1.1 ")[2]
        return int(final[:3]) if final else 0

    @property
    def fields(self) -> dict[str, str]:
        if self.version != "1.1":
            return dict(self._answer.fields)
        head = self.raw.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[0].decode()
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}

    @property
    def body(self) -> bytes:
        """The body; of a chunked one the chunks' contents."""
        if self.version != "1.1":
            return self._answer.body
        data = self.raw.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")[2]
        if "transfer-encoding" not in self.fields:
            return data
        body = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            if not int(size, 16):
                break
            body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
        return body

    @property
    def is_cut(self) -> bool:
        return self._client.transport.is_closed if self.version == "1.1" else self._answer.reset is not None

    def leave(self) -> None:
        """The client goes."""
        client = self._client if self.version == "1.1" else self._client2
        client.transport.abort()
        self.server.loop.settle()


@pytest.fixture(params=["1.1", "2"])
def version(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


class Waits(Middleware):
    """Holds requests until a test lets them proceed."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def request(self, exchange: Any) -> None:
        self.held.append(exchange)


class Answers(Middleware):
    """Answers by itself."""

    def request(self, exchange: Any) -> None:
        exchange.respond(401, b"", b"who?")


class Breaks(Middleware):
    def request(self, exchange: Any) -> None:
        raise ValueError("a fault of ours")


class ProceedsTwice(Middleware):
    def request(self, exchange: Any) -> None:
        exchange.proceed()
        exchange.proceed()


class Gate(Middleware):
    def __init__(self, refusal: Refusal | None) -> None:
        self.refusal = refusal

    def gate(self, client_ip: str, request: Request) -> Refusal | None:
        assert client_ip == "192.0.2.1"
        return self.refusal


class Upper(Middleware):
    """Turns bodies to upper case, and marks what it saw."""

    def __init__(self) -> None:
        self.filters: list[UpperFilter] = []

    def response(self, exchange: Any) -> ResponseFilter:
        self.filters.append(UpperFilter())
        return self.filters[-1]


class UpperFilter(ResponseFilter):
    def __init__(self) -> None:
        self.is_cancelled = False
        self.has_ended = False

    def interim(self, status: int, fields: bytes) -> bytes:
        return fields + b"Seen: interim\r\n"

    def start(self, head: ResponseStart) -> bool:
        head.fields += b"Seen: yes\r\n"
        if head.length is not None and head.has_body:
            head.length += 1
        return True

    def data(self, data: bytes) -> bytes:
        return data.upper()

    def end(self, trailers: bytes) -> tuple[bytes, bytes]:
        self.has_ended = True
        return b"!", trailers

    def cancel(self) -> None:
        self.is_cancelled = True


class Marks(Middleware):
    def __init__(self, mark: bytes) -> None:
        self.mark = mark

    def change_fields(self, fields: bytes) -> bytes:
        return fields + b"Mark: %b\r\n" % self.mark


class Pages(Middleware):
    def failure(self, exchange: Any, status: int) -> Page | None:
        return (b"Content-Type: text/plain\r\n", b"sorry") if status == 404 else None


class TestRequestSide:
    def test_a_request_waits_until_its_middleware_lets_it_proceed(self, version: str) -> None:
        handler, waits = Answering(respond), Waits()
        asked = Asked(version, handler, waits)
        assert (asked.status, len(handler.exchanges)) == (0, 0)
        waits.held[0].proceed()
        asked.settle()
        assert (asked.status, asked.body) == (200, b"body")

    def test_each_middleware_has_its_turn_in_order(self, version: str) -> None:
        handler, first, second = Answering(respond), Waits(), Waits()
        asked = Asked(version, handler, first, second)
        assert (len(first.held), len(second.held)) == (1, 0)
        first.held[0].proceed()
        assert (len(second.held), len(handler.exchanges)) == (1, 0)
        second.held[0].proceed()
        asked.settle()
        assert asked.status == 200

    def test_one_that_answers_ends_the_request(self, version: str) -> None:
        handler, waits = Answering(respond), Waits()
        asked = Asked(version, handler, Answers(), waits)
        assert (asked.status, asked.body) == (401, b"who?")
        assert (len(waits.held), len(handler.exchanges)) == (0, 0)

    def test_nothing_happens_when_the_client_left_while_it_waited(self, version: str) -> None:
        handler, waits = Answering(respond), Waits()
        asked = Asked(version, handler, waits)
        asked.leave()
        waits.held[0].proceed()
        assert handler.exchanges == []

    @pytest.mark.parametrize("middleware", [Breaks(), ProceedsTwice()])
    def test_a_fault_is_answered_with_500_and_logged(
        self, version: str, middleware: Middleware, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked = Asked(version, Answering(lambda exchange: None), middleware)
        asked.settle()
        assert asked.status == 500
        assert any(record.exc_info for record in caplog.records)

    def test_a_gate_refuses_before_the_handler(self, version: str) -> None:
        handler = Answering(respond)
        refused = Asked(version, handler, Gate(Refusal(429, "too many", "rate_limit", b"Retry-After: 1\r\n")))
        assert (refused.status, refused.fields["retry-after"]) == (429, "1")
        assert handler.exchanges == []
        assert Asked(version, handler, Gate(None)).status == 200


class TestResponseSide:
    def test_a_whole_answer_passes_the_filters_and_is_measured_again(self, version: str) -> None:
        asked = Asked(version, Answering(respond), Upper())
        assert (asked.status, asked.body) == (200, b"BODY!")
        assert (asked.fields["seen"], asked.fields["content-length"]) == ("yes", "5")

    def test_a_streamed_answer_passes_piece_by_piece(self, version: str) -> None:
        def stream(exchange: Any) -> None:
            exchange.start(200, b"", None, None)
            exchange.write(b"one")
            exchange.write(b"two")
            exchange.finish(b"T: 1\r\n")

        asked = Asked(version, Answering(stream), upper := Upper())
        asked.settle()
        assert asked.body == b"ONETWO!"
        assert upper.filters[0].has_ended

    def test_a_file_passes_as_a_stream(self, version: str, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"file" * 10_000)

        def send(exchange: Any) -> None:
            exchange.send_file(200, b"", os.open(tmp_path / "f", os.O_RDONLY), 0, 40_000)

        asked = Asked(version, Answering(send), Upper())
        asked.settle()
        assert asked.body == b"FILE" * 10_000 + b"!"
        assert asked.fields["content-length"] == "40001"

    def test_the_answer_to_head_passes_its_head_only(self, version: str) -> None:
        asked = Asked(version, Answering(respond), upper := Upper(), method="HEAD")
        assert (asked.status, asked.body, asked.fields["seen"]) == (200, b"", "yes")
        assert asked.fields["content-length"] == "4"
        assert not upper.filters[0].has_ended

    def test_interim_responses_are_seen(self) -> None:
        def early(exchange: Any) -> None:
            exchange.inform(103, b"Link: </x>\r\n")
            respond(exchange)

        assert b"103 Early Hints\r\nLink: </x>\r\nSeen: interim\r\n\r\n" in Asked("1.1", Answering(early), Upper()).raw

    def test_what_the_server_answers_itself_is_seen_too(self, version: str) -> None:
        refused = Asked(version, Answering(respond), Upper(), Gate(Refusal(403, "no", "deny")))
        assert (refused.status, refused.fields["seen"]) == (403, "yes")

    def test_filters_are_cancelled_when_the_client_leaves(self, version: str) -> None:
        def begin(exchange: Any) -> None:
            exchange.start(200, b"", None, None)
            exchange.write(b"part")

        asked = Asked(version, Answering(begin), upper := Upper())
        asked.leave()
        assert upper.filters[0].is_cancelled
        assert not upper.filters[0].has_ended

    def test_filters_are_cancelled_when_the_answer_is_broken_off(self, version: str) -> None:
        handler = Answering(lambda exchange: exchange.start(200, b"", 10, None))
        asked = Asked(version, handler, upper := Upper())
        handler.exchanges[0].abort("upstream is gone")
        asked.settle()
        assert asked.is_cut
        assert upper.filters[0].is_cancelled

    def test_fixed_changes_of_fields_are_made_in_reverse_order(self, version: str) -> None:
        asked = Asked(version, Answering(respond), Marks(b"outer"))
        assert asked.fields["mark"] == "outer"
        raw = Asked("1.1", Answering(respond), Marks(b"outer"), Marks(b"inner")).raw
        assert raw.index(b"Mark: inner") < raw.index(b"Mark: outer")

    def test_a_page_stands_in_for_the_built_in_one(self, version: str) -> None:
        asked = Asked(version, Answering(lambda exchange: exchange.fail(404, "gone")), Pages())
        assert (asked.status, asked.body) == (404, b"sorry")
        assert Asked(version, Answering(lambda exchange: exchange.fail(410, "gone")), Pages()).body != b"sorry"
