"""Pools of idle connections: one per worker, target and TLS settings. A pool survives a reload."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from npserver.net.unread import has_no_pending_input

if TYPE_CHECKING:
    from npserver.http.response_parser import ResponseHead


class PooledConnection(Protocol):
    """A connection in a pool: `upstream.http1.HttpClient`."""

    transport: asyncio.Transport

    def close(self) -> None:
        """Close the connection."""


C = TypeVar("C", bound=PooledConnection)


class Pool(Generic[C]):
    """The idle connections to one target. The last one added is used first: surplus ones reach their idle timeout."""

    __slots__ = ("__weakref__", "idle")

    def __init__(self) -> None:
        self.idle: list[C] = []

    def __repr__(self) -> str:
        return f"<Pool idle={len(self.idle)}>"

    def take_checked(self, *, is_upgrade: bool = False) -> C | None:
        """Take a connection after checking that the target has not closed it or sent anything; None if there is none.

        For requests that cannot be sent again. Connections that fail the check are closed. `is_upgrade`: the request
        asks for another protocol, which takes HTTP/1.1.
        """
        idle = self.idle
        while idle:
            client = idle.pop()
            if has_no_pending_input(client.transport):
                return client
            client.close()
        return None

    def remove(self, client: C) -> None:
        """Remove a connection that has been closed, if it is in the pool."""
        if client in self.idle:
            self.idle.remove(client)


class TargetRole(Protocol):
    """A target as its connections see it: `upstream.target.Target`."""

    uri: str
    pool: Pool[Any]
    cached_head: bytes  # the bytes of the last response head with a Content-Length
    cached_response: ResponseHead  # the same head, parsed
    cached_size: int  # bytes of that response, head and body; -1 if the connection could not be reused after it

    def cache_head(self, head: bytes, parsed: ResponseHead) -> None:
        """Cache a response head with a Content-Length, in place of the last one."""
