"""The least that an ASGI application can do: 1 KB from memory, for comparison with the static workload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

BODY = b"x" * 1024
FIELDS = [(b"content-type", b"text/html"), (b"content-length", b"1024")]


async def app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Answer every HTTP request with the same body."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": FIELDS})
        await send({"type": "http.response.body", "body": BODY})
