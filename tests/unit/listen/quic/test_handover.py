"""Datagrams handed from worker to worker."""

from __future__ import annotations

from npserver.listen.quic.handover import BATCH, HandoverSockets, pack, receive_all, split

CLIENT = ("192.0.2.1", 4711, ("::ffff:192.0.2.1", 4711, 0, 0), ((41, 50, b"x" * 20),))


def test_each_worker_is_reached_by_all() -> None:
    made = HandoverSockets(2)
    first, second = made.sockets(0), made.sockets(1)
    first[2].send(pack(3, CLIENT, b"datagram"))
    assert list(receive_all(second[0])) == [(3, CLIENT, b"datagram")]
    assert list(receive_all(first[0])) == []
    assert split(first) == ([], list(first))
    for one in {*first, *second}:
        one.close()


def test_what_waits_is_bounded() -> None:
    made = HandoverSockets(1)
    receiver, sender = made.sockets(0)
    sent = 0
    try:
        for _ in range(100_000):
            sender.send(pack(0, CLIENT, bytes(1200)))
            sent += 1
    except BlockingIOError:
        pass
    assert 5 < sent < 10_000
    assert len(list(receive_all(receiver))) == min(sent, BATCH)
    receiver.close()
    sender.close()
