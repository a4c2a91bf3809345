"""Relays before both sides are there: what came early, in which order, and a client that does not wait."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.protocols.relaying import Run, begin, receive, run, waiting
from tests.stage.worker import close_context, make_context

__all__ = ["run"]  # a fixture

READ = 256 << 10  # the most that a loop reads at once


def test_adopting_connections_with_what_was_read_too_much(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        context = make_context(loop)
        client, client_inside, target, target_inside, relay, ended = await waiting(context)
        near, _ = await loop.create_connection(asyncio.Protocol, sock=client_inside)
        far, _ = await loop.create_connection(asyncio.Protocol, sock=target_inside)
        near.pause_reading()
        far.pause_reading()
        await loop.sock_sendall(client, b" late")
        await loop.sock_sendall(target, b" answer")
        relay.adopt(near, far, b"early", b"first")
        assert await receive(target, 10) == b"early late"
        assert await receive(client, 12) == b"first answer"
        client.close()
        assert await loop.sock_recv(target, 100) == b""
        target.close()
        assert await ended == "closed by client"
        close_context(context)

    run(play())


def test_what_comes_before_the_target_is_there_waits_in_order(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        context = make_context(loop)
        client, client_inside, target, target_inside, relay, ended = await waiting(context)
        relay.preface = b"PROXY "
        await begin(context, relay.client, client_inside)
        await loop.sock_sendall(client, b"one ")
        while not relay.client.received:
            await asyncio.sleep(0)
        await loop.sock_sendall(client, b"two")
        client.shutdown(socket.SHUT_WR)
        while not relay.client.is_at_eof:
            await asyncio.sleep(0)
        await begin(context, relay.target, target_inside)
        received = b""
        while piece := await loop.sock_recv(target, 100):
            received += piece
        assert received == b"PROXY one two"
        target.close()
        assert await loop.sock_recv(client, 100) == b""
        await ended
        client.close()
        close_context(context)

    run(play())


def test_what_comes_before_the_target_is_there_is_bounded(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        context = make_context(loop)
        client, client_inside, target, target_inside, relay, ended = await waiting(context)
        client_inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await begin(context, relay.client, client_inside)
        flood = b"0123456789" * 800_000
        sending = loop.create_task(loop.sock_sendall(client, flood))
        held = -1
        while held != relay.client.received or not held:
            held = relay.client.received
            await asyncio.sleep(0.05)
        assert held <= relay.buffer_size + READ
        assert not sending.done(), "the rest waits in the kernel and at the client"
        await begin(context, relay.target, target_inside)
        assert await receive(target, len(flood)) == flood
        await sending
        client.close()
        target.close()
        await ended
        close_context(context)

    run(play())


def test_a_client_that_leaves_before_the_target_is_there(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        context = make_context(loop)
        client, client_inside, target, target_inside, relay, ended = await waiting(context)
        await begin(context, relay.client, client_inside)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert await ended == "reset by client"
        await begin(context, relay.target, target_inside)
        assert await loop.sock_recv(target, 100) == b""
        target.close()
        close_context(context)

    run(play())
