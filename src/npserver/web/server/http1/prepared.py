"""Answers that wait in memory: sent without an exchange. Used by `web.server.http1.connection` for plain requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from npserver.web.server.http1.response import JOINED_BYTES
from npserver.web.server.http1.state import IDLE

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.web.route import Route
    from npserver.web.server.http1.connection import HttpConnection
    from npserver.web.server.http1.one_shot import Newcomer


class Ready(Protocol):
    """A whole answer that waits to be sent."""

    @property
    def status(self) -> int:
        """Of a response with a body."""

    @property
    def head(self) -> bytes:
        """The field lines, Content-Length among them, and the empty line."""

    @property
    def body(self) -> bytes:
        """The whole of it."""


def answer_ready(connection: HttpConnection | Newcomer, request: Request, route: Route) -> bool:
    """Answer a plain request with what its handler has ready. False: it takes an exchange."""
    # hot: static-small
    ready = route.ready
    if connection.is_misdirected is not None or (answer := ready(request)) is None:  # type: ignore[misc]
        return False
    front, context = connection.front, connection.context
    status, body = answer.status, answer.body
    access_log = context.access_log
    if access_log.enabled:
        if front.trusted is not None:
            return False  # who is asking has to be found out
        access_log.request(
            client_ip=connection.client_ip, request=request, scheme=connection.scheme, status=status, received=0,
            sent=len(body), duration_s=0.0, upstream="", request_id="", user="",
        )  # fmt: skip
    requests = connection.requests = connection.requests + 1
    size = len(body)
    tallies = front.tallies
    tallies[front.requests_tally] += 1
    tallies[front.class_tallies[status // 100]] += 1
    tallies[front.sent_tally] += size
    connection.state = IDLE
    connection.deadline = context.sweeper.now + front.idle_s
    head = answer.head
    is_last = not request.keep_alive or connection.read_all or context.draining or requests >= front.max_requests
    if is_last:
        head = head[:-2] + b"Connection: close\r\n\r\n"
    if size <= JOINED_BYTES:
        connection.transport.write(b"".join((front.starts[status], head, body)))
    else:
        connection.transport.writelines((front.starts[status] + head, body))
    if is_last:
        connection.leave(request)
    return True
