"""Relays between real sockets, on both loops, with and without splice(2): half-closes, resets, pressure, bulk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from npserver.net import relayend
from npserver.net.bulletin import Bulletin
from npserver.net.relay import Relay
from npserver.net.splice import can_splice
from npserver.net.sweeper import Sweeper
from npserver.observe.scoreboard import Scoreboard
from npserver.serve.context import Context

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
DEADLINE_S = 10

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
    """So many bytes, or what came before the end."""
    data = bytearray()
    while len(data) < size and (piece := await asyncio.get_running_loop().sock_recv(sock, size - len(data))):
        data += piece
    return bytes(data)


async def peek(sock: socket.socket) -> None:
    """Wait until there is something to read, and leave it there."""
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(sock, readable.set)
    await readable.wait()
    asyncio.get_running_loop().remove_reader(sock)


def make_context(loop: asyncio.AbstractEventLoop) -> Context:
    return Context(loop, 0, Scoreboard(1, b"seed").row(0), Sweeper(loop), None, Bulletin())  # type: ignore[arg-type]


async def connected() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


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
    await loop.create_connection(lambda: relay.client, sock=client_inside)
    await loop.create_connection(lambda: relay.target, sock=target_inside)
    try:
        yield actors
    finally:
        client.close()
        target.close()
        relay.abort("end of test")
        await asyncio.wait_for(actors.ended, DEADLINE_S)
        assert relay not in context.sweeper.watched
        context.sweeper.close()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a coroutine on a loop of each kind; leave no descriptor behind."""

    def go(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(work, DEADLINE_S))

    return go


@pytest.fixture(params=["splice", "plain"])
def splices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether bulk is spliced; then from the very first read on."""
    if request.param == "splice":
        if not can_splice():
            pytest.skip("no splice(2) here")
        monkeypatch.setattr(relayend, "BULK_READ", 1)
        monkeypatch.setattr(relayend, "BULK_READS", 1)
        return True
    return False


Run = Callable[[Coroutine[Any, Any, None]], None]


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
    monkeypatch.setattr(relayend, "BULK_READ", 1)
    monkeypatch.setattr(relayend, "BULK_READS", 1)

    async def play() -> None:
        async with stage(splices=True) as it:
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
            assert await asyncio.wait_for(it.ended, 2) == "timeout"

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
        context.sweeper.close()

    run(play())


def test_what_comes_before_the_target_is_there_waits_in_order(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        context = make_context(loop)
        client, client_inside, target, target_inside, relay, ended = await waiting(context)
        relay.preface = b"PROXY "
        await loop.create_connection(lambda: relay.client, sock=client_inside)
        await loop.sock_sendall(client, b"one ")
        while not relay.client.received:
            await asyncio.sleep(0)
        await loop.sock_sendall(client, b"two")
        client.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.01)
        assert relay.client.received == 4  # the rest waits in the kernel
        await loop.create_connection(lambda: relay.target, sock=target_inside)
        received = b""
        while piece := await loop.sock_recv(target, 100):
            received += piece
        assert received == b"PROXY one two"
        target.close()
        assert await loop.sock_recv(client, 100) == b""
        await ended
        client.close()
        context.sweeper.close()

    run(play())


def test_a_client_that_leaves_before_the_target_is_there(run: Run) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        context = make_context(loop)
        client, client_inside, target, target_inside, relay, ended = await waiting(context)
        await loop.create_connection(lambda: relay.client, sock=client_inside)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert await ended == "reset by client"
        await loop.create_connection(lambda: relay.target, sock=target_inside)
        assert await loop.sock_recv(target, 100) == b""
        target.close()
        context.sweeper.close()

    run(play())
