"""The idle connections to a target: one pool per target, TLS settings and worker. It outlives a reload."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from npserver.net.unread import has_no_pending_input

if TYPE_CHECKING:
    from npserver.http.response_parser import ResponseHead


class PooledConnection(Protocol):
    """A connection that a pool can keep."""

    transport: asyncio.Transport

    def close(self) -> None:
        """Close it."""


C = TypeVar("C", bound=PooledConnection)


class Pool(Generic[C]):
    """Idle connections. The last one in is taken first, so that the others grow old and are closed."""

    __slots__ = ("__weakref__", "idle")

    def __init__(self) -> None:
        self.idle: list[C] = []

    def __repr__(self) -> str:
        return f"<Pool idle={len(self.idle)}>"

    def take_checked(self) -> C | None:
        """Take a connection that is still open as far as the kernel knows, for a request that must not be repeated."""
        idle = self.idle
        while idle:
            client = idle.pop()
            if has_no_pending_input(client.transport):
                return client
            client.close()
        return None

    def remove(self, client: C) -> None:
        """An idle connection has closed: remove it."""
        if client in self.idle:
            self.idle.remove(client)


class TargetRole(Protocol):
    """A target as its connections see it: `upstream.target.Target`."""

    uri: str
    pool: Pool[Any]
    cached_head: bytes  # the head of its latest answer with a length, parsed, and the size of that answer
    cached_response: ResponseHead
    cached_size: int

    def cache_head(self, head: bytes, parsed: ResponseHead) -> None:
        """Keep the head of the latest answer with a length."""
