"""The channel between master and child: whole messages, in order, with their descriptors, whatever the reads."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from npserver.process.message_channel import MAX_DESCRIPTORS, ChannelClosed, MessageChannel


@pytest.fixture
def ends() -> Iterator[tuple[MessageChannel, MessageChannel]]:
    one, other = MessageChannel.pair()
    yield one, other
    one.close()
    other.close()


def same_file(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


def test_messages_arrive_in_order(ends: tuple[MessageChannel, MessageChannel]) -> None:
    one, other = ends
    for number in range(50):
        one.send({"kind": "published", "value": number})
    assert [message["value"] for message, _ in other.receive()] == list(range(50))
    assert other.receive() == []


def test_descriptors_stay_with_their_messages(ends: tuple[MessageChannel, MessageChannel]) -> None:
    one, other = ends
    with socket.socket() as first, socket.socket() as second:
        one.send({"n": 0})
        one.send({"n": 1}, [first.fileno()])
        one.send({"n": 2})
        one.send({"n": 3}, [second.fileno(), first.fileno()])
        received = other.receive() + other.receive()
        assert [message["n"] for message, _ in received] == [0, 1, 2, 3]
        assert [len(numbers) for _, numbers in received] == [0, 1, 0, 2]
        assert same_file(received[1][1][0], first.fileno())
        assert same_file(received[3][1][0], second.fileno())
        assert same_file(received[3][1][1], first.fileno())
        for _, numbers in received:
            for number in numbers:
                os.close(number)


def test_large_message_waits_for_the_reader(ends: tuple[MessageChannel, MessageChannel]) -> None:
    one, other = ends
    with socket.socket() as carried:
        one.send({"text": "x" * 3_000_000}, [carried.fileno()])
        one.send({"text": "next"})
        assert one.wants_write
        received: list[tuple[dict[str, str], list[int]]] = []
        for _ in range(1000):
            received += other.receive()
            one.flush()
            if len(received) == 2:
                break
        (large, numbers), (small, none) = received
        assert len(large["text"]) == 3_000_000
        assert small == {"text": "next"}
        assert none == []
        assert same_file(numbers[0], carried.fileno())
        os.close(numbers[0])
    assert not one.wants_write


def test_any_split_gives_the_same_messages(ends: tuple[MessageChannel, MessageChannel]) -> None:
    one, other = ends
    one.send({"kind": "a", "text": "é" * 10})
    one.send({"kind": "b"})
    wire = other.socket.recv(4096)
    got = []
    for byte in wire:
        one.socket.send(bytes([byte]))
        got += other.receive()
    assert got == [({"kind": "a", "text": "é" * 10}, []), ({"kind": "b"}, [])]


def test_last_messages_are_given_before_the_end(ends: tuple[MessageChannel, MessageChannel]) -> None:
    one, other = ends
    one.send({"kind": "last"})
    one.close()
    assert other.receive() == [({"kind": "last"}, [])]
    with pytest.raises(ChannelClosed):
        other.receive()


def test_sending_to_nobody_is_told(ends: tuple[MessageChannel, MessageChannel]) -> None:
    one, other = ends
    other.close()
    with pytest.raises(ChannelClosed):
        one.send({"kind": "lost"})


def test_too_many_descriptors_are_refused(ends: tuple[MessageChannel, MessageChannel]) -> None:
    with pytest.raises(ValueError, match="251 descriptors"):
        ends[0].send({}, [0] * (MAX_DESCRIPTORS + 1))
