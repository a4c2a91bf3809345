"""Sending access logs: what arrives, receivers that are not there, slow ones, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.observe.remote import connection as remote_log
from npserver.observe.remote.connection import RemoteLog
from npserver.observe.remote.destinations import parse_destination
from tests.stage.serving import forgiving
from tests.stage.syslog import split_counted


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    if request.param == "asyncio":
        return asyncio.run
    factory = pytest.importorskip("uvloop").new_event_loop

    def run_on_uvloop(scene: Any) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(scene)

    return run_on_uvloop


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


class Receiver:
    """A syslog server over TCP or TLS."""

    def __init__(self) -> None:
        self.data = b""
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.arrived = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.data += data
                self.arrived.set()
        writer.close()

    async def messages(self, count: int) -> list[bytes]:
        async with asyncio.timeout(20):
            while len(split_counted(self.data)[0]) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return split_counted(self.data)[0]


@contextlib.asynccontextmanager
async def receiver(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Receiver, int]]:
    one = Receiver()
    server = await asyncio.start_server(forgiving(one.take), "127.0.0.1", port, ssl=tls)
    try:
        yield one, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in one.writers:
            writer.close()
        await server.wait_closed()


def made(to: str, tls: ssl.SSLContext | None = None) -> RemoteLog:
    destination = parse_destination(to)
    assert destination is not None
    return RemoteLog(asyncio.get_running_loop(), to, destination, tls)


async def sent(log: RemoteLog) -> None:
    """Call as `LineLog` does, until nothing waits."""
    async with asyncio.timeout(20):
        while log.is_behind:
            log.write_lines([])
            await asyncio.sleep(0.01)


def test_datagrams(run: Callable[..., Any], udp: socket.socket) -> None:
    async def scene() -> None:
        log = made(f"syslog://localhost:{udp.getsockname()[1]}")
        if socket.getaddrinfo("localhost", 1)[0][0] != socket.AF_INET:
            log = made(f"syslog://127.0.0.1:{udp.getsockname()[1]}")
        log.write_lines(["<190>one", "<190>twö", "\u20ac" * 40_000])
        await sent(log)
        log.close()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            found = [await loop.sock_recv(udp, 70_000) for _ in range(3)]
        assert found[:2] == [b"<190>one", "<190>twö".encode()]
        assert found[2].decode() == "\u20ac" * 20_000  # cut to a size that a datagram can have

    run(scene())


def test_datagrams_that_nobody_takes_are_told_once(
    run: Callable[..., Any], udp: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    port = udp.getsockname()[1]
    udp.close()

    async def scene() -> None:
        log, lost = made(f"syslog://127.0.0.1:{port}"), []
        log.on_lost = lost.append
        for _ in range(20):
            log.write_lines(["one"])
            await sent(log)
        log.close()
        assert sum(lost) > 5

    run(scene())
    assert caplog.text.count("cannot send the access log") == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("uses_tls", [False, True])
def test_streams(run: Callable[..., Any], certificates: Any, uses_tls: bool) -> None:
    pair = certificates("127.0.0.1") if uses_tls else None

    async def scene() -> None:
        server = client = None
        if pair is not None:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(pair.cert, pair.key)
            client = ssl.create_default_context(cafile=str(pair.ca))
        async with receiver(tls=server) as (one, port):
            log = made(f"syslog+{'tls' if uses_tls else 'tcp'}://127.0.0.1:{port}", client)
            lines = [f"<190>line {number} ö" for number in range(5000)]
            log.write_lines(lines[:10])
            log.write_lines(lines[10:])
            await log.finish(20)  # sends all that waits
            assert [message.decode() for message in await one.messages(5000)] == lines
            assert one.connections == 1

    run(scene())


def test_a_certificate_of_another_is_not_trusted(
    run: Callable[..., Any], certificates: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pair = certificates("other.home")

    async def scene() -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pair.cert, pair.key)
        async with receiver(tls=server) as (one, port):
            log = made(f"syslog+tls://127.0.0.1:{port}", ssl.create_default_context(cafile=str(pair.ca)))
            log.write_lines(["secret"])
            async with asyncio.timeout(20):
                while "cannot send" not in caplog.text:
                    await asyncio.sleep(0.01)
            log.close()
            assert one.data == b""

    run(scene())
    assert "certificate verify failed" in caplog.text


def test_a_server_that_comes_back_gets_what_waits(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote_log, "PAUSES_S", (0.01,))

    async def scene() -> None:
        async with receiver() as (one, port):
            log = made(f"syslog+tcp://127.0.0.1:{port}")
            log.write_lines(["one"])
            await sent(log)
            await one.messages(1)
        async with asyncio.timeout(20):
            while "cannot send" not in caplog.text:
                await asyncio.sleep(0.01)
        log.write_lines(["two"])
        log.write_lines(["three"])
        async with receiver(port) as (one, _):
            await sent(log)
            assert await one.messages(2) == [b"two", b"three"]
            log.close()

    with caplog.at_level(logging.WARNING, "npserver.server"):
        run(scene())
    assert [one.levelname for one in caplog.records] == ["ERROR", "WARNING"]
    assert "0 lines were dropped" in caplog.text


def test_attempts_have_pauses(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock that stands still between two attempts: each comes at the end of its pause, none before."""
    clock = Clock()
    monkeypatch.setattr(remote_log, "monotonic", clock)
    pauses = (*remote_log.PAUSES_S, remote_log.PAUSES_S[-1])

    async def scene() -> None:
        log = made("syslog+tcp://127.0.0.1:1")
        log._loop = counting = Counting(asyncio.get_running_loop())
        for attempts, pause_s in enumerate(pauses, 1):
            log.write_lines(["one"])
            assert log._task is not None
            await asyncio.wait([log._task])
            assert counting.attempts == attempts
            clock.now += pause_s - 0.001
            log.write_lines(["one"])
            assert log._task is None
            clock.now += 0.002
        log.close()

    run(scene())
    assert len(caplog.records) == 1


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A loop that counts the connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.attempts = 0

    def is_running(self) -> bool:
        return True

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        self.attempts += 1
        return await self.loop.create_connection(*arguments, **options)


