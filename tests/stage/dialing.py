"""Connections opened by `net.dialer`, and a protocol that keeps what it receives."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from npserver.address import Address, parse_target
from npserver.net.dialer import dial
from npserver.runtime.context import Context
from tests.stage.serving import forgiving

DEADLINE_S = 30.0


class Ear(asyncio.Protocol):
    """A protocol that keeps all bytes it receives. `keeps_open` is what it returns from `eof_received`."""

    def __init__(self, *, keeps_open: bool = False) -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.heard = bytearray()
        self.has_ended = False
        self.is_lost = False
        self.error: Exception | None = None
        self.is_paused = False
        self._keeps_open = keeps_open
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self.transport is None
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        assert data
        assert not self.has_ended
        self.heard += data
        self._changed.set()

    def eof_received(self) -> bool:
        assert not self.has_ended
        self.has_ended = True
        self._changed.set()
        return self._keeps_open

    def pause_writing(self) -> None:
        self.is_paused = True
        self._changed.set()

    def resume_writing(self) -> None:
        self.is_paused = False
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.is_lost
        self.is_lost = True
        self.error = exc
        self._changed.set()

    async def until(self, condition: Callable[[Ear], bool]) -> None:
        """Wait until `condition(self)`, at most DEADLINE_S."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, size: int) -> bytes:
        """Wait for `count` bytes in all."""
        await self.until(lambda ear: len(ear.heard) >= size)
        return bytes(self.heard)


async def call(
    context: Context,
    address: str | Address,
    *,
    tls: ssl.SSLContext | None = None,
    keeps_open: bool = False,
    **more: Any,
) -> Ear:
    """Connect by `dial`; return the protocol that is connected."""
    target = parse_target(address) if isinstance(address, str) else address
    more.setdefault("timeout_s", 30.0)
    transport, ear = await dial(context, target, lambda: Ear(keeps_open=keeps_open), tls=tls, **more)
    assert ear.transport is transport
    return ear


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    path: str = "",
    **options: Any,
) -> AsyncIterator[int]:
    """Serve connections on a port (0: a free one) or a Unix socket; yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    if path:
        server = await asyncio.start_unix_server(forgiving(guarded), path, **options)
    else:
        server = await asyncio.start_server(forgiving(guarded), host, port, **options)
    try:
        yield 0 if path else int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(5):  # transports tell of their end in later turns of the loop
            await asyncio.sleep(0)
