"""Serving a listener: fronts are swapped under it, faults in them do not end it, its sockets stay the caller's.

Covers `listen.acceptor` and `listen.stream_acceptor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace

from npserver.address import parse_listen
from npserver.listen.binding import bind
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.net import poller
from npserver.net.poller import POLLER
from npserver.runtime.front import Live
from tests.stage.scarcity import no_descriptors, processor_s


class Speaker(asyncio.Protocol):
    """Says a word, then echoes."""

    def __init__(self, word: bytes) -> None:
        self.word = word

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.word)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Front:
    def __init__(self, word: bytes) -> None:
        self.word = word

    def accept(self, _live: Live, _alpn: str | None = None) -> asyncio.Protocol:
        if not self.word:
            raise RuntimeError("faulty front")
        return Speaker(self.word)

    def close(self) -> None: ...


FACTORIES = [asyncio.new_event_loop, uvloop.new_event_loop]


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on asyncio's loop and on uvloop, with our own streams and without: what each of them does when
    something goes wrong is what counts here."""

    def run(
        loop_factory: Callable[[], asyncio.AbstractEventLoop],
        has_epoll: bool,
        monkeypatch: pytest.MonkeyPatch,
        **fixtures: Any,
    ) -> None:
        monkeypatch.setattr(poller, "IS_POSSIBLE", has_epoll and poller.IS_POSSIBLE)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**fixtures))

    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("loop_factory", "has_epoll", "monkeypatch")
    ]
    given = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in inspect.signature(test).parameters.values()]
    run.__signature__ = inspect.Signature([*own, *given])  # type: ignore[attr-defined]
    run.__doc__ = test.__doc__
    on_loops = pytest.mark.parametrize("loop_factory", FACTORIES, ids=["asyncio", "uvloop"])(run)
    return pytest.mark.parametrize("has_epoll", [True, False], ids=["streams", "transports"])(on_loops)


class Served:
    """A listener on a free port, its live side, and how to reach it."""

    def __init__(self, uri: str) -> None:
        self.listener = Listener(uri, "web", parse_listen(uri), 16, "command line")
        self.binding = bind(self.listener, 1)
        self.bound = self.binding.sockets[0]
        self.context: Any = SimpleNamespace(loop=asyncio.get_running_loop(), made={}, connections=set())
        self.live = LiveListener(self.listener, Front(b"one"), self.context)

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.listener.address.is_unix:
            return await asyncio.open_unix_connection(self.listener.address.path, **options)
        return await asyncio.open_connection("127.0.0.1", self.bound[0].getsockname()[1], **options)

    async def word(self, **options: Any) -> bytes:
        reader, writer = await self.connect(**options)
        word = await asyncio.wait_for(reader.read(100), 30)
        writer.close()
        return word


@contextlib.asynccontextmanager
async def serving(uri: str = "tcp://127.0.0.1:0") -> AsyncIterator[Served]:
    one = Served(uri)
    await one.live.start(one.bound)
    yield one
    one.live.stop()
    one.binding.close()
    if (own := one.context.made.get(POLLER)) is not None:
        async with asyncio.timeout(20):
            while repr(own) != "<Poller 0>":  # the clients' ends are under way
                await asyncio.sleep(0.001)
        own.close()
    await asyncio.sleep(0.001)  # uvloop closes handles in its next turns


@on_both_loops
async def test_a_listener_serves() -> None:
    async with serving() as one:
        assert await one.word() == b"one"


@on_both_loops
async def test_unix_socket_file_outlives_the_stop(socket_dir: Path) -> None:
    async with serving(f"unix://{socket_dir}/a.sock") as one:
        assert await one.word() == b"one"
        one.live.stop()
        await asyncio.sleep(0)
        assert (socket_dir / "a.sock").exists(), "the file is the binding's to remove"


@on_both_loops
async def test_stopped_listener_leaves_connections_queued_for_the_next() -> None:
    async with serving() as one:
        one.live.stop()
        await asyncio.sleep(0.01)
        reader, writer = await one.connect()
        await one.live.start(one.bound)
        assert await asyncio.wait_for(reader.read(100), 30) == b"one"
        writer.close()


@on_both_loops
async def test_new_front_for_new_connections_only() -> None:
    async with serving() as one:
        reader, writer = await one.connect()
        assert await reader.read(100) == b"one"
        await one.live.replace(one.listener, Front(b"two"))
        assert await one.word() == b"two"
        writer.write(b"still here")
        assert await asyncio.wait_for(reader.read(100), 30) == b"still here"
        writer.close()


@on_both_loops
async def test_proxy_headers_demanded_by_a_new_config() -> None:
    async with serving() as one:
        reader, writer = await one.connect()
        assert await reader.read(100) == b"one"
        one.context.sweeper = SimpleNamespace(watched=set())
        await one.live.replace(replace(one.listener, accepts_proxy=lambda _peer: True), Front(b"two"))
        asking, answering = await one.connect()
        answering.write(b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n")
        assert await asyncio.wait_for(asking.read(100), 30) == b"two"
        writer.write(b"as before")
        assert await asyncio.wait_for(reader.read(100), 30) == b"as before"
        for each in (writer, answering):
            each.close()


@on_both_loops
async def test_faulty_front_does_not_end_the_listener(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as one:
        one.live.front = Front(b"")
        reader, writer = await one.connect()
        with pytest.raises(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(100), 30) == b""
            raise ConnectionResetError
        writer.close()
        assert "error while accepting on web" in caplog.text
        one.live.front = Front(b"well again")
        assert await one.word() == b"well again"


@on_both_loops
async def test_running_out_of_descriptors_is_survived() -> None:
    """The processor must not be kept busy meanwhile, and clients are served once there are descriptors again."""
    async with serving() as one:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # asyncio reports each failed accept
        importlib.import_module("encodings.idna")  # uvloop connects with it, and without descriptors it cannot be read
        with contextlib.ExitStack() as callers:
            waiting = [callers.enter_context(socket.socket()) for _ in range(8)]
            with no_descriptors():
                for caller in waiting:
                    caller.setblocking(False)
                    await loop.sock_connect(caller, one.bound[0].getsockname())
                spent_s = await processor_s()
        assert spent_s < 0.15
        async with asyncio.timeout(20):
            while True:
                try:
                    if await one.word() == b"one":
                        break
                except ConnectionError:
                    await asyncio.sleep(0.02)
