"""Streams over the poller: what is written arrives, what comes is read, and faults end one connection only."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from npserver.net import poller as poller_module
from npserver.net.connect import SocketAttempt
from npserver.net.poller import Poller
from npserver.net.socket_stream import READS, SocketStream
from tests.protocols.relaying import connected, receive
from tests.stage.ports import free_port
from tests.stage.scarcity import no_descriptors

pytestmark = pytest.mark.skipif(not poller_module.IS_POSSIBLE, reason="epoll is Linux's")

DEADLINE_S = 30.0


class Noting(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self, *, keeps_open: bool = False) -> None:
        self.told: list[str] = []
        self.data = b""
        self.keeps_open = keeps_open
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        if not self.data:
            self.told.append("data")
        self.data += data

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append("lost")
        self.lost.set_result(error)


class Stage:
    """A poller, and streams with a plain socket at their other end."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.loop = asyncio.get_running_loop()
        self.poller = Poller(self.loop)
        self.streams: list[SocketStream] = []
        self.peers: list[socket.socket] = []

    async def stream(self, protocol: asyncio.Protocol) -> tuple[SocketStream, socket.socket]:
        near, far = await connected()
        stream = SocketStream(self.poller, socket.SocketType(fileno=near.detach()))
        stream.start(protocol)
        self.streams.append(stream)
        self.peers.append(far)
        return stream, far

    async def end(self) -> None:
        for stream in self.streams:
            stream.abort()
        for peer in self.peers:
            peer.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert repr(self.poller) == "<Poller 0>"
        self.poller.close()


Play = Callable[..., Coroutine[Any, Any, None]]


def staged(test: Play) -> Callable[..., None]:
    """Run on both loops, with a stage."""

    def run(factory: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture) -> None:
        async def play() -> None:
            it = Stage(caplog)
            try:
                await asyncio.wait_for(test(it), DEADLINE_S)
            finally:
                await it.end()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(play())

    run.__doc__ = test.__doc__
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("factory", loops, ids=["asyncio", "uvloop"])(run)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@staged
async def test_more_than_the_kernel_takes_arrives_in_order(it: Stage) -> None:
    protocol = Noting()
    stream, peer = await it.stream(protocol)
    stream.set_write_buffer_limits(100_000)
    assert stream.get_write_buffer_limits() == (25_000, 100_000)
    pieces = [bytes([number % 251]) * (number * 997 % 100_000) for number in range(400)]
    for number, piece in enumerate(pieces):
        if number % 3:
            stream.write(piece)
        else:
            stream.writelines([memoryview(piece)[:100], bytearray(piece[100:])])
    assert protocol.told == ["made", "pause"]
    assert stream.get_write_buffer_size() > 100_000
    expected = b"".join(pieces)
    assert await receive(peer, len(expected)) == expected
    await until(lambda: protocol.told == ["made", "pause", "resume"])
    assert stream.get_write_buffer_size() == 0
    stream.write(b"at once")
    assert peer.recv(100) == b"at once"


@staged
async def test_what_is_written_when_the_buffer_has_drained_is_sent_even_if_the_kernel_has_room(it: Stage) -> None:
    protocol = Noting()
    stream, peer = await it.stream(protocol)
    refills = iter([stream.write] * 39 + [lambda data: stream.close()])
    protocol.resume_writing = lambda: next(refills)(b"x" * 100_000)  # type: ignore[method-assign]
    stream.write(b"x" * 20_000_000)
    assert len(await receive(peer, 30_000_000)) == 23_900_000
    assert await protocol.lost is None


@staged
async def test_closing_and_ending_wait_until_all_is_sent(it: Stage) -> None:
    for finish in (SocketStream.close, SocketStream.write_eof):
        protocol = Noting()
        stream, peer = await it.stream(protocol)
        stream.write(b"x" * 20_000_000)
        finish(stream)
        stream.write(b"nobody gets this")
        assert protocol.told == ["made", "pause"]
        assert len(await receive(peer, 30_000_000)) == 20_000_000
        if finish is SocketStream.close:
            assert await protocol.lost is None
        else:
            peer.send(b"still heard")
            await until(lambda told=protocol: told.data == b"still heard")  # type: ignore[misc]


