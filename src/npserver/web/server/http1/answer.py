"""Whole HTTP/1.1 answers as bytes: the one place that composes them, for exchanges, prepared answers and bare sockets.

What is returned here is written by a connection, or straight to a socket that has no transport yet. The caller says
whether the answer is the connection's last (RFC 9112 §9.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.memo import Memo
from npserver.observe.request_record import RequestRecord
from npserver.web import error_pages
from npserver.web.server.refusals import refuse

if TYPE_CHECKING:
    from npserver.errors import BadRequest
    from npserver.http.request import Request
    from npserver.web.exchange import Route
    from npserver.web.server.roles import FrontRole

JOINED_BYTES = 4096  # a longer body goes out as a buffer of its own: copying it would cost more
MAX_COMPOSED = 256  # answers kept as they are sent, for the second that their Date is right
CLOSE_LINE = b"Connection: close\r\n\r\n"
KEEP_LINE = b"Connection: keep-alive\r\n\r\n"  # HTTP/1.0 clients wait for it

#: A whole answer: its bytes, or head and body apart.
Answer = bytes | tuple[bytes, bytes]


class _StatusLines(dict[int, bytes]):
    """Status lines by code, each made when first asked for. A code without a phrase has an empty one (RFC 9112 §4)."""

    def __missing__(self, status: int) -> bytes:
        line = self[status] = f"HTTP/1.1 {status} {error_pages.phrase(status, '')}\r\n".encode()
        return line


STATUS_LINES = _StatusLines()
LENGTH_LINES: Memo[int, bytes] = Memo(lambda size: b"Content-Length: %d\r\n" % size, JOINED_BYTES + 1)


def whole_answer(
    front: FrontRole, request: Request, status: int, fields: bytes, body: bytes, *, is_last: bool
) -> Answer:
    """Compose an answer that has a body, which may be empty. `fields`: complete lines, without Content-Length."""
    # hot: static-small, proxy-small
    end = CLOSE_LINE if is_last else b"\r\n" if request.minor_version else KEEP_LINE
    size = len(body)
    if size <= JOINED_BYTES:
        return b"".join((front.starts[status], fields, LENGTH_LINES[size], end, body))
    return b"".join((front.starts[status], fields, b"Content-Length: %d\r\n" % size, end)), body


def prepared_answer(
    front: FrontRole, request: Request, route: Route, client_ip: str, scheme: str, *, is_last: bool
) -> Answer | None:
    """Compose, count and log the answer that a route keeps in memory for a plain request.

    Return None if the request takes an exchange: nothing is prepared, or a gate refuses it, or the client's address is
    still to be found out.
    """
    # hot: static-small
    if route.prepared is None or (prepared := route.prepared(request)) is None:
        return None
    is_logged = front.context.access_log.enabled and route.is_logged
    if front.trusted is not None and (is_logged or route.gates):
        return None
    for gate in route.gates:
        if gate(client_ip, request) is not None:
            return None
    status, body = prepared.status, prepared.body
    if route.times is not None:
        route.times.count(request.host, status, 0.0)
    if is_logged:
        front.finished(
            RequestRecord(client_ip, request, scheme, status, 0, len(body), rule=route.rule_name or route.key)
        )
    else:
        front.count(status, len(body))
    if not is_last and (composed := front.composed.get(prepared)) is not None:
        return composed
    fields = prepared.fields
    if route.change_fields is not None:
        fields = route.change_fields(fields)
    answer = whole_answer(front, request, status, fields, body, is_last=is_last)
    if not is_last and isinstance(answer, bytes) and len(front.composed) < MAX_COMPOSED:
        front.composed[prepared] = answer
    return answer


def refusal(
    front: FrontRole, client_ip: str, scheme: str, data: bytes, error: BadRequest, fields: bytes = b""
) -> bytes:
    """Compose, count and log the answer to bytes that are no request, or to a connection that is one too many.

    The connection is closed after it. `data`: what has been received of the request; `fields`: added to the answer's.
    """

    def asked() -> Request:
        from npserver.http.refused_request import refused_request

        return refused_request(data)

    page_fields, body = refuse(front, client_ip, scheme, error, asked)
    return b"".join((front.starts[error.status], fields, page_fields, LENGTH_LINES[len(body)], CLOSE_LINE, body))
