"""A stage for the proxy: the real HTTP server and the real upstream connections over loopback, raw ends on both sides.

`Stage(rule...)` compiles a proxy rule and serves it; `stage.client()` is a raw client; `Origin(script)` a raw upstream
that writes down every byte it sees and answers as the script says, misbehaviour included.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import msgspec

from npserver.address import Address
from npserver.config.document import Document
from npserver.config.load import load_text
from npserver.listen.listener import Listener
from npserver.listen.live_listener import LiveListener
from npserver.runtime.compilation import Compilation
from npserver.upstream.compile import UPSTREAMS
from npserver.web.exchange import Handler, Route, make_route
from npserver.web.handlers.proxy.compile import compile_proxy
from npserver.web.handlers.proxy.proxy import Proxy
from npserver.web.server.front import HttpFront
from tests.stage.serving import forgiving
from tests.stage.worker import make_context

T = TypeVar("T")

WAIT_S = 30.0


class Connection:
    """One connection that an upstream accepted."""

    def __init__(self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.origin = origin
        self.reader = reader
        self.writer = writer
        self.seen = b""
        self.number = len(origin.connections)

    async def read(self, size: int = 65536) -> bytes:
        data = await self.reader.read(size)
        self.seen += data
        return data

    async def head(self) -> bytes:
        """Read one request's head; empty at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            self.seen += error.partial
            return b""
        self.seen += head
        return head

    async def exactly(self, size: int) -> bytes:
        data = await self.reader.readexactly(size)
        self.seen += data
        return data

    async def body(self, head: bytes) -> bytes:
        """Read a request's body."""
        lower = head.lower()
        if b"\r\ncontent-length: " in lower:
            return await self.exactly(int(lower.partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0]))
        body = b""
        if b"\r\ntransfer-encoding: chunked" in lower:
            while True:
                line = await self.reader.readline()
                self.seen += line
                size = int(line, 16)
                data = await self.exactly(size + 2) if size else b""
                body += data[:-2]
                if not size:
                    while True:
                        line = await self.reader.readline()
                        self.seen += line
                        if line == b"\r\n":
                            return body
        return body

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Script = Callable[[Connection], Awaitable[None]]


class Origin:
    """A raw upstream."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections: list[Connection] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self, port: int = 0) -> None:
        self.server = await asyncio.start_server(forgiving(self._accept), "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def seen(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(one.seen for one in self.connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(connection)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


def answering(*answers: bytes) -> Script:
    """Answer each request, after its body, with the next answer; the last one repeatedly."""

    async def script(connection: Connection) -> None:
        turn = 0
        while head := await connection.head():
            await connection.body(head)
            await connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


def ok(body: bytes = b"ok", fields: bytes = b"") -> bytes:
    """A plain answer."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


class Client:
    """A raw client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), WAIT_S)

    async def answer(self, *, is_head: bool = False) -> tuple[int, bytes, bytes]:
        """Read one final response: status, head, body."""
        while True:
            head = await self.head()
            status = int(head[9:12])
            if status >= 200:
                break
        lower = head.lower()
        body = b""
        if is_head or status in (204, 304):
            pass
        elif b"content-length: " in lower:
            size = int(lower.partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await asyncio.wait_for(self.reader.readexactly(size), WAIT_S)
        elif b"transfer-encoding: chunked" in lower:
            while True:
                size = int(await asyncio.wait_for(self.reader.readline(), WAIT_S), 16)
                if not size:
                    while (await asyncio.wait_for(self.reader.readline(), WAIT_S)) != b"\r\n":
                        pass
                    break
                body += (await asyncio.wait_for(self.reader.readexactly(size + 2), WAIT_S))[:-2]
        else:
            body = await asyncio.wait_for(self.reader.read(-1), WAIT_S)
        return status, head, body

    async def ask(self, data: bytes, *, is_head: bool = False) -> tuple[int, bytes, bytes]:
        await self.send(data)
        return await self.answer(is_head=is_head)

    async def rest(self) -> bytes:
        """Return all bytes until the server closes."""
        return await asyncio.wait_for(self.reader.read(-1), WAIT_S)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close so that the server sees a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def get(path: str = "/", fields: str = "", host: str = "site.test") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode("latin-1")


def post(body: bytes, fields: str = "", method: str = "POST") -> bytes:
    head = f"{method} / HTTP/1.1\r\nHost: site.test\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    return head.encode("latin-1") + body


class Stage:
    """One proxy rule, served on a loopback port."""

    def __init__(self, proxy_pass: str, *, config: dict[str, Any] | None = None, **rule: Any) -> None:
        self.rule = {"handler": "proxy", "proxy_pass": proxy_pass, **rule}
        self.config = {**(config or {}), "dispatch": [self.rule]}
        self._clients: list[Client] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.context = make_context(loop)
        document: Document = load_text(msgspec.json.encode(self.config).decode(), "test.json")
        compilation = Compilation(document, self.context)
        UPSTREAMS.of(compilation)
        self.services = compilation.services
        handler, self.proxy = self.compile(compilation, document.config.dispatch[0])
        self.route = make_route(f"dispatch[0] {self.rule['handler']}", handler, 64 << 20)
        self.front = HttpFront(
            self,
            self.context,
            document.config.limits,
            document.config.timeouts,
            trusted=self.proxy.settings.trusted,
        )
        listener = Listener("http://127.0.0.1:0", "web", Address("http", "127.0.0.1", 0), 16, "test")
        live = LiveListener(listener, self.front, self.context)
        self.server = await loop.create_server(lambda: self.front.accept(live), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def compile(self, compilation: Compilation, rule: Any) -> tuple[Handler, Proxy]:
        """Return the handler of the rule, and what speaks to its upstream."""
        handler = compile_proxy(compilation, ("dispatch", 0), rule)
        compilation.report.raise_errors()
        assert handler is not None
        return handler, handler.proxy

    def find(self, host: str, path: str) -> Route:
        """Return the one route, as a router does."""
        return self.route

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for client in self._clients:
            client.close()
        for target in self.proxy.upstream.targets:
            for idle in list(target.pool.idle):
                idle.close()
            for connection in list(getattr(target.pool, "connections", ())):
                connection.abort()
        for connection in list(self.context.connections):
            connection.transport.abort()
        self.context.sweeper.close()
        await asyncio.sleep(0)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20))
        self._clients.append(client)
        return client

    async def slow_client(self) -> Client:
        """Return a client whose system takes little that it does not read."""
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", self.port))
        client = Client(*await asyncio.open_connection(sock=one, limit=65536))
        self._clients.append(client)
        return client

    async def ask(self, data: bytes, *, is_head: bool = False) -> tuple[int, bytes, bytes]:
        """One request on a connection of its own."""
        return await (await self.client()).ask(data, is_head=is_head)

    @property
    def loads(self) -> list[int]:
        """Return the number of requests in flight at each target."""
        return [target.load for target in self.proxy.upstream.targets]

    def pass_time(self, seconds: float) -> None:
        """Let all deadlines pass, by moving them."""
        for watched in list(self.context.sweeper.watched):
            watched.deadline -= seconds
        self.context.sweeper._sweep()


async def silent(connection: Connection) -> None:
    """Read, and send nothing."""
    while await connection.read():
        pass


async def until(condition: Callable[[], T]) -> T:
    """Wait until `condition()` holds; return its value."""
    async with asyncio.timeout(WAIT_S):
        while not (value := condition()):
            await asyncio.sleep(0.001)
    return value