@staged
async def test_close_and_abort_tell_the_protocol_once_and_not_from_within(it: Stage) -> None:
    for end in (SocketStream.close, SocketStream.abort):
        protocol = Noting()
        stream, peer = await it.stream(protocol)
        end(stream)
        end(stream)
        assert stream.is_closing()
        assert protocol.told == ["made"]
        assert await protocol.lost is None
        assert await receive(peer, 1) == b""
        assert stream.get_extra_info("socket").fileno() == -1
        assert stream.get_extra_info("sockname", "gone") == "gone"


@staged
async def test_what_comes_while_reading_is_paused_comes_afterwards(it: Stage) -> None:
    protocol = Noting()
    stream, peer = await it.stream(protocol)
    stream.pause_reading()
    peer.send(b"one")
    await asyncio.sleep(0.01)
    peer.send(b" two")
    peer.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.01)
    assert protocol.told == ["made"]
    assert not stream.is_reading()
    stream.resume_reading()
    assert protocol.told == ["made"], "not from within the caller"
    assert await protocol.lost is None
    assert protocol.data == b"one two"
    assert protocol.told == ["made", "data", "eof", "lost"]


@staged
async def test_a_protocol_can_pause_at_each_piece(it: Stage) -> None:
    class Sipping(Noting):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    protocol = Sipping()
    _, peer = await it.stream(protocol)
    await it.loop.sock_sendall(peer, b"0123456789" * 500_000)
    peer.shutdown(socket.SHUT_WR)
    await protocol.lost
    assert protocol.data == b"0123456789" * 500_000


@staged
async def test_a_half_closed_connection_can_still_be_written_to(it: Stage) -> None:
    protocol = Noting(keeps_open=True)
    stream, peer = await it.stream(protocol)
    peer.sendall(b"question")
    peer.shutdown(socket.SHUT_WR)
    await until(lambda: protocol.told == ["made", "data", "eof"])
    stream.write(b"answer")
    stream.write_eof()
    assert await receive(peer, 100) == b"answer"


@staged
async def test_a_reset_is_told_with_its_error(it: Stage) -> None:
    protocol = Noting()
    _, peer = await it.stream(protocol)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    assert isinstance(await protocol.lost, ConnectionResetError)


@staged
async def test_a_faulty_protocol_ends_its_own_connection_only(it: Stage) -> None:
    class Faulty(Noting):
        def data_received(self, data: bytes) -> None:
            raise ValueError("fault")

    sound, faulty = Noting(), Faulty()
    _, peer = await it.stream(sound)
    _, other = await it.stream(faulty)
    other.send(b"x")
    peer.send(b"y")
    assert isinstance(await faulty.lost, ValueError)
    await until(lambda: sound.data == b"y")
    assert it.caplog.text.count("error while serving a connection") == 1


@staged
async def test_a_flood_leaves_others_their_turn(it: Stage) -> None:
    class Counting(Noting):
        def data_received(self, data: bytes) -> None:
            self.count = getattr(self, "count", 0) + len(data)

    flooded, other = Counting(), Noting()
    _, source = await it.stream(flooded)
    _, peer = await it.stream(other)
    source.setblocking(False)
    turns = 0

    def fill() -> None:
        nonlocal turns
        turns += 1
        try:
            while source.send(bytes(1 << 20)):
                pass
        except BlockingIOError:
            it.loop.call_soon(fill)

    fill()
    await until(lambda: turns > READS)
    peer.send(b"x")
    await until(lambda: other.data == b"x")
    source.shutdown(socket.SHUT_WR)
    turns = -(1 << 30)


