"""The handler of `redirect` rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange
    from npserver.web.variables import Template

_SLASHES = "/\\"


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
        exchange.respond(self._status, b"Location: %b\r\n" % location.encode("utf-8", "replace"))
