"""Servers of tests bear clients that leave."""

from __future__ import annotations

import ast
import asyncio
import gc
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stage.serving import forgiving

TESTS = Path(__file__).parents[1]
STARTS = {"start_server", "start_unix_server"}


def unforgiving(tree: ast.AST) -> Iterator[int]:
    """Yield the lines where a server of asyncio is started whose handler is not wrapped."""
    for node in ast.walk(tree):
        is_start = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in STARTS
        if is_start and not (node.args and ast.unparse(node.args[0]).startswith("forgiving(")):
            yield node.lineno


def test_handlers_of_servers_are_wrapped_by_forgiving() -> None:
    found = []
    for path in set(TESTS.rglob("*.py")) - {Path(__file__)}:
        text = path.read_text()
        if any(f".{start}(" in text for start in STARTS):
            found += [f"{path.relative_to(TESTS)}:{line}" for line in unforgiving(ast.parse(text))]
    assert found == []


def test_one_that_is_not_would_be_found() -> None:
    text = "asyncio.start_server(forgiving(a), b)\nasyncio.start_server(a, b)\nasyncio.start_unix_server(path=p)"
    assert list(unforgiving(ast.parse(text))) == [2, 3]


@pytest.mark.parametrize("leaves", ["at the end of a file", "by a reset"])
async def test_a_client_that_leaves_is_no_error(leaves: str) -> None:
    errors: list[dict[str, Any]] = []
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(2)
        finally:
            served.set()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    async with await asyncio.start_server(forgiving(serve), "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        if leaves == "by a reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        async with asyncio.timeout(30):
            await served.wait()
    gc.collect()
    assert errors == []
