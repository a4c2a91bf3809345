"""The handler of `respond` rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.web.exchange import Exchange
    from npserver.web.variables import Template

_BODYLESS = frozenset({204, 205, 304})


class RespondHandler:
    """Sends the same response to every request, except for the values of variables in its body."""

    __slots__ = ("_body", "_template", "body", "fields", "status")

    def __init__(self, status: int, content_type: str, template: Template, constant: str | None) -> None:
        self.status = status
        is_empty = status in _BODYLESS or constant == ""
        self.fields = b"" if is_empty else b"Content-Type: %b\r\n" % content_type.encode("latin-1")
        self._template = template
        self._body = b"" if is_empty else None if constant is None else constant.encode("utf-8", "replace")
        self.body = self._body or b""

    def handle(self, exchange: Exchange) -> None:
        """Send the response."""
        body = self._body
        if body is None:
            body = self._template(exchange).encode("utf-8", "replace")
        exchange.respond(self.status, self.fields, body)

    def prepared(self, _: Request) -> RespondHandler | None:
        """Return itself as the prepared response if it is the same for every request and has a body."""
        return self if self.body else None
