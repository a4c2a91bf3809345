"""Giving data that is already here to protocols that read into a buffer of their own."""

from __future__ import annotations

import asyncio


def fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Copy `data` into the protocol's buffer, in as many pieces as it takes."""
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view)))
        size = min(len(buffer), len(view))
        buffer[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Give `data` to a protocol of either kind."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        fill(protocol, data)
    else:
        protocol.data_received(data)  # type: ignore[attr-defined]
