"""Responses pass the filters of a route's middleware, last in the list first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from npserver.web.exchange import Middleware, ResponseFilter, ResponseStart, make_route
from npserver.web.server.response_filters import ResponseFilters


class Wrapping(ResponseFilter):
    """Puts every piece into brackets, and says so at the end."""

    def __init__(self, opening: bytes, closing: bytes) -> None:
        self.brackets = opening, closing
        self.is_cancelled = False

    def interim(self, status: int, fields: bytes) -> bytes:
        return fields + self.brackets[0]

    def start(self, head: ResponseStart) -> bool:
        head.fields += self.brackets[0]
        head.length = None
        return True

    def data(self, data: bytes) -> bytes:
        return self.brackets[0] + data + self.brackets[1]

    def end(self, trailers: bytes) -> tuple[bytes, bytes]:
        return b".", trailers + self.brackets[1]

    def cancel(self) -> None:
        self.is_cancelled = True


class Around(Middleware):
    def __init__(self, made: ResponseFilter | None) -> None:
        self.made = made

    def response(self, exchange: Any) -> ResponseFilter | None:
        return self.made


def filters(*made: ResponseFilter | None) -> ResponseFilters:
    route = make_route("test", SimpleNamespace(handle=None), 0, tuple(Around(one) for one in made))
    exchange: Any = SimpleNamespace(route=route)
    return ResponseFilters(exchange)


def test_the_last_middleware_sees_the_response_first() -> None:
    passed = filters(Wrapping(b"(", b")"), None, Wrapping(b"[", b"]"))
    head = passed.start(ResponseStart(200, b"", 1, has_body=True))
    assert (head.fields, head.length) == (b"[(", None)
    assert passed.wants_body
    assert passed.data(b"x") == b"([x])"
    assert passed.end(b"") == (b"(.).", b"])")


def test_a_whole_body_is_passed_at_once() -> None:
    passed = filters(Wrapping(b"(", b")"))
    passed.start(ResponseStart(200, b"", 1, has_body=True))
    assert passed.end_after(b"x") == (b"(x).", b")")


def test_a_response_without_a_body_passes_its_head_only() -> None:
    passed = filters(Wrapping(b"(", b")"))
    assert passed.start(ResponseStart(304, b"", None, has_body=False)).fields == b"("
    assert not passed.wants_body


def test_the_base_passes_everything_on_unchanged() -> None:
    passed = filters(ResponseFilter())
    assert passed.interim(103, b"Link: x\r\n") == b"Link: x\r\n"
    head = passed.start(ResponseStart(200, b"A: b\r\n", 4, has_body=True))
    assert (head.status, head.fields, head.length, passed.wants_body) == (200, b"A: b\r\n", 4, False)
    assert ResponseFilter().data(b"x") == b"x"
    assert ResponseFilter().end(b"T: 1\r\n") == (b"", b"T: 1\r\n")


def test_interim_responses_and_the_end_before_time_reach_every_filter() -> None:
    first, second = Wrapping(b"(", b")"), Wrapping(b"[", b"]")
    passed = filters(first, second)
    assert passed.interim(103, b"") == b"[("
    passed.cancel()
    assert first.is_cancelled
    assert second.is_cancelled


class Keeping(ResponseFilter):
    """Keeps everything until it is flushed."""

    def __init__(self) -> None:
        self.kept = b""

    def start(self, head: ResponseStart) -> bool:
        return True

    def data(self, data: bytes) -> bytes:
        self.kept += data
        return b""

    def flush(self) -> bytes:
        kept, self.kept = self.kept, b""
        return kept


def test_what_a_filter_has_kept_passes_those_after_it_when_it_is_flushed() -> None:
    passing = filters(Wrapping(b"<", b">"), Keeping(), Keeping())
    passing.start(ResponseStart(200, b"", None, True))
    assert passing.data(b"a") == b""
    assert passing.flush() == b"<a>"
    assert passing.flush() == b""
