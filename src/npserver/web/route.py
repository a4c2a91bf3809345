"""A rule about HTTP requests, compiled: what the server looks up for a request and then obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Request
    from npserver.web.exchange import Exchange, Handler
    from npserver.web.server.http1.connection import HttpConnection
    from npserver.web.server.http1.prepared import Ready


class Route(Struct, frozen=True):
    """A compiled HTTP rule."""

    name: str  # for logs: "dispatch[3] proxy /api/**"
    handler: Handler
    max_body_size: int
    prefix: str = ""  # the pattern without its star: "/api" for "/api/**", "" for "/**"
    #: Checks before the handler, in order: networks, basic_auth. True: go on; False: it has answered already.
    guards: tuple[Callable[[Exchange], bool], ...] = ()
    #: Rewrites a response's fields (`response_headers`); None: nothing to change.
    rewrite_fields: Callable[[Exchange, bytes], bytes] | None = None
    #: A client that ends its side of an HTTP/1.1 connection is taken to be gone.
    aborts_on_close: bool = False
    #: Gives what answers a plain request (`Request.is_plain`), if that is ready. None: an exchange is always needed.
    ready: Callable[[Request], Ready | None] | None = None
    #: Passes a plain request on without an exchange. False: it does take one.
    pass_on: Callable[[HttpConnection, Request, Route], bool] | None = None
    #: Files answered instead of the built-in error pages: status to (fields, body).
    error_pages: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
