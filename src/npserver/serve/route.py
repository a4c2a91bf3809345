"""A rule about HTTP requests, compiled: what the server looks up for a request and then obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.serve.exchange import Exchange, Handler


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
    #: Files answered instead of the built-in error pages: status to (fields, body).
    error_pages: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
