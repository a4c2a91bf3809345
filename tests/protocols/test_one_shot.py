"""Connections are looked at before they have a transport: what is answered there, and what goes the ordinary way.

Covers `listen.first_bytes` and `web.server.http1.prepared`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from npserver.config.load import load_text
from npserver.listen.binding import bind
from npserver.listen.live_listener import LiveListener
from npserver.net.poller import IS_POSSIBLE
from npserver.process.data_plane import make_context
from npserver.program.compile import compile_config
from npserver.runtime.pubsub import PubSub
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.handlers.static.files import UNSETTLED_NS
from npserver.web.server.front import HttpFront
from npserver.web.server.http1 import one_shot
from npserver.web.server.http1.connection import Http1Connection
from tests.stage.scarcity import no_descriptors, processor_s

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="epoll is Linux's")

LARGE = 60 << 10
CLOSE = b"GET /small.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEEP = b"GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n"


class Served:
    """A site served on a free port."""

    def __init__(self, root: Path, **changes: Any) -> None:
        (root / "small.txt").write_bytes(b"small")
        (root / "large.bin").write_bytes(b"l" * LARGE)
        config = {
            "listen": ["http://127.0.0.1:0"],
            "dispatch": [{"handler": "static", "root": str(root)}],
            "logging": {"access_log": str(root / "access.log"), "format": "combined"},
            **changes,
        }
        document = load_text(json.dumps(config), "test.json")
        self.context = make_context(asyncio.get_running_loop(), 0, Scoreboard(1, b"x" * 16), PubSub(), document)
        runtime = compile_config(document, self.context)
        listener = runtime.listeners[0]
        front = runtime.fronts[listener.key]
        assert isinstance(front, HttpFront)
        self.front = front
        self.binding = bind(listener, 1)
        self.live = LiveListener(listener, front, self.context)
        self.address = self.binding.sockets[0][0].getsockname()

    async def ask(self, *pieces: bytes, pause_s: float = 0.02) -> bytes:
        """Send the pieces and read until the server closes."""
        reader, writer = await asyncio.open_connection(*self.address)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        got = await asyncio.wait_for(reader.read(-1), 30)
        writer.close()
        return got

    def count(self, name: str) -> int:
        row = self.context.row
        row.publish()
        return int(row.slots[row.slot(name)])


@contextlib.asynccontextmanager
async def serving(root: Path, **changes: Any) -> AsyncIterator[Served]:
    one = Served(root, **changes)
    await one.live.start(one.binding.sockets[0])
    await asyncio.sleep(UNSETTLED_NS * 1.2e-9)  # what has just been written is not kept: it may change again
    yield one
    one.live.stop()
    one.binding.close()
    for connection in list(one.context.connections):
        connection.transport.abort()
    one.context.sweeper.close()
    one.context.access_log.close()
    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def asking_slowly(one: Served) -> AsyncIterator[socket.socket]:
    """A client that has asked for more than its and the server's buffers take."""
    one.binding.sockets[0][0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the connections' too
    head = CLOSE.replace(b"small.txt", b"large.bin")
    await one.ask(head)  # from now on it is in memory
    loop = asyncio.get_running_loop()
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        caller.setblocking(False)
        await loop.sock_connect(caller, one.address)
        await loop.sock_sendall(caller, head)
        yield caller


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: Callable[[], Any]) -> None:
        settled: list[bytes] = []
        settle = one_shot._hand_to_event_loop

        def note(acceptor: Any, caller: Any, data: bytes) -> None:
            settled.append(data)
            settle(acceptor, caller, data)

        monkeypatch.setattr(one_shot, "_hand_to_event_loop", note)
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(test(tmp_path, settled))

    run.__doc__ = test.__doc__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("factory", loops, ids=["asyncio", "uvloop"])(run)


@on_both_loops
async def test_last_request_is_answered_at_once(root: Path, settled: list[bytes]) -> None:
    async with serving(root) as one:
        await one.ask(CLOSE)  # the file is read: from now on it is in memory
        settled.clear()
        heads = [
            CLOSE, CLOSE, CLOSE.replace(b"close", b"CLOSE\r\nConnection: close"),
            b"GET /small.txt HTTP/1.0\r\n\r\n", b"GET /small.txt HTTP/1.0\r\nHost: b\r\nUser-Agent: x\r\n\r\n",
        ]  # fmt: skip
        for number, head in enumerate(heads, 2):
            got = await one.ask(head)
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nConnection: close\r\n" in got
            assert got.endswith(b"\r\n\r\nsmall")
            counts = [one.count(f"http.{name}") for name in ("connections", "requests", "responses.2xx")]
            assert counts == [number] * 3
            assert one.count("gauge.http.connections") == 0
        assert settled == []
        one.context.access_log.flush()
        lines = (root / "access.log").read_text().splitlines()
        assert len(lines) == 1 + len(heads)
        assert all(line.startswith("127.0.0.1 - - [") and '"GET /small.txt HTTP/1.' in line for line in lines)


@on_both_loops
async def test_answer_is_the_same_as_on_the_ordinary_way(root: Path, settled: list[bytes]) -> None:
    async with serving(root) as one:
        for name in (b"small.txt", b"large.bin", b"missing", b"%00", b"../x"):
            head = CLOSE.replace(b"small.txt", name)
            answers = [await one.ask(head) for _ in range(3)]
            halves = await one.ask(head[:20], head[20:])
            without_date = {b"\r\n".join(got.split(b"\r\n")[:1] + got.split(b"\r\n")[2:]) for got in (*answers, halves)}
            assert len(without_date) == 1, name


