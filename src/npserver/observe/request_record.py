"""The records of a finished request and of an answered DNS query: made once at the end, read by the formats of logs.

The HTTP server makes that of a request (`web.server.front.HttpFront.finished`), only where somebody reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.http.request import Request


class Attempt(Struct, eq=False):
    """One attempt to have a request answered by a target. Times are of the monotonic clock."""

    target: str  # its URI
    started: float
    connected: float  # `started` for a connection that there was
    answered: float  # when the head of the response came, or the attempt failed
    ended: float  # when all of the response had come


class RequestRecord(Struct, eq=False):
    """One request and how it was answered. Sizes are bytes of bodies."""

    client_ip: str
    request: Request
    scheme: str  # "http" or "https"
    status: int  # 499 if the client was gone before it was answered
    received: int
    sent: int
    duration_s: float = 0.0
    upstream: str = ""  # the URI of the target that answered, or "cache"
    request_id: str = ""
    user: str = ""  # who logged in
    rule: str = ""  # its name, or its key in the config; "" if no rule was found
    exchange: Any = None  # a `web.exchange.Exchange`, for the variables of logs; None if the request had none


class SessionRecord(Struct, eq=False):
    """A forwarded connection or session that has ended. Sizes are bytes from and to the client."""

    kind: str
    listener: str
    client: str  # with its port
    target: str
    received: int
    sent: int
    duration_s: float
    reason: str


class BriefQuery(Struct, eq=False):
    """What the access log knows of a DNS query."""

    transport: str
    client_ip: str
    name: str
    type: str
    rcode: str
    blocked_by: str


class QueryRecord(Struct, eq=False):
    """A DNS query and how it was answered."""

    client_ip: str
    transport: str  # `udp`, `tcp`, `tls`, `https` or `doq`
    name: str  # with its final dot; `?` in a malformed query
    type: str
    rcode: str  # `dropped` if nothing was sent
    flags: tuple[str, ...]  # of the answer, as dig writes them; and `do` of the query
    size: int  # bytes of the answer
    duration_s: float
    decided_by: str  # such as `zone example.com`, `cache`, `resolvers` or a key of the config; "" if nothing had to
