"""Answers in several pieces, by the loops of every Python: to a client that reads nothing, and to one that has gone."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable

import pytest
import uvloop

import npserver
from npserver.runtime.transports import has_faults
from tests.conftest import Certificate
from tests.stage.serving import forgiving


@pytest.mark.parametrize(
    ("version", "faults"),
    [((3, 11, 2), False), ((3, 12, 0), True), ((3, 12, 13), True), ((3, 13, 1), True), ((3, 13, 5), True),
     ((3, 13, 10), False), ((3, 14, 0), True), ((3, 14, 1), False), ((3, 15, 0), False)],
)  # fmt: skip
def test_the_versions_whose_writelines_has_faults(version: tuple[int, int, int], faults: bool) -> None:
    assert has_faults(version) is faults


LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@LOOPS
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
        upstream = await asyncio.start_server(forgiving(endless), "127.0.0.1", 0)
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


@LOOPS
def test_clients_that_leave_amid_answers_take_no_connection_along(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """CPython gh-136234: the descriptor of a lost connection was watched on, and the next client with it not served."""
    body = "x" * 200_000

    async def ask() -> list[bytes]:
        config = {"listen": ["http://127.0.0.1:0"], "dispatch": [{"handler": "respond", "body": body}]}
        async with npserver.serve(config, shutdown_s=0) as server:
            address = ("127.0.0.1", int(server.url().rpartition(":")[2]))
            for _ in range(4):
                with socket.create_connection(address, 30) as client:  # the server has no turn until it has gone
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            answers = []
            for _ in range(8):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                async with asyncio.timeout(30):
                    answers.append(await reader.read())
                writer.close()
            return answers

    with asyncio.Runner(loop_factory=loop) as runner:
        answers = runner.run(ask())
    assert [len(answer.partition(b"\r\n\r\n")[2]) for answer in answers] == [len(body)] * 8
