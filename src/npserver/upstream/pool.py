"""A target's idle connections, one pool per target, TLS settings and worker. It outlives a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.net.unread import is_quiet

if TYPE_CHECKING:
    from npserver.upstream.http1 import HttpClient


class Pool:
    """Idle connections. The last one is taken first: the others are left to grow old and be closed."""

    __slots__ = ("__weakref__", "idle")

    def __init__(self) -> None:
        self.idle: list[HttpClient] = []

    def __repr__(self) -> str:
        return f"<Pool idle={len(self.idle)}>"

    def take_quiet(self) -> HttpClient | None:
        """Take a connection that is still open as far as the kernel knows, for what must not be sent twice."""
        idle = self.idle
        while idle:
            client = idle.pop()
            if is_quiet(client.transport):
                return client
            client.close()
        return None

    def forget(self, client: HttpClient) -> None:
        """An idle connection has closed."""
        if client in self.idle:
            self.idle.remove(client)
