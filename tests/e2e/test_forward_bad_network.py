"""Forwards over a network that cuts what passes into small pieces, stalls and resets: what arrives is what was sent."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.program import Program
from tests.stage.programs import needs_localhost

Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CALLS = 40
SIZE = 50_000


class BadNetwork:
    """A relay to what `connect` reaches. Of some connections it resets both ends half-way."""

    def __init__(self, connect: Callable[[], Awaitable[Connected]], seed: int) -> None:
        self.connect = connect
        self.chance = random.Random(seed)
        self.resets = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_doomed = self.chance.random() < 0.3
        self.resets += is_doomed
        other_reader, other_writer = await self.connect()
        ways = [self._pass(reader, other_writer, is_doomed), self._pass(other_reader, writer, False)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in rest:
            task.cancel()
        failed = any(task.exception() for task in done)
        for one in (writer, other_writer):
            if failed:
                one.transport.abort()
            one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_doomed: bool) -> None:
        passed = 0
        while data := await reader.read(self.chance.choice([1, 100, 1000, 65_536])):
            writer.write(data)
            if self.chance.random() < 0.1:
                await asyncio.sleep(self.chance.random() / 200)
            await writer.drain()
            passed += len(data)
            if is_doomed and passed > 20_000:
                raise ConnectionResetError
        writer.write_eof()


async def ends(connect: Callable[[], Awaitable[Connected]], number: int) -> bool:
    """Send, half-close, and read the echo to its end. Whether all of it came."""
    data = random.Random(number).randbytes(SIZE)
    received = b""
    writer = None
    try:
        reader, writer = await connect()
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        while len(received) < SIZE and (piece := await reader.read(65_536)):
            received += piece
    except (ConnectionError, ssl.SSLError):
        pass
    if writer is not None:
        writer.transport.abort()
    assert data.startswith(received), "bytes changed on the way"
    return len(received) == SIZE


@needs_localhost
@pytest.mark.parametrize("scheme", ["tcp", "unix", "ssl"])
def test_what_arrives_is_what_was_sent(
    program: Callable[..., Program], backends: Any, free_port: Callable[[], int], socket_dir: Path, certificates: Any,
    scheme: str,
) -> None:  # fmt: skip
    """From the client through a bad network to the forward, and through another one to the target."""
    certificate = certificates("localhost", "127.0.0.1")
    front, middle, echo = free_port(), free_port(), backends.tcp_echo()

    async def to_front() -> Connected:
        if scheme == "unix":
            return await asyncio.open_unix_connection(f"{socket_dir}/front")
        return await asyncio.open_connection("127.0.0.1", front)

    async def to_middle() -> Connected:
        return await asyncio.open_connection("127.0.0.1", middle)

    async def to_before() -> Connected:
        options = {"ssl": certificate.client(), "server_hostname": "localhost"} if scheme == "ssl" else {}
        return await asyncio.open_connection("127.0.0.1", before_port, **options)

    before, behind = BadNetwork(to_front, 2), BadNetwork(to_middle, 1)
    before_port = backends.tcp(before.serve)
    if scheme == "unix":
        backends.unix(behind.serve, socket_dir / "behind")
        listen, target = f"unix://{socket_dir}/front", f"unix://{socket_dir}/behind"
    else:
        listen, target = f"{scheme}://127.0.0.1:{front}", f"{scheme}://localhost:{backends.tcp(behind.serve)}"
    inner = "ssl" if scheme == "ssl" else "tcp"
    one = program(
        config={
            "workers": 2,
            "tls": certificate.config,
            "listen": [{"name": "way", "uri": listen}, {"name": "end", "uri": f"{inner}://127.0.0.1:{middle}"}],
            "dispatch": [
                {"listener": "way", "handler": "forward", "forward_to": target, "tls": {"ca": str(certificate.ca)}},
                {"listener": "end", "handler": "forward", "forward_to": f"tcp://127.0.0.1:{echo}"},
            ],
        }
    )

    async def all_of_them() -> list[bool]:
        async with asyncio.timeout(30):
            return await asyncio.gather(*(ends(to_before, number) for number in range(CALLS)))

    whole = asyncio.run(all_of_them())
    assert whole.count(True) > CALLS - before.resets - behind.resets - 1 > 0
    assert before.resets > 0
    assert behind.resets > 0
    one.wait_until(lambda: one.output.count(" way ") >= CALLS - before.resets, "a log line of each connection")
