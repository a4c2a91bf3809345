"""Batches whose answers come later, over real sockets of both families."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from npserver.net.batch import BATCH, is_possible
from npserver.net.batchqueue import SLOT_BYTES, BatchQueue

pytestmark = pytest.mark.skipif(not is_possible(), reason="needs 64-bit Linux")


class Pair:
    """A server's socket with its queue, and clients."""

    def __init__(self, family: socket.AddressFamily, host: str) -> None:
        self.server = socket.socket(family, socket.SOCK_DGRAM)
        self.server.bind((host, 0))
        self.server.setblocking(False)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.queue = BatchQueue(asyncio.get_running_loop(), self.server)
        self.clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
        for client in self.clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            client.connect(self.server.getsockname())
            client.settimeout(5)

    def close(self) -> None:
        for one in (self.server, *self.clients):
            one.close()


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["ipv4", "ipv6"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    made = Pair(*request.param)
    yield made
    made.close()


async def test_senders_are_named_and_answered_in_order_at_the_end_of_the_round(pair: Pair) -> None:
    for number in range(30):
        pair.clients[number % 3].send(b"%d" % number)
    received = list(pair.queue.receive_from())
    assert [data for data, _ in received] == [b"%d" % number for number in range(30)]
    for number, (_, client) in enumerate(received):
        assert client[:2] == pair.clients[number % 3].getsockname()[:2]
        pair.queue.queue(b"answer %d" % number, client)
    pair.clients[0].send(b"next")  # its name must not take the place of those that wait
    assert [data for data, _ in pair.queue.receive_from()] == [b"next"]
    await asyncio.sleep(0)
    for number in range(30):
        assert pair.clients[number % 3].recv(100) == b"answer %d" % number
    assert list(pair.queue.receive_from()) == []


async def test_datagrams_of_every_length_come_whole(pair: Pair) -> None:
    for size in (0, 1, SLOT_BYTES, SLOT_BYTES + 1, 65_507, 3):
        sent = os.urandom(size)
        pair.clients[0].send(b"before")
        pair.clients[0].send(sent)
        pair.clients[0].send(b"after")
        received = list(pair.queue.receive_from())
        assert [data for data, _ in received] == [b"before", sent, b"after"]
        for data, client in received:
            pair.queue.queue(data, client)
        pair.queue.flush()
        assert [pair.clients[0].recv(70_000) for _ in range(3)] == [b"before", sent, b"after"]


async def test_more_answers_than_a_call_takes_and_none_after_the_close(pair: Pair) -> None:
    pair.clients[0].send(b"hello")
    ((_, client),) = pair.queue.receive_from()
    for number in range(2 * BATCH + 1):
        pair.queue.queue(b"%d" % number, client)
    await asyncio.sleep(0)
    assert [pair.clients[0].recv(10) for _ in range(2 * BATCH + 1)] == [b"%d" % n for n in range(2 * BATCH + 1)]
    pair.queue.queue(b"late", client)
    pair.server.close()
    pair.queue.flush()
    pair.clients[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.clients[0].recv(10)