@on_both_loops
async def test_kept_connection_goes_on(root: Path, settled: list[bytes]) -> None:
    async with serving(root) as one:
        reader, writer = await asyncio.open_connection(*one.address)
        for _ in range(3):
            writer.write(KEEP)
            assert (await asyncio.wait_for(reader.readuntil(b"small"), 30)).startswith(b"HTTP/1.1 200 ")
        assert settled == [KEEP]
        assert [type(each) for each in one.context.connections] == [Http1Connection]
        assert one.count("http.connections") == 1
        writer.close()


@on_both_loops
async def test_pieces_pipelines_and_faults_go_the_ordinary_way(root: Path, settled: list[bytes]) -> None:
    """Anything but a single head is left to a regular connection, which gets the first bytes."""
    async with serving(root) as one:
        await one.ask(CLOSE)
        assert (await one.ask(*[bytes((octet,)) for octet in CLOSE], pause_s=0)).count(b"HTTP/1.1 200 ") == 1
        assert (await one.ask(KEEP + KEEP + CLOSE)).count(b"HTTP/1.1 200 ") == 3
        assert (await one.ask(CLOSE + KEEP)).count(b"HTTP/1.1 200 ") == 1, "what follows the last request is not read"
        assert (await one.ask(b"\r\n" + CLOSE)).count(b"HTTP/1.1 200 ") == 1
        assert (await one.ask(CLOSE.replace(b"Host: a", b"Host : a"))).startswith(b"HTTP/1.1 400 ")
        assert (await one.ask(CLOSE.replace(b"/small", b"/" + b"s" * 9000))).startswith(b"HTTP/1.1 414 ")
        cookie = b"Cookie: " + b"c" * 9000 + b"\r\n\r\n"
        assert (await one.ask(CLOSE[:-2] + cookie)).startswith(b"HTTP/1.1 200 "), "a head of more than one read"


@on_both_loops
async def test_silent_connection_is_accepted_too(root: Path, settled: list[bytes]) -> None:
    """A second later, and it is served when it speaks."""
    async with serving(root) as one:
        reader, writer = await asyncio.open_connection(*one.address)
        async with asyncio.timeout(20):
            while not one.context.connections:
                await asyncio.sleep(0.02)
        assert settled == [b""]
        writer.write(CLOSE)
        assert (await asyncio.wait_for(reader.read(-1), 30)).endswith(b"small")
        writer.close()


@on_both_loops
async def test_a_client_gone_before_it_spoke_leaves_nothing(root: Path, settled: list[bytes]) -> None:
    async with serving(root) as one:
        for _ in range(5):
            _, writer = await asyncio.open_connection(*one.address)
            writer.close()
        for _ in range(5):
            _, writer = await asyncio.open_connection(*one.address)
            writer.write(CLOSE)
            writer.transport.abort()
        assert (await one.ask(CLOSE)).endswith(b"small")
        async with asyncio.timeout(20):
            while one.context.connections:
                await asyncio.sleep(0.02)
        assert one.count("gauge.http.connections") == 0


@on_both_loops
async def test_client_that_reads_slowly_gets_all(root: Path, settled: list[bytes]) -> None:
    """The kernel does not take the whole answer at once: the rest follows."""
    async with serving(root) as one:
        async with asking_slowly(one) as caller:
            settled.clear()
            loop = asyncio.get_running_loop()
            got = b""
            async with asyncio.timeout(30):
                while piece := await loop.sock_recv(caller, 4096):
                    got += piece
                    await asyncio.sleep(0)
        assert got.partition(b"\r\n\r\n")[2] == b"l" * LARGE
        assert settled == []


@on_both_loops
async def test_client_that_reads_nothing_is_given_up(root: Path, settled: list[bytes]) -> None:
    """`timeouts.write` counts from the last time that it took something."""
    async with serving(root, timeouts={"write": 5}) as one:
        async with asking_slowly(one):
            async with asyncio.timeout(20):
                while not one.context.connections:
                    await asyncio.sleep(0.01)
            (rest,) = one.context.connections
            rest.deadline -= 4
            one.context.sweeper._sweep()
            assert one.context.connections == {rest}
            rest.deadline -= 2
            one.context.sweeper._sweep()
            async with asyncio.timeout(20):
                while one.context.connections:
                    await asyncio.sleep(0.01)


@on_both_loops
async def test_limits_hold(root: Path, settled: list[bytes]) -> None:
    async with serving(root, timeouts={"max_connections_per_ip": 2}) as one:
        await one.ask(CLOSE)
        held = [await asyncio.open_connection(*one.address) for _ in range(2)]
        for reader, writer in held:
            writer.write(KEEP)
            await reader.readuntil(b"small")
        got = await one.ask(CLOSE)
        assert got.startswith(b"HTTP/1.1 503 ")
        assert one.count("http.rejected_connections") == 1
        held.pop()[1].close()
        async with asyncio.timeout(20):
            while len(one.context.connections) > 1:
                await asyncio.sleep(0.01)
        assert (await one.ask(CLOSE)).startswith(b"HTTP/1.1 200 ")
        for _, writer in held:
            writer.close()


@on_both_loops
async def test_without_descriptors_left_it_goes_on_later(root: Path, settled: list[bytes]) -> None:
    """Clients wait, the processor does not run hot, and all are served once there are descriptors again."""
    async with serving(root) as one:
        await one.ask(CLOSE)
        loop = asyncio.get_running_loop()
        callers = [socket.socket() for _ in range(8)]
        with no_descriptors():
            for caller in callers:
                caller.setblocking(False)
                await loop.sock_connect(caller, one.address)
                await loop.sock_sendall(caller, CLOSE)
            assert await processor_s() < 0.15
        for caller in callers:
            got = b""
            async with asyncio.timeout(20):
                while piece := await loop.sock_recv(caller, 4096):
                    got += piece
            assert got.endswith(b"small")
            caller.close()
