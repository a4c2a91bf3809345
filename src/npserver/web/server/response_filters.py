"""The response filters of one exchange: each response passes the response sides of its route's middleware in turn.

Made by `web.server.exchange_base` for routes whose middleware has a response side; others never come here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange, ResponseFilter, ResponseStart


class ResponseFilters:
    """The filters of one response, in the order in which it passes them."""

    __slots__ = ("_all", "_of_body")

    def __init__(self, exchange: Exchange) -> None:
        made = [response(exchange) for response in exchange.route.responses]
        self._all: list[ResponseFilter] = [one for one in made if one is not None]
        self._of_body: list[ResponseFilter] = []

    @property
    def wants_body(self) -> bool:
        """Whether the body has to pass `data` and `end`."""
        return bool(self._of_body)

    @property
    def is_paced(self) -> bool:
        """Whether the body is to pass in pieces, as one of the filters makes their source wait."""
        return any(one.is_paced for one in self._of_body)

    def interim(self, status: int, fields: bytes) -> bytes:
        """Pass an interim response; return its field lines."""
        for one in self._all:
            fields = one.interim(status, fields)
        return fields

    def start(self, head: ResponseStart) -> ResponseStart:
        """Pass the head, which the filters may change."""
        self._of_body = [one for one in self._all if one.start(head) and head.has_body]
        return head

    def data(self, data: bytes) -> bytes:
        """Pass a piece of the body; return what is to be sent."""
        for one in self._of_body:
            if not data:
                break
            data = one.data(data)
        return data

    def flush(self) -> bytes:
        """Return what the filters have kept, each passed through those after it."""
        rest = b""
        for one in self._of_body:
            passed = one.data(rest) if rest else b""
            rest = passed + one.flush()
        return rest

    def end(self, trailers: bytes) -> tuple[bytes, bytes]:
        """Pass the end; return the bytes still to be sent, and the trailers."""
        rest = b""
        for one in self._of_body:
            passed = one.data(rest) if rest else b""
            last, trailers = one.end(trailers)
            rest = passed + last
        return rest, trailers

    def end_after(self, body: bytes) -> tuple[bytes, bytes]:
        """Pass a whole body and its end; return the bytes to be sent, and the trailers."""
        first = self.data(body)
        rest, trailers = self.end(b"")
        return first + rest, trailers

    def cancel(self) -> None:
        """The response ends before it is complete."""
        for one in self._all:
            one.cancel()