def test_what_waits_is_bounded(run: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """A server that accepts and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:

        async def scene() -> None:
            log, lost = made(f"syslog+tcp://127.0.0.1:{deaf.getsockname()[1]}"), []
            log.on_lost = lost.append
            line = "x" * 10_000
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(20):
                while not lost:
                    log.write_lines([line] * 20)
                    await asyncio.sleep(0)
            assert log._queued_bytes <= remote_log.MAX_WAITING
            for _ in range(100):
                log.write_lines([line] * 20)
            started = loop.time()
            await log.finish(0.2)
            assert loop.time() - started < 10
            assert sum(lost) > 1000

        run(scene())
    assert 1 <= caplog.text.count("too slowly") <= 2  # the first perhaps before it was connected


def test_the_socket_of_a_machine(
    run: Callable[..., Any], socket_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that is restarted, as rsyslog and the journal are."""
    monkeypatch.setattr(remote_log, "PAUSES_S", (0.01,))
    path = socket_dir / "log"

    async def scene() -> None:
        log = made(f"syslog://{path}")
        log.write_lines(["one"])
        assert log.is_behind
        for expected in (b"one", b"two"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
                daemon.bind(str(path))
                await sent(log)
                daemon.setblocking(False)
                assert daemon.recv(1000) == expected
            path.unlink()
            log.write_lines(["two"])
            assert log.is_behind
        log.close()
        assert log.dropped == 1

    run(scene())


def test_a_slow_daemon_keeps_nobody_waiting(run: Callable[..., Any], socket_dir: Path) -> None:
    path = socket_dir / "log"

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(path))
            daemon.setblocking(False)
            log = made(f"journald://{path}")
            log.write_lines([f"MESSAGE={number}\n" for number in range(2000)])
            assert log.is_behind
            found = []
            async with asyncio.timeout(20):
                while len(found) < 2000:
                    await asyncio.sleep(0)
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            found.append(daemon.recv(1000))
                    log.write_lines([])
            assert found == [b"MESSAGE=%d\n" % number for number in range(2000)]
            log.close()
            assert log.dropped == 0

    run(scene())
