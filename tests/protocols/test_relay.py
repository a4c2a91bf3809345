"""Relays between real sockets, on both loops, with and without splice(2): half-closes, resets, pressure, bulk."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
import struct

import pytest

from npserver.net import relay_end, socket_stream
from npserver.net.splice import can_splice
from tests.protocols.relaying import Run, peek, run, splices, stage

__all__ = ["run", "splices"]  # fixtures


def test_bytes_flow_both_ways_and_are_counted(run: Run, splices: bool) -> None:
    async def play() -> None:
        async with stage(splices=splices) as it:
            for round_number in range(50):
                for sender, receiver in it.pair():
                    await it.send(sender, b"%03d" % round_number)
                    assert await it.receive(receiver, 3) == b"%03d" % round_number
            assert (it.relay.client.received, it.relay.target.received) == (150, 150)

    run(play())


def test_a_half_close_leaves_the_other_direction_open(run: Run, splices: bool) -> None:
    async def play() -> None:
        for which in (0, 1):
            async with stage(splices=splices) as it:
                sender, receiver = it.pair()[which]
                await it.send(sender, b"question")
                sender.shutdown(socket.SHUT_WR)
                assert await it.receive(receiver, 100) == b"question"  # and its end
                for _ in range(3):
                    await it.send(receiver, b"answer")
                    assert await it.receive(sender, 6) == b"answer"
                receiver.close()
                assert await it.receive(sender, 100) == b""
                assert await it.ended == f"closed by {('client', 'target')[which]}"

    run(play())


def test_all_that_was_sent_arrives_before_a_close(run: Run, splices: bool) -> None:
    async def play() -> None:
        data = os.urandom(3_000_000)
        async with stage(splices=splices) as it:
            sending = asyncio.ensure_future(it.send(it.target, data))
            sending.add_done_callback(lambda _: it.target.close())
            received = await it.receive(it.client, len(data) + 1)
            assert len(received) == len(data)
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
            assert await it.receive(it.client, 1) == b""
            await sending

    run(play())


@pytest.mark.parametrize("which", [0, 1], ids=["client", "target"])
def test_a_reset_is_passed_on_as_a_reset(run: Run, splices: bool, which: int) -> None:
    """RFC 9293 §3.5.3."""

    async def play() -> None:
        async with stage(splices=splices) as it:
            resetting, other = it.pair()[which]
            await it.send(resetting, b"last words")
            assert await it.receive(other, 10) == b"last words"
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            resetting.close()
            with pytest.raises(ConnectionResetError):
                await it.receive(other, 1)
            assert await it.ended == f"reset by {('client', 'target')[which]}"

    run(play())


@pytest.mark.parametrize("ends", [True, False], ids=["end", "reset"])
def test_an_early_answer_arrives_before_what_ended_it(run: Run, splices: bool, ends: bool) -> None:
    """A target answers and closes with bytes unread, which resets the connection: the answer arrives before that does.

    If the target had ended its side before, the answer ends properly.
    """

    async def play() -> None:
        async with stage(splices=splices) as it:
            it.relay.target.transport.pause_reading()  # so that the answer waits in the kernel when writing fails
            await it.send(it.client, b"x")
            await peek(it.target)
            await it.send(it.target, b"413 too large")
            if ends:
                it.target.shutdown(socket.SHUT_WR)
            it.target.close()
            with pytest.raises(OSError):
                while True:
                    await it.send(it.client, b"x" * 1000)
                    if it.relay.is_over or not it.relay.target.is_open:
                        raise OSError("over")
                    await asyncio.sleep(0)
            assert await it.receive(it.client, 13) == b"413 too large"
            if ends:
                assert await it.receive(it.client, 1) == b""
            else:
                await it.send(it.client, b"still sending")  # it is given time to read the answer
                it.relay.expire(it.loop.time() + 10)
                with pytest.raises(ConnectionResetError):
                    await it.receive(it.client, 1)
                assert await it.ended == "reset by target"

    run(play())


def test_a_slow_receiver_slows_the_sender_down(run: Run, splices: bool) -> None:
    async def play() -> None:
        async with stage(splices=splices, buffer_size=10_000) as it:
            sent = 0
            quiet = 0
            while quiet < 20:  # until nothing moves any more
                try:
                    sent += it.target.send(b"x" * 65536)
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                await asyncio.sleep(0.002)
            assert it.relay.client.transport.get_write_buffer_size() < 10_000 + 300_000  # limit and one read
            it.target.shutdown(socket.SHUT_WR)
            received = 0
            while piece := await it.loop.sock_recv(it.client, 1 << 20):
                received += len(piece)
            assert received == sent

    run(play())


@pytest.mark.parametrize("which", [0, 1], ids=["upload", "download"])
def test_fifty_megabytes_arrive_unchanged(run: Run, splices: bool, which: int) -> None:
    async def play() -> None:
        async with stage(splices=splices) as it:
            sender, receiver = it.pair()[which]
            block = os.urandom(1 << 20)
            sent, got = hashlib.sha256(), hashlib.sha256()

            async def send() -> None:
                for number in range(50):
                    piece = block[number:] + block[:number]
                    sent.update(piece)
                    await it.send(sender, piece)
                sender.shutdown(socket.SHUT_WR)

            sending = asyncio.ensure_future(send())
            while piece := await it.loop.sock_recv(receiver, 1 << 20):
                got.update(piece)
            await sending
            assert got.digest() == sent.digest()
            counts = sorted((it.relay.client.received, it.relay.target.received))
            assert counts == [0, 50 << 20]

    run(play())


def test_bulk_is_spliced_and_frees_its_descriptors(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_splice() or not os.path.isdir("/proc/self/fd"):
        pytest.skip("no splice(2) here")
    monkeypatch.setattr(relay_end, "BULK_READ", 1)
    monkeypatch.setattr(relay_end, "BULK_READS", 1)
    monkeypatch.setattr(socket_stream, "SMALL_BYTES", 0)

    async def play() -> None:
        async with stage(splices=True) as it:
            gc.collect()  # what other tests have left is not closed meanwhile
            before = len(os.listdir("/proc/self/fd"))
            await it.send(it.client, b"one")
            assert await it.receive(it.target, 3) == b"one"
            await it.send(it.client, b"two")
            assert await it.receive(it.target, 3) == b"two"
            assert len(os.listdir("/proc/self/fd")) == before + 4  # two duplicates and a pipe
            it.relay.expire(it.loop.time() + 1)
            it.relay.expire(it.loop.time() + 2)  # nothing has moved in between
            assert len(os.listdir("/proc/self/fd")) == before
            await it.send(it.client, b"three")
            assert await it.receive(it.target, 5) == b"three"
            assert it.relay.client.received == 11

    run(play())


def test_silence_ends_a_relay_and_any_byte_keeps_it(run: Run, splices: bool) -> None:
    async def play() -> None:
        async with stage(splices=splices, timeout_s=100) as it:
            start = it.relay.context.loop.time()
            for step in range(1, 9):
                await it.send(it.target, b".")
                assert await it.receive(it.client, 1) == b"."
                it.relay.expire(start + step * 90)
            assert not it.ended.done()
            it.relay.expire(start + 8 * 90 + 99)
            await asyncio.sleep(0)
            assert not it.ended.done()
            it.relay.expire(start + 8 * 90 + 101)
            assert await it.ended == "timeout"
            assert await it.receive(it.client, 1) == b""

    run(play())


def test_deadline_is_kept_by_the_sweeper(run: Run) -> None:
    async def play() -> None:
        async with stage(splices=False, timeout_s=0.2) as it:
            assert await asyncio.wait_for(it.ended, 30) == "timeout"

    run(play())


def test_connections_that_last_are_kept_alive(run: Run) -> None:
    async def play() -> None:
        async with stage(splices=False, timeout_s=3600) as it:
            assert it.relay.deadline - it.loop.time() <= 15
            transports = (it.relay.client.transport, it.relay.target.transport)
            for wanted in (False, True):
                for transport in transports:
                    sock = transport.get_extra_info("socket")
                    assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is wanted
                it.relay.expire(it.loop.time())

    run(play())


def test_a_stuck_receiver_does_not_hold_a_relay_for_ever(run: Run) -> None:
    async def play() -> None:
        async with stage(splices=False, timeout_s=100) as it:
            it.relay.client.transport.write(b"x" * 20_000_000)
            start = it.loop.time()
            it.relay.expire(start)
            it.relay.expire(start + 101)
            it.relay.expire(start + 202)
            assert await it.ended == "timeout"

    run(play())
