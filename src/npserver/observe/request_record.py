"""The records of a finished request and of an answered DNS query: made once at the end, read by the formats of logs.

The HTTP server makes that of a request (`web.server.front.HttpFront.finished`), only where somebody reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.http.request import Request


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
