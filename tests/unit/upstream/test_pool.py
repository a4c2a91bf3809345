"""A target's idle connections."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from npserver.upstream.pool import Pool


class Client:
    """A connection as the pool sees it."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


async def connected() -> tuple[Any, socket.socket]:
    near, far = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
    transport.pause_reading()
    return Client(transport), far


async def test_the_last_connection_is_taken_first() -> None:
    pool = Pool()
    (one, far_one), (two, far_two) = await connected(), await connected()
    pool.idle += [one, two]
    assert repr(pool) == "<Pool idle=2>"
    assert [pool.take_checked(), pool.take_checked(), pool.take_checked()] == [two, one, None]
    for client, far in ((one, far_one), (two, far_two)):
        client.transport.abort()
        far.close()


async def test_connections_that_the_target_has_closed_or_sent_data_on_are_closed_instead() -> None:
    pool = Pool()
    (good, far_good), (ended, far_ended), (talking, far_talking) = (
        await connected(),
        await connected(),
        await connected(),
    )
    far_ended.close()
    far_talking.send(b"HTTP/1.1 408")
    pool.idle += [good, ended, talking]
    assert pool.take_checked() is good
    assert (good.is_closed, ended.is_closed, talking.is_closed) == (False, True, True)
    assert pool.idle == []
    for client in (good, ended, talking):
        client.transport.abort()
    far_good.close()
    far_talking.close()


def test_a_closed_connection_is_removed() -> None:
    pool, client, other = Pool(), Client(None), Client(None)  # type: ignore[arg-type]
    pool.idle += [client, other]  # type: ignore[list-item]
    pool.remove(client)  # type: ignore[arg-type]
    pool.remove(client)  # type: ignore[arg-type]
    assert pool.idle == [other]
