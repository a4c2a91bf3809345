"""Small servers for the program under test to talk to. They run on a loop of their own in a thread, so that plain and
asynchronous tests use them alike.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import h11
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from tests.stage.serving import forgiving

T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "127.0.0.1"
ACCEPT_STEPS = 10  # of the loop, in which a connection that was accepted before its server closed begins to be served


class Backends:
    """Servers on free ports of 127.0.0.1, closed together at the end of the test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="backends", daemon=True)
        self._closers: list[Callable[[], Awaitable[None]]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the servers' loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    # ── the servers ──

    def tcp(self, serve: Serve, port: int = 0) -> int:
        """Serve each connection by `serve(reader, writer)`; return the port."""
        return self.call(self._stream(serve, port))

    def unix(self, serve: Serve, path: Path) -> Path:
        """Serve each connection to a Unix stream socket."""
        self.call(self._stream(serve, 0, path))
        return path

    def tcp_echo(self, port: int = 0) -> int:
        """Send all bytes back; answer a half-close by one; return the port."""
        return self.tcp(_echo, port)

    def tcp_sink(self) -> tuple[int, list[bytes]]:
        """Collect the bytes of each connection until it ends; return the port and the list."""
        received: list[bytes] = []

        async def collect(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            received.append(await reader.read(-1))

        return self.tcp(collect), received

    def unix_echo(self, path: Path) -> Path:
        """Echo on a Unix stream socket."""
        return self.unix(_echo, path)

    def udp_echo(self, port: int = 0) -> int:
        """Send each datagram back to where it came from."""
        return self.udp_sink(port, echo=True)[0]

    def udp_sink(self, port: int = 0, *, echo: bool = False) -> tuple[int, list[bytes]]:
        """Collect datagrams; return the port and the list."""
        received: list[bytes] = []
        return self.call(self._udp(port, received, echo)), received

    def http(self, name: str = "app", port: int = 0) -> int:
        """Serve an HTTP/1.1 application that describes its requests, see `HttpApp`; return the port."""
        return self.tcp(HttpApp(name).serve, port)

    def websocket_echo(self, name: str = "ws") -> int:
        """Echo WebSocket messages; the message `who` is answered by `name`."""
        return self.call(self._websocket(name))

    # ── private ──

    async def _stream(self, serve: Serve, port: int, path: Path | None = None) -> int:
        tasks: set[asyncio.Task[None]] = set()

        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await serve(reader, writer)
            except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        if path is not None:
            server = await asyncio.start_unix_server(forgiving(guarded), path)
        else:
            server = await asyncio.start_server(forgiving(guarded), HOST, port)

        async def close() -> None:
            server.close()
            for _ in range(ACCEPT_STEPS):
                await asyncio.sleep(0)
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._closers.append(close)
        return 0 if path is not None else int(server.sockets[0].getsockname()[1])

    async def _udp(self, port: int, received: list[bytes], echo: bool) -> int:
        transport, _ = await self._loop.create_datagram_endpoint(
            lambda: _Datagrams(received, echo), local_addr=(HOST, port)
        )

        async def close() -> None:
            transport.close()

        self._closers.append(close)
        return int(transport.get_extra_info("sockname")[1])

    async def _websocket(self, name: str) -> int:
        async def echo(connection: ServerConnection) -> None:
            async for message in connection:
                await connection.send(name if message == "who" else message)

        server = await serve_websocket(echo, HOST, 0)

        async def close() -> None:
            server.close()
            await server.wait_closed()

        self._closers.append(close)
        return int(next(iter(server.sockets)).getsockname()[1])

    async def _close(self) -> None:
        for close in reversed(self._closers):
            await close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


class HttpApp:
    """An application that describes each request to it, as JSON: name, method, target, headers (a list of pairs, names
    in lower case), body. `/status/404` answers that status, `/bytes/1000` so many bytes, `/chunked` in two
    chunks, `/healthz` plain `ok`. Every answer names the application in `X-Backend`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, keep-alive included."""
        parser = h11.Connection(h11.SERVER)
        while True:
            request = await _next_event(parser, reader)
            if not isinstance(request, h11.Request):
                return
            body = b""
            while isinstance(event := await _next_event(parser, reader, writer), h11.Data):
                body += event.data
            if not isinstance(event, h11.EndOfMessage):
                return
            for part in self._answer(request, body):
                writer.write(parser.send(part) or b"")
            await writer.drain()
            if parser.our_state is h11.MUST_CLOSE:
                return
            parser.start_next_cycle()

    def _answer(self, request: h11.Request, body: bytes) -> list[Any]:
        target = request.target.decode("latin-1")
        status, media, content = 200, "application/json", b""
        _, _, tail = target.rpartition("/")
        if "/status/" in target:
            status = int(tail)
        elif "/bytes/" in target:
            media, content = "application/octet-stream", b"x" * int(tail)
        elif target.endswith("/healthz"):
            media, content = "text/plain", b"ok"
        else:
            content = json.dumps(
                {
                    "name": self.name,
                    "method": request.method.decode(),
                    "target": target,
                    "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers],
                    "body": body.decode("latin-1"),
                }
            ).encode()
        fields = [("Content-Type", media), ("X-Backend", self.name)]
        if target.endswith("/chunked"):
            fields.append(("Transfer-Encoding", "chunked"))
        else:
            fields.append(("Content-Length", str(len(content))))
        half = len(content) // 2
        data = (
            [] if request.method == b"HEAD" else [h11.Data(part) for part in (content[:half], content[half:]) if part]
        )
        return [h11.Response(status_code=status, headers=fields), *data, h11.EndOfMessage()]


async def _next_event(
    parser: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None = None
) -> Any:
    while (event := parser.next_event()) is h11.NEED_DATA:
        if writer is not None and parser.they_are_waiting_for_100_continue:
            writer.write(parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        parser.receive_data(await reader.read(65536))
    return event


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: list[bytes], echo: bool) -> None:
        self._received = received
        self._echo = echo
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # its class has no common base with DatagramTransport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received.append(data)
        if self._echo and self._transport is not None:
            self._transport.sendto(data, addr)
