"""Feed received bytes to asyncio protocols of either kind: with `data_received`, or with a buffer of their own."""

from __future__ import annotations

import asyncio


def fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Copy `data` into the buffers of a buffered protocol, piece by piece."""
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view)))
        size = min(len(buffer), len(view))
        buffer[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Pass `data` to a protocol as if its transport had received it."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        fill(protocol, data)
    else:
        protocol.data_received(data)  # type: ignore[attr-defined]
