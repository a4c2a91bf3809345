"""An exchange for tests of handlers that answer at once: it keeps the answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Answered:
    """An exchange that keeps how it was answered."""

    def __init__(
        self, method: str = "GET", query: str = "", accept: bytes = b"", *, host: str = "example.com", path: str = "/"
    ) -> None:
        fields = {b"accept": accept} if accept else {}
        self.request: Any = SimpleNamespace(
            method=method, path=path, query=query, has_query=bool(query), fields=fields, host=host, authority=host
        )
        self.client_ip = "192.0.2.1"
        self.scheme = "http"
        self.status = 0
        self.fields = b""
        self.body = b""
        self.reason = ""

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Keep the answer."""
        self.status, self.fields, self.body = status, fields, body

    def fail(self, status: int, reason: str, key: str = "", fields: bytes = b"", *, level: int | None = None) -> None:
        """Keep the answer, with the reason instead of an error page."""
        self.status, self.fields, self.reason = status, fields, reason
