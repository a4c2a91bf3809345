"""Helpers of the tests of forwards: the server in this process, and targets for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import npserver
from tests.stage.serving import forgiving

DEADLINE_S = 30.0
Answer = Callable[[bytes], bytes | None]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

serve = partial(npserver.serve, shutdown_s=0.1)


@asynccontextmanager
async def stream_server(talk: Talk, **options: Any) -> AsyncIterator[int]:
    """Serve each connection by `talk(reader, writer)`; yield the port. At the end no connection is left."""
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
                await talk(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    server = await asyncio.start_server(forgiving(converse), "127.0.0.1", options.pop("port", 0), **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0)
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all bytes back."""
    while data := await reader.read(65536):
        writer.write(data)


@asynccontextmanager
async def connect(server: Any, **options: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the listener named `in`."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses["in"].port, **options)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds that another task brings about."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


async def receive_from(sock: socket.socket, size: int = 65536) -> tuple[bytes, Any]:
    """Return the next datagram and its sender; uvloop has no `sock_recvfrom`."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return sock.recvfrom(size)
            except BlockingIOError:
                readable = asyncio.Event()
                loop.add_reader(sock, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(sock)


class Udp:
    """A UDP socket of the tests."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind(address)
        self.port = int(self.sock.getsockname()[1])

    def to(self, port: int, host: str = "127.0.0.1") -> Udp:
        self.sock.connect((host, port))
        return self

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.sock, 65536), DEADLINE_S)

    async def receive_from(self) -> tuple[bytes, Any]:
        return await receive_from(self.sock)

    def close(self) -> None:
        self.sock.close()


@contextmanager
def udp(*args: Any) -> Iterator[Udp]:
    one = Udp(*args)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def udp_server(
    answer: Answer = lambda data: data, host: str = "127.0.0.1"
) -> Iterator[tuple[int, list[tuple[bytes, Any]]]]:
    """Answer datagrams; yield the port and the list of (datagram, sender)."""
    loop = asyncio.get_running_loop()
    received: list[tuple[bytes, Any]] = []
    with udp((host, 0)) as one:

        def read() -> None:
            data, client = one.sock.recvfrom(65536)
            received.append((data, client))
            if (reply := answer(data)) is not None:
                one.sock.sendto(reply, client)

        loop.add_reader(one.sock, read)
        try:
            yield one.port, received
        finally:
            loop.remove_reader(one.sock)


def localhost() -> str:
    """Return the address that the name localhost is looked up to first: 127.0.0.1 or ::1."""
    return str(socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)[0][4][0])


def one_forward(listen: str, to: str, **rule: Any) -> dict[str, Any]:
    more = {key: rule.pop(key) for key in ("upstreams", "limits") if key in rule}
    listener = {"name": "in", "uri": listen, **rule.pop("listener", {})}
    return {
        "listen": [listener],
        "dispatch": [{"listener": "in", "handler": "forward", "forward_to": to, **rule}],
        **more,
    }


def port_of(server: Any) -> int:
    return int(server.addresses["in"].port)


async def dead_port() -> int:
    with udp() as one:
        return one.port


def named(name: bytes) -> Talk:
    """A target that sends its name, then echoes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        while data := await reader.read(65536):
            writer.write(data)

    return answer


def one_stream(to: str, **rule: Any) -> dict[str, Any]:
    """A config with one TCP forward."""
    return streams([{"forward_to": to, **rule}])


def streams(rules: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    listen = {"name": "in", "uri": "tcp://127.0.0.1:0", **more.pop("listener", {})}
    return {
        "listen": [listen],
        "dispatch": [{"listener": "in", "handler": "forward", **rule} for rule in rules],
        **more,
    }


async def ask(server: Any, data: bytes = b"hello", **options: Any) -> bytes:
    """Send, end, and return all that comes back."""
    async with connect(server, **options) as (reader, writer):
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        return await reader.read()


async def refused(server: Any, data: bytes = b"hello") -> bool:
    """Return whether a connection is closed without an answer."""
    try:
        return await ask(server, data) == b""
    except OSError:  # reset, or not connected any more when ending
        return True
