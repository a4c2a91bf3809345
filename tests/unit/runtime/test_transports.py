"""A client that reads nothing is not sent everything, into memory: CVE-2024-12254, with the loops of every Python."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import uvloop

import npserver
from npserver.runtime.transports import is_unbounded
from tests.conftest import Certificate


@pytest.mark.parametrize(
    ("version", "unbounded"),
    [((3, 11, 2), False), ((3, 12, 0), True), ((3, 12, 8), True), ((3, 12, 9), False), ((3, 13, 1), True),
     ((3, 13, 2), False), ((3, 14, 0), False)],
)  # fmt: skip
def test_the_versions_that_write_without_bound(version: tuple[int, int, int], unbounded: bool) -> None:
    assert is_unbounded(version) is unbounded


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_client_that_reads_nothing_slows_the_upstream_down(
    certificates: Callable[..., Certificate], loop: Callable[[], asyncio.AbstractEventLoop], scheme: str
) -> None:
    certificate = certificates()
    sent = 0
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            for _ in range(1000):
                writer.write(bytes(1_000_000))
                await writer.drain()
                sent += 1_000_000
        except ConnectionError:
            pass
        finally:
            ended.set()
            writer.close()

    async def stall() -> None:
        upstream = await asyncio.start_server(endless, "127.0.0.1", 0)
        target = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
        config = {
            "listen": [{"name": "in", "uri": f"{scheme}://127.0.0.1:0"}],
            "tls": certificate.config,
            "timeouts": {"write": 1},
            "dispatch": [{"handler": "proxy", "proxy_pass": target}],
        }
        async with npserver.serve(config, shutdown_s=0) as server:
            trust: ssl.SSLContext | None = certificate.client() if scheme == "https" else None
            _, writer = await asyncio.open_connection("127.0.0.1", server.addresses["in"].port, ssl=trust)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await ended.wait()  # the client is given up, or has been sent everything
            writer.transport.abort()
        upstream.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(stall())
    assert sent < 100_000_000
