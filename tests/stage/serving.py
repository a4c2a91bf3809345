"""Handlers of `asyncio.start_server` in tests: a client may leave at any time.

An error that a handler raises then is told when its task is collected: another test fails of it, now and then.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def forgiving(serve: Serve) -> Serve:
    """Return a handler that ends quietly when the client leaves, and closes the connection at its end in any case."""

    async def forgive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (EOFError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    return forgive
