"""Batches of datagrams through recvmmsg and sendmmsg, over real sockets of both families."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from npserver.listen.datagram_batch import BATCH, SLOT_BYTES, Batch, is_possible

pytestmark = pytest.mark.skipif(not is_possible(), reason="needs 64-bit Linux")


class Pair:
    """A server's socket with its batch, and clients."""

    def __init__(self, family: socket.AddressFamily, host: str) -> None:
        self.server = socket.socket(family, socket.SOCK_DGRAM)
        self.server.bind((host, 0))
        self.server.setblocking(False)
        self.batch = Batch(self.server)
        self.clients = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
        for client in self.clients:
            client.bind((host, 0))
            client.connect(self.server.getsockname())
            client.settimeout(30)

    def close(self) -> None:
        for one in (self.server, *self.clients):
            one.close()


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(*request.param)
    yield made
    made.close()


def is_silent(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        client.recv(10)
    except BlockingIOError:
        return True
    return False


def test_answers_go_back_to_their_senders(pair: Pair) -> None:
    for number in range(30):
        pair.clients[number % 3].send(b"%d" % number)
    datagrams = pair.batch.receive()
    assert datagrams == [b"%d" % number for number in range(30)]
    pair.batch.send([b"answer " + data for data in datagrams])
    for number in range(30):
        assert pair.clients[number % 3].recv(100) == b"answer %d" % number


def test_senders_are_known(pair: Pair) -> None:
    for _ in range(2):
        for client in pair.clients:
            client.send(b"x")
        assert len(pair.batch.receive()) == 3
        for slot, client in enumerate(pair.clients):
            assert pair.batch.client(slot) == client.getsockname()


def test_an_empty_socket_gives_nothing(pair: Pair) -> None:
    assert pair.batch.receive() == []
    pair.batch.send([])


def test_no_more_than_a_batch_at_once(pair: Pair) -> None:
    for _ in range(BATCH + 5):
        pair.clients[0].send(b"x")
    assert [len(pair.batch.receive()) for _ in range(3)] == [BATCH, 5, 0]


@pytest.mark.parametrize("gaps", [[0], [2], [1, 2], [0, 4], [0, 1, 2, 3, 4], [4]])
def test_missing_replies_leave_the_others(pair: Pair, gaps: list[int]) -> None:
    client = pair.clients[0]
    for number in range(5):
        client.send(b"%d" % number)
    received = pair.batch.receive()
    pair.batch.send([None if number in gaps else data for number, data in enumerate(received)])
    expected = [b"%d" % number for number in range(5) if number not in gaps]
    assert [client.recv(10) for _ in expected] == expected
    assert is_silent(client)


def test_empty_and_full_datagrams_pass(pair: Pair) -> None:
    client = pair.clients[0]
    for data in (b"", b"x" * SLOT_BYTES, b"y" * (SLOT_BYTES + 100), b"z"):
        client.send(data)
    received = pair.batch.receive()
    assert received == [b"", b"x" * SLOT_BYTES, b"y" * SLOT_BYTES, b"z"]
    pair.batch.send([b"", b"x" * SLOT_BYTES, b"long" * SLOT_BYTES, b"z"])
    assert [len(client.recv(65_535)) for _ in range(4)] == [0, SLOT_BYTES, 4 * SLOT_BYTES, 1]


def test_more_than_the_buffer_holds(pair: Pair) -> None:
    client = pair.clients[0]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    for number in range(5):
        client.send(b"%d" % number)
    pair.batch.send([data * 40_000 for data in pair.batch.receive()])
    assert [client.recv(65_535)[:1] for _ in range(5)] == [b"%d" % number for number in range(5)]


def test_an_answer_that_cannot_be_sent_keeps_none_of_the_others(pair: Pair) -> None:
    first, second, third = pair.clients
    for client in pair.clients:
        client.send(b"x")
    received = pair.batch.receive()
    second.close()
    pair.batch.send([data * 2 for data in received])
    assert first.recv(10) == third.recv(10) == b"xx"


def test_slots_hold_nothing_of_before(pair: Pair) -> None:
    client = pair.clients[0]
    for data in (b"a long question", b"b"):
        client.send(data)
        (received,) = pair.batch.receive()
        assert received == data
        pair.batch.send([received])
        assert client.recv(100) == data
