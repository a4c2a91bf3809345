"""The handler of `redirect` rules."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.web.exchange import Exchange
    from npserver.web.variables import Template

_SLASHES = "/\\"
_IN_URLS = "".join(map(chr, range(0x21, 0x7F)))


class MovedHandler:
    """Redirects by a table.

    Args:
        by_path: the redirects by canonical path.
        others: the redirect of all other paths of the rule; None if the rule is for those of the table alone.
    """

    __slots__ = ("_by_path", "has_others", "paths")

    def __init__(self, by_path: Mapping[str, RedirectHandler], others: RedirectHandler | None) -> None:
        self._by_path: Mapping[str, RedirectHandler] = by_path
        if others is not None:
            self._by_path = _WithOthers(by_path, others)
        #: The paths that the rule is for, besides its own `path` if `has_others`.
        self.paths = tuple(by_path)
        self.has_others = others is not None

    def handle(self, exchange: Exchange) -> None:
        """Respond with the redirect of the request's path."""
        self._by_path[exchange.request.path].handle(exchange)


class _WithOthers(dict[str, "RedirectHandler"]):
    def __init__(self, by_path: Mapping[str, RedirectHandler], others: RedirectHandler) -> None:
        super().__init__(by_path)
        self._others = others

    def __missing__(self, path: str) -> RedirectHandler:
        return self._others


class RedirectHandler:
    """Answers with a redirect to another URI.

    Args:
        template: makes the value of Location.
        is_local: whether the template is a path; the redirect then stays on this origin, whatever its variables are.
        needs_host: whether the template uses the host, which an HTTP/1.0 request may lack.
        key: the config key of the template, for the log.
    """

    __slots__ = ("_is_local", "_key", "_needs_host", "_status", "_template")

    def __init__(self, template: Template, status: int, *, is_local: bool, needs_host: bool, key: str = "") -> None:
        self._template = template
        self._key = key
        self._status = status
        self._is_local = is_local
        self._needs_host = needs_host

    def handle(self, exchange: Exchange) -> None:
        """Respond with the redirect, or 400 if the host is needed and missing."""
        if self._needs_host and not exchange.request.host:
            exchange.fail(400, "the redirect needs a host, but the request has none", self._key)
            return
        location = self._template(exchange)
        if self._is_local and location[1:2] in ("/", "\\"):
            location = "/" + location.lstrip(_SLASHES)  # `//evil.example` and `/\evil.example` name other hosts
        if not location.isascii() or " " in location:  # as they may stand in the config; no URL has them
            location = quote(location, safe=_IN_URLS, errors="replace")
        exchange.respond(self._status, b"Location: %b\r\n" % location.encode("utf-8", "replace"))
