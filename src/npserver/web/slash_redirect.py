"""Redirects the path that a rule is mounted at to the same path with a slash, as static rules do for directories.

Without the slash a browser would resolve relative links of the application's first page against the wrong directory.
`web.compile` gives the path a route of its own, so that finding it costs other requests nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.web.routing import Pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from npserver.web.exchange import Exchange, Handler, Route

    Entry = tuple[str, Pattern, Route]

_SAFE = frozenset({"GET", "HEAD"})


class SlashRedirect:
    """Redirects GET and HEAD requests; others, and WebSockets, are left to the rule's handler.

    Browsers follow no redirect of a WebSocket, and programs often none of a POST: they have no relative links either.
    """

    __slots__ = ("handler",)

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def __repr__(self) -> str:
        return f"<SlashRedirect {self.handler!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Redirect, or pass the exchange on."""
        request = exchange.request
        if request.method not in _SAFE or b"websocket" in request.upgrade:
            self.handler.handle(exchange)
            return
        add_slash(exchange)


def add_slash(exchange: Exchange) -> None:
    """Redirect to the path with a slash, for relative links to work.

    That is on this origin: a canonical path starts with a single slash.
    """
    request = exchange.request
    query = f"?{request.query}" if request.has_query else ""
    status = 301 if request.method in _SAFE else 308  # which keeps method and body
    exchange.respond(status, f"Location: {request.path}/{query}\r\n".encode("latin-1"))


def slash_redirects(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Return the entries that a router needs for the rules whose handler `redirects_to_slash`.

    A path that another rule has is left to that rule, as the router uses the first of two equal entries.
    """
    seen: set[tuple[str, Pattern]] = set()
    for host, pattern, route in entries:
        if pattern.is_prefix and pattern.path and not pattern.rest and (host, pattern) not in seen:
            seen.add((host, pattern))
            if getattr(route.handler, "redirects_to_slash", False):
                yield host, Pattern(pattern.path, False), _with_redirect(route)


def _with_redirect(route: Route) -> Route:
    """Return the route with the same middleware; its handler needs an exchange."""
    return replace(route, handler=SlashRedirect(route.handler), prepared=None, direct=None)