@staged
async def test_joined_streams_pass_on_what_is_small_and_slow_each_other_down(it: Stage) -> None:
    class Passing(Noting):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            two.write(data)

    near, far = Passing(), Noting()
    one, client = await it.stream(near)
    two, target = await it.stream(far)
    one.join(two)
    client.send(b"small")
    assert await receive(target, 5) == b"small"
    assert (near.data, one.passed_bytes) == (b"", 5)
    sent = bytearray()
    while "pause" not in far.told:  # the target takes nothing
        piece = bytes([len(sent) % 251]) * 1000
        try:
            sent += piece[: client.send(piece)]
        except BlockingIOError:
            pass
        await asyncio.sleep(0)
    assert near.data, "what cannot go straight on comes to the protocol"
    assert await receive(target, len(sent)) == sent
    await until(lambda: far.told == ["made", "pause", "resume"])
    assert one.passed_bytes + len(near.data) == 5 + len(sent)
    near.data = b""
    client.send(b"straight on again")
    assert await receive(target, 17) == b"straight on again"
    assert near.data == b""
    one.join(None)
    client.send(b"to the protocol")
    assert await receive(target, 15) == b"to the protocol"
    assert near.data == b"to the protocol"


@staged
async def test_events_of_a_closed_socket_do_not_reach_a_new_one_with_its_number(it: Stage) -> None:
    """Two sockets have something in one turn; serving either closes the other and opens a third in its place."""
    near, far = zip(*[await connected() for _ in range(3)], strict=True)
    told: list[str] = []
    successors: list[socket.socket] = []

    def serve(own: int, other: int) -> None:
        if told:
            return
        told.append("first")
        number = near[other].fileno()
        it.poller.forget(number)
        near[other].close()
        os.dup2(near[2].fileno(), number)
        successors.append(socket.socket(fileno=number))
        it.poller.watch(number, lambda events: told.append(f"third {events}"))
        it.poller.forget(near[own].fileno())

    for own, other in ((0, 1), (1, 0)):
        far[own].send(b"x")
        it.poller.watch(near[own].fileno(), lambda _events, own=own, other=other: serve(own, other))  # type: ignore[misc]
    await until(lambda: len(told) > 1)
    assert told == ["first", "third 4"], "writable, which it is, not readable as the former one"
    it.poller.unwatch(successors[0].fileno())
    for sock in (*near, *far, *successors):
        sock.close()


@staged
async def test_a_connection_is_opened(it: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        told: list[Exception | None] = []
        protocol = Noting()
        SocketAttempt(it.poller, lambda: protocol, told.append).start(*server.getsockname())
        await until(lambda: bool(told))
        assert told == [None]
        accepted, peer = server.accept()
        with accepted:
            assert protocol.transport.get_extra_info("peername") == server.getsockname()
            assert protocol.transport.get_extra_info("sockname") == peer
            accepted.send(b"hello")
            await until(lambda: protocol.data == b"hello")
    assert await protocol.lost is None


@staged
async def test_connections_that_cannot_be_opened(it: Stage) -> None:
    told: list[Any] = []
    connecting = functools.partial(SocketAttempt, it.poller, Noting, told.append)
    connecting().start("127.0.0.1", free_port())
    await until(lambda: bool(told))
    assert isinstance(told.pop(), ConnectionRefusedError)
    connecting().start("::1", free_port())
    await until(lambda: bool(told))
    assert isinstance(told.pop(), OSError)
    connecting().start("255.255.255.255", 9)  # not before the caller has its attempt; or at once
    await until(lambda: bool(told))
    assert told.pop().errno in (errno.EACCES, errno.ENETUNREACH, errno.EPERM)
    with no_descriptors():
        connecting().start("127.0.0.1", 9)
        assert told.pop().errno == errno.EMFILE


@staged
async def test_an_attempt_given_up_tells_nobody(it: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        told: list[Exception | None] = []
        attempt = SocketAttempt(it.poller, Noting, told.append)
        attempt.start(*server.getsockname())
        attempt.cancel()
        attempt.cancel()
        accepted, _ = server.accept()
        with accepted:
            assert await it.loop.run_in_executor(None, accepted.recv, 1) == b""
    assert told == []
    assert repr(it.poller) == "<Poller 0>"
