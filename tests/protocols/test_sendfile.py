"""Files on their way over real sockets: by sendfile(2) and copied, plain and TLS, on every event loop."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from npserver.address import Address
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.runtime.context import Context
from npserver.web.config import Limits, Timeouts
from npserver.web.exchange import Exchange, make_route
from npserver.web.server.front import HttpFront
from npserver.web.server.http1.sendfile import FileSender
from tests.protocols.memory import OneRoute
from tests.stage.scarcity import no_descriptors
from tests.stage.worker import make_context

SIZE = 8 << 20
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.new_event_loop]


class Sender:
    """Sends a file, of which `promised` bytes are promised."""

    def __init__(self, path: Path, promised: int = SIZE) -> None:
        self.path = path
        self.promised = promised

    def handle(self, exchange: Exchange) -> None:
        exchange.send_file(200, b"", os.open(self.path, os.O_RDONLY), 0, self.promised)


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(1 << 20) * 8)
    return path


@asynccontextmanager
async def serving(
    handler: Any, tls: ssl.SSLContext | None = None, **timeouts: Any
) -> AsyncIterator[tuple[int, Context]]:
    loop = asyncio.get_running_loop()
    context = make_context(loop)
    front = HttpFront(OneRoute(make_route("test", handler, 1 << 20)), context, Limits(), Timeouts(**timeouts))
    live = LiveListener(
        Listener("k", "web", Address("https" if tls else "http", "127.0.0.1"), 16, "test"), front, context
    )
    server = await loop.create_server(lambda: front.accept(live), "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], context
        async with asyncio.timeout(20):
            while context.connections:
                await asyncio.sleep(0.01)
    finally:
        server.close()
        context.sweeper.close()


async def fetch(port: int, tls: ssl.SSLContext | None, requests: int = 1) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="a.test" if tls else None
    )
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * (requests - 1))
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    data = await reader.read(-1)
    writer.close()
    return data


@pytest.mark.parametrize("kernel", [True, False], ids=["sendfile", "copied"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("requests", [1, 3], ids=["once", "pipelined"])
def test_file_arrives_whole(
    run: Any, file: Path, kernel: bool, secure: bool, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSender, "uses_kernel", kernel and FileSender.uses_kernel)
    server_tls = client_tls = None
    if secure:
        authority = trustme.CA()
        server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("a.test").configure_cert(server_tls)
        client_tls = ssl.create_default_context()
        authority.configure_trust(client_tls)

    async def main() -> bytes:
        async with serving(Sender(file), server_tls) as (port, _):
            return await fetch(port, client_tls, requests)

    data = run(main())
    digest = hashlib.sha256(file.read_bytes()).digest()
    for _ in range(requests):
        head, _, data = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert hashlib.sha256(data[:SIZE]).digest() == digest
        data = data[SIZE:]
    assert data == b""


def test_file_arrives_whole_without_a_descriptor_to_spare(run: Any, file: Path) -> None:
    class Scarce(Sender):
        def handle(self, exchange: Exchange) -> None:
            opened = os.open(self.path, os.O_RDONLY)
            with no_descriptors():
                exchange.send_file(200, b"", opened, 0, self.promised)

    async def main() -> bytes:
        async with serving(Scarce(file)) as (port, _):
            return await fetch(port, None)

    assert run(main()).endswith(file.read_bytes())


@pytest.mark.parametrize("kernel", [True, False], ids=["sendfile", "copied"])
def test_file_that_shrinks_is_cut_off_not_padded(
    run: Any, file: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSender, "uses_kernel", kernel and FileSender.uses_kernel)

    async def main() -> bytes:
        async with serving(Sender(file, SIZE + 1000)) as (port, _):
            return await fetch(port, None)

    head, _, body = run(main()).partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % (SIZE + 1000) in head
    assert body == file.read_bytes()


@pytest.mark.parametrize("kernel", [True, False], ids=["sendfile", "copied"])
def test_client_gone_in_the_middle_leaks_nothing(
    run: Any, file: Path, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSender, "uses_kernel", kernel and FileSender.uses_kernel)

    async def main() -> None:
        async with serving(Sender(file)) as (port, _):
            before = len(os.listdir("/dev/fd"))
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await reader.readexactly(100_000)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.close()
            async with asyncio.timeout(20):
                while len(os.listdir("/dev/fd")) > before:
                    await asyncio.sleep(0.01)

    run(main())


def test_slow_reader_gets_everything_and_others_are_served(run: Any, file: Path) -> None:
    async def main() -> None:
        async with serving(Sender(file)) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await reader.readexactly(100)
            assert len(await fetch(port, None)) > SIZE  # while the first client does not read
            rest = await reader.read(-1)
            assert len(rest) > SIZE
            writer.close()

    run(main())


@pytest.mark.parametrize("kernel", [True, False], ids=["sendfile", "copied"])
@pytest.mark.parametrize("body", [b"", b"01234", b"0123456789"], ids=["none", "half", "whole"])
def test_a_client_that_reads_nothing_is_cut_off_whatever_it_sends(
    run: Any, file: Path, kernel: bool, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body, which nobody asked for, comes while the file waits: the time for reading runs on (`timeouts.write`)."""
    monkeypatch.setattr(FileSender, "uses_kernel", kernel and FileSender.uses_kernel)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            async with serving(Sender(file), write=0.3) as (port, _):  # it waits for the end of all connections
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
                await loop.sock_recv(client, 1)
                await loop.sock_sendall(client, body)

    run(main())
