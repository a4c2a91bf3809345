"""Relays between real sockets, on both loops, over the loop's transports and our own, with and without splice(2): the
stage of their tests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from npserver.net import poller, relay_end, socket_stream
from npserver.net.poller import POLLER
from npserver.net.relay import Relay
from npserver.net.socket_stream import SocketStream
from npserver.net.splice import can_splice
from npserver.runtime.context import Context
from tests.stage.worker import close_context, make_context

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
DEADLINE_S = 30.0

Play = Callable[["Stage"], Awaitable[None]]


class Stage:
    """A relay with a plain socket at either end."""

    def __init__(self, context: Context, relay: Relay, client: socket.socket, target: socket.socket) -> None:
        self.context = context
        self.loop = context.loop
        self.relay = relay
        self.client = client
        self.target = target
        self.ended: asyncio.Future[str] = self.loop.create_future()

    async def receive(self, sock: socket.socket, size: int) -> bytes:
        return await receive(sock, size)

    async def send(self, sock: socket.socket, data: bytes) -> None:
        await self.loop.sock_sendall(sock, data)

    def pair(self) -> list[tuple[socket.socket, socket.socket]]:
        return [(self.client, self.target), (self.target, self.client)]


async def receive(sock: socket.socket, size: int) -> bytes:
    """Return `size` bytes, or those that came before the end."""
    data = bytearray()
    while len(data) < size and (piece := await asyncio.get_running_loop().sock_recv(sock, size - len(data))):
        data += piece
    return bytes(data)


async def peek(sock: socket.socket) -> None:
    """Wait until there are bytes to read, and leave them there."""
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(sock, readable.set)
    await readable.wait()
    asyncio.get_running_loop().remove_reader(sock)


async def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


async def begin(context: Context, protocol: asyncio.Protocol, sock: socket.socket) -> None:
    """Hand a connected socket to its protocol, as forwards do on this system or on one without epoll."""
    if (own := POLLER.of(context)) is not None:
        SocketStream(own, socket.SocketType(fileno=sock.detach())).start(protocol)
    else:
        await context.loop.create_connection(lambda: protocol, sock=sock)


async def waiting(
    context: Context,
) -> tuple[socket.socket, socket.socket, socket.socket, socket.socket, Relay, asyncio.Future[str]]:
    """A relay that has neither side yet: each side's outer and inner socket, the relay, and why it ended."""
    ended: asyncio.Future[str] = context.loop.create_future()
    relay = Relay(context, timeout_s=60, buffer_size=65536, on_end=lambda one: ended.set_result(one.reason))
    return *await connected(), *await connected(), relay, ended


@asynccontextmanager
async def stage(*, splices: bool, buffer_size: int = 65536, timeout_s: float = 60.0) -> AsyncIterator[Stage]:
    loop = asyncio.get_running_loop()
    context = make_context(loop)
    client, client_inside = await connected()
    target, target_inside = await connected()
    relay = Relay(
        context,
        timeout_s=timeout_s,
        buffer_size=buffer_size,
        on_end=lambda one: actors.ended.set_result(one.reason),
        splices=splices,
    )
    actors = Stage(context, relay, client, target)
    await begin(context, relay.client, client_inside)
    await begin(context, relay.target, target_inside)
    try:
        yield actors
    finally:
        client.close()
        target.close()
        relay.abort("end of test")
        await asyncio.wait_for(actors.ended, DEADLINE_S)
        assert relay not in context.sweeper.watched
        close_context(context)


@pytest.fixture(params=[f"{loop}-{kind}" for loop in LOOPS for kind in ("streams", "transports")])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a coroutine on a loop of each kind, with our own streams and as on a system without epoll."""
    loop, kind = request.param.split("-")
    if kind == "transports":
        monkeypatch.setattr(poller, "IS_POSSIBLE", False)
    elif not poller.IS_POSSIBLE:
        pytest.skip("no epoll here")

    def go(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(asyncio.wait_for(work, DEADLINE_S))

    return go


@pytest.fixture(params=["splice", "plain"])
def splices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether bulk is spliced; then from the very first read on."""
    if request.param == "splice":
        if not can_splice():
            pytest.skip("no splice(2) here")
        monkeypatch.setattr(relay_end, "BULK_READ", 1)
        monkeypatch.setattr(relay_end, "BULK_READS", 1)
        monkeypatch.setattr(socket_stream, "SMALL_BYTES", 0)
        return True
    return False


Run = Callable[[Coroutine[Any, Any, None]], None]
