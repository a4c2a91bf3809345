"""Bytes left unread in a connection that failed while it was written to, and bytes that the peer has not read."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable

import pytest
import uvloop

from npserver.net.unread import read_unread, unsent_bytes
from tests.stage.scarcity import no_descriptors

DEADLINE_S = 30.0


class Writer(asyncio.Protocol):
    """Writes until that fails, reading nothing; then looks at what was left."""

    def __init__(self) -> None:
        self.left: asyncio.Future[tuple[bytes, bool]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is not None
        with no_descriptors():  # it takes none
            self.left.set_result(read_unread(self.transport, exc))


@pytest.mark.parametrize("make_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("is_ended", [True, False], ids=["end", "reset"])
@pytest.mark.parametrize("data", [b"", b"an answer", b"x" * 30_000])
def test_a_reset_is_not_taken_for_an_end(
    make_loop: Callable[[], asyncio.AbstractEventLoop], is_ended: bool, data: bytes
) -> None:
    """The write has consumed the error, so that the kernel reports an end for either."""

    async def play() -> tuple[bytes, bool]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
        ours.setblocking(False)
        _, writer = await loop.create_connection(Writer, sock=ours)
        writer.transport.pause_reading()
        theirs.sendall(data)
        if is_ended:
            theirs.shutdown(socket.SHUT_WR)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        while not writer.left.done():
            writer.transport.write(b"x")
            await asyncio.sleep(0)
        return await writer.left

    with asyncio.Runner(loop_factory=make_loop) as runner:
        left, ended = runner.run(asyncio.wait_for(play(), DEADLINE_S))
    assert ended is is_ended
    assert left == data


@pytest.mark.skipif(sys.platform != "linux", reason="SIOCOUTQ is of Linux")
async def test_bytes_that_the_peer_has_not_read_count_down_as_it_reads() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        transport, _ = await loop.create_connection(asyncio.Protocol, *server.getsockname())
        peer, _ = server.accept()
        with peer:
            assert unsent_bytes(transport) == 0
            transport.write(bytes(1 << 20))
            transport.write(bytes(1 << 20))
            left = before = unsent_bytes(transport)
            assert before > 1 << 20
            peer.setblocking(False)
            async with asyncio.timeout(DEADLINE_S):
                while left:
                    await loop.sock_recv(peer, 65_536)
                    now = unsent_bytes(transport)
                    assert now <= left
                    left = now
    transport.abort()
