"""The record of one finished request: made once when it ends, read by the access log's formats.

The HTTP server makes it (`web.server.front.HttpFront.finished`), only where somebody reads it.
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
