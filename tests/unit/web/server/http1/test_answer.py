"""Whole responses as bytes, and requests for which a response in memory is not used."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from npserver.errors import BadRequest
from npserver.http.request import Request
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.observe.request_record import RequestRecord
from npserver.web.exchange import Middleware, Refusal, Route, make_route
from npserver.web.server.http1.answer import JOINED_BYTES, prepared_answer, refusal, whole_answer

HTTP_11 = parse_head(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", HeadLimits())
HTTP_10 = parse_head(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", HeadLimits())


class Front:
    """A front that keeps what it is told."""

    def __init__(self, *, is_logged: bool = False, trusted: Any = None) -> None:
        self.context = SimpleNamespace(access_log=SimpleNamespace(enabled=is_logged))
        self.trusted = trusted
        self.starts = {200: b"HTTP/1.1 200 OK\r\n", 400: b"HTTP/1.1 400 Bad Request\r\n"}
        self.composed: dict[object, bytes] = {}
        self.counted: list[tuple[int, int]] = []
        self.records: list[RequestRecord] = []
        self.bad_clients: list[str] = []
        self.on_bad_request = self.bad_clients.append

    def count(self, status: int, sent: int, received: int = 0) -> None:
        self.counted.append((status, sent))

    def finished(self, record: RequestRecord) -> None:
        self.records.append(record)


@dataclass(eq=False)
class InMemory:
    status: int = 200
    fields: bytes = b"X: y\r\n"
    body: bytes = b"body"


class Handler:
    def __init__(self, answer: InMemory | None) -> None:
        self.answer = answer

    def handle(self, exchange: Any) -> None:
        raise AssertionError("not asked for")

    def prepared(self, request: Request) -> InMemory | None:
        return self.answer


class Closed(Middleware):
    def gate(self, client_ip: str, request: Request) -> Refusal | None:
        return None if client_ip == "192.0.2.1" else Refusal(403, "closed", "deny")


class Marked(Middleware):
    def change_fields(self, fields: bytes) -> bytes:
        return fields + b"Mark: 1\r\n"


class Waits(Middleware):
    def request(self, exchange: Any) -> None:
        raise AssertionError("not asked for")


def route(*middleware: Middleware, answer: InMemory | None = None) -> Route:
    return make_route("test", Handler(answer or InMemory()), 0, middleware)


@pytest.mark.parametrize(
    ("request_", "is_last", "end"),
    [
        (HTTP_11, False, b"\r\n"),
        (HTTP_11, True, b"Connection: close\r\n\r\n"),
        (HTTP_10, False, b"Connection: keep-alive\r\n\r\n"),
        (HTTP_10, True, b"Connection: close\r\n\r\n"),
    ],
)
def test_rfc9112_9_3_the_connection_field_says_whether_the_connection_is_kept(
    request_: Request, is_last: bool, end: bytes
) -> None:
    front: Any = Front()
    answer = whole_answer(front, request_, 200, b"X: y\r\n", b"abc", is_last=is_last)
    assert answer == b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n" + end + b"abc"


def test_a_large_body_is_a_buffer_of_its_own() -> None:
    front: Any = Front()
    body = b"b" * (JOINED_BYTES + 1)
    answer = whole_answer(front, HTTP_11, 200, b"", body, is_last=False)
    assert isinstance(answer, tuple)
    assert answer[1] is body
    assert answer[0].endswith(b"Content-Length: %d\r\n\r\n" % len(body))


@pytest.mark.parametrize("is_logged", [False, True])
def test_an_answer_from_memory_is_counted_once_and_logged_where_that_is_on(is_logged: bool) -> None:
    front: Any = Front(is_logged=is_logged)
    for _ in range(2):
        answer = prepared_answer(front, HTTP_11, route(), "192.0.2.1", "http", is_last=False)
        assert isinstance(answer, bytes)
        assert answer.endswith(b"\r\n\r\nbody")
    assert front.counted == ([] if is_logged else [(200, 4), (200, 4)])
    assert [(one.status, one.sent, one.client_ip) for one in front.records] == [(200, 4, "192.0.2.1")] * 2 * is_logged


def test_gates_and_fixed_header_changes_need_no_exchange() -> None:
    front: Any = Front()
    answer = prepared_answer(front, HTTP_11, route(Closed(), Marked()), "192.0.2.1", "http", is_last=False)
    assert isinstance(answer, bytes)
    assert b"X: y\r\nMark: 1\r\nContent-Length: 4\r\n" in answer


@pytest.mark.parametrize(
    ("routed", "trusted"),
    [
        (route(Waits()), None),  # a request side waits for something
        (make_route("test", Handler(None), 0), None),  # nothing is in memory
        (route(Closed()), ("198.51.100.1",)),  # who is asking is still to be found out
    ],
)
def test_other_requests_take_an_exchange(routed: Route, trusted: Any) -> None:
    front: Any = Front(trusted=trusted)
    assert prepared_answer(front, HTTP_11, routed, "192.0.2.1", "http", is_last=False) is None
    assert front.counted == []


def test_a_refused_request_takes_an_exchange_and_is_not_counted() -> None:
    front: Any = Front()
    assert prepared_answer(front, HTTP_11, route(Closed()), "192.0.2.2", "http", is_last=False) is None
    assert front.counted == []


def test_bytes_that_are_no_request_get_a_plain_page_and_the_end() -> None:
    front: Any = Front()
    error = BadRequest("no request")
    answer = refusal(front, "192.0.2.1", "http", b"nonsense\r\n\r\n", error, b"Retry-After: 5\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\nRetry-After: 5\r\n")
    assert b"Connection: close" in head
    assert b"Content-Length: %d" % len(body) in head
    assert body == b"400 Bad Request\n"
    assert front.counted == [(400, len(body))]
    assert front.bad_clients == ["192.0.2.1"]


def test_bytes_that_are_no_request_have_a_record() -> None:
    front: Any = Front(is_logged=True)
    refusal(front, "192.0.2.1", "https", b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", BadRequest("bad field"))
    (record,) = front.records
    assert (record.client_ip, record.scheme, record.status, record.sent) == ("192.0.2.1", "https", 400, 16)
    assert (record.request.method, record.request.target, record.request.protocol) == ("GET", "/a", "HTTP/1.1")
    assert front.counted == []
