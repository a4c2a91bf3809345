"""A coroutine of the loop led by hand: to its end, to its failure, or given up."""

from __future__ import annotations

import asyncio
import socket

from npserver.net.step_coroutine import CoroutineStepper


class Made(asyncio.Protocol):
    transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


async def outcome(port: int, protocol: Made) -> Exception | None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Exception | None] = loop.create_future()
    CoroutineStepper(loop.create_connection(lambda: protocol, "127.0.0.1", port), done.set_result).start()
    return await asyncio.wait_for(done, 30)


async def test_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        protocol = Made()
        assert await outcome(server.getsockname()[1], protocol) is None
        assert protocol.transport is not None
        protocol.transport.close()  # type: ignore[attr-defined]


async def test_a_refusal_is_told() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        assert isinstance(await outcome(unheard.getsockname()[1], Made()), ConnectionRefusedError)


async def test_given_up_it_closes_what_was_opened_and_tells_nobody() -> None:
    loop = asyncio.get_running_loop()
    told: list[Exception | None] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        protocol = Made()
        opening = CoroutineStepper(loop.create_connection(lambda: protocol, *server.getsockname()), told.append)
        opening.start()
        opening.cancel()
        inside, _ = await loop.sock_accept(server)
        with inside:
            assert await asyncio.wait_for(loop.sock_recv(inside, 1), 30) == b""
    assert told == []
    assert protocol.transport is None
