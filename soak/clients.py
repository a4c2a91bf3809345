"""The clients of the load: each repeats one kind of exchange and checks what comes back, until it is told to stop.

A persistent connection is ended by its client after `EXCHANGES`, so that a server that is replaced gets rid of it in
its time. What fails is noted with its time, and the client begins again.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dns.asyncquery
import dns.message
import dns.rcode
import httpx
from msgspec import Struct
from websockets.asyncio.client import connect

from soak.http3 import http3_client
from soak.served import FILE_BODY, SHUTDOWN_S, ZONE_ADDRESS

if TYPE_CHECKING:
    from soak.served import Ports

WITHIN_S = 15.0  # for an answer: a worker may be stopped for a while
DATAGRAM_WITHIN_S = 10.0
EXCHANGES = (60, 140)  # on one connection, at random
CONNECTION_S = SHUTDOWN_S / 2  # and no longer, however slow the machine is: a server that is replaced waits for its end
PAUSE_S = 0.03
#: A GOAWAY of HTTP/2 before the first request: it may be sent again (RFC 9113 §6.8), which httpx leaves to its caller.
NOTHING_TAKEN = "ConnectionTerminated error_code:0, last_stream_id:0,"
HOST = "127.0.0.1"


class Failure(Struct):
    """One exchange that failed: from when to when it lasted, of which client, and how it failed."""

    began: float
    at: float
    client: str
    why: str


class Wrong(Exception):
    """An answer that is not what it should be."""


def _choose(number: int) -> tuple[str, str, bytes | None, bytes]:
    """Return method, path and body of a request, and what the body of the response will be."""
    if number % 3 == 0:
        return "GET", "/file.txt", None, FILE_BODY
    if number % 3 == 1:
        path = f"/app/{random.randrange(1000)}"
        return "GET", path, None, f"GET {path} ".encode()
    body = os.urandom(random.choice((10, 1000, 30_000)))
    return "POST", "/app/x", body, b"POST /app/x " + body


class Load:
    """All clients in one event loop: `start` and `stop` them there."""

    def __init__(
        self,
        ports: Ports,
        tls: ssl.SSLContext,
        *,
        each: int = 4,
        counts: Mapping[str, int] | None = None,
        pause_s: float = PAUSE_S,
        connection_s: float = CONNECTION_S,
    ) -> None:
        """Create it.

        Args:
            each: the number of clients of each kind.
            counts: another number of those of some kinds.
            pause_s: between exchanges, on average.
            connection_s: the longest that a connection is used.
        """
        self.ports = ports
        self.tls = tls
        self.done: Counter[str] = Counter()  # exchanges by kind
        self.failures: list[Failure] = []
        self.latest: dict[str, float] = {}  # the time of the last good exchange of each client
        self._each = each
        self._counts = counts or {}
        self._pause_s = pause_s
        self._connection_s = connection_s
        self._udp_ports: set[int] = set()
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        kinds: dict[str, Callable[[str], Awaitable[None]]] = {
            "http1": self._http1, "http2": self._http2, "http3": self._http3, "unix": self._unix,
            "websocket": self._websocket, "tcp": self._tcp, "udp": self._udp, "dns": self._dns,
        }  # fmt: skip
        for kind, run in kinds.items():
            for number in range(self._counts.get(kind, self._each)):
                self._tasks.append(asyncio.create_task(self._repeat(kind, f"{kind} {number}", run)))

    async def stop(self) -> None:
        """Let each client finish its exchange."""
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End all of them at once."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, kind: str, client: str, run: Callable[[str], Awaitable[None]]) -> None:
        while not self._is_over:
            try:
                await run(client)
            except Exception as error:  # `Wrong`, and what the clients' libraries raise
                self._failed(client, error)

    def _failed(self, client: str, error: Exception) -> None:
        cause = f" ({error.__cause__!r})" if error.__cause__ is not None else ""
        began = self.latest.get(client, 0.0)  # or a pause later
        self.failures.append(Failure(began, time.monotonic(), client, f"{type(error).__name__}: {error}{cause}"))

    async def _good(self, client: str) -> None:
        self.done[client.split()[0]] += 1
        self.latest[client] = time.monotonic()
        await asyncio.sleep(random.random() * 2 * self._pause_s)

    def _rounds(self) -> Iterator[int]:
        """Yield the numbers of the exchanges on one connection."""
        end = time.monotonic() + self._connection_s * random.uniform(0.5, 1.0)
        for number in range(random.randint(*EXCHANGES)):
            if self._is_over or time.monotonic() > end:
                return
            yield number

    # ── the kinds ──

    async def _http1(self, client: str) -> None:
        async with httpx.AsyncClient(timeout=WITHIN_S) as http:
            await self._ask(client, http, f"http://{HOST}:{self.ports.http}")

    async def _http2(self, client: str) -> None:
        async with httpx.AsyncClient(timeout=WITHIN_S, http2=True, verify=self.tls) as http:
            await self._ask(client, http, f"https://localhost:{self.ports.https}", "HTTP/2")

    async def _unix(self, client: str) -> None:
        transport = httpx.AsyncHTTPTransport(uds=self.ports.unix)
        async with httpx.AsyncClient(timeout=WITHIN_S, transport=transport) as http:
            await self._ask(client, http, "http://unix.test")

    async def _ask(self, client: str, http: httpx.AsyncClient, base: str, version: str = "HTTP/1.1") -> None:
        for number in self._rounds():
            method, path, body, expected = _choose(number)
            try:
                response = await http.request(method, base + path, content=body)
            except httpx.RemoteProtocolError as error:
                if NOTHING_TAKEN in str(error):
                    return
                raise
            if response.status_code != 200 or response.content != expected or response.http_version != version:
                raise Wrong(f"{response.status_code} {response.http_version} {response.content[:60]!r}")
            await self._good(client)

    async def _http3(self, client: str) -> None:
        async with http3_client(self.ports.https) as http:
            for number in self._rounds():
                method, path, body, expected = _choose(number)
                answer = await http.request(method, path, body)
                if answer is None:
                    return  # the server ends the connection, and has not taken the request
                if answer.fields.get(":status") != "200" or answer.body != expected or not answer.has_ended:
                    status = answer.fields.get(":status", "no status")
                    raise Wrong(f"{status} HTTP/3 {answer.body[:60]!r} {answer.reset} {http.closed}")
                await self._good(client)

    async def _websocket(self, client: str) -> None:
        async with connect(f"ws://{HOST}:{self.ports.http}/ws", open_timeout=WITHIN_S, ping_interval=None) as websocket:
            for _ in self._rounds():
                message = os.urandom(random.choice((1, 200, 70_000)))
                await websocket.send(message)
                if await asyncio.wait_for(websocket.recv(), WITHIN_S) != message:
                    raise Wrong("another message")
                await self._good(client)

    async def _tcp(self, client: str) -> None:
        reader, writer = await asyncio.open_connection(HOST, self.ports.tcp)
        try:
            for _ in self._rounds():
                data = os.urandom(random.choice((1, 1000, 100_000)))
                writer.write(data)
                if await asyncio.wait_for(reader.readexactly(len(data)), WITHIN_S) != data:
                    raise Wrong("other bytes")
                await self._good(client)
        finally:
            writer.close()

    async def _udp(self, client: str) -> None:
        loop = asyncio.get_running_loop()
        with self._new_address() as sock:
            session: bytes | None = None
            for _ in self._rounds():
                data = os.urandom(100).hex().encode()
                await loop.sock_sendall(sock, data)
                answer, _, port = (await asyncio.wait_for(loop.sock_recv(sock, 2000), DATAGRAM_WITHIN_S)).partition(
                    b" "
                )
                if answer != data:
                    raise Wrong(f"another datagram {answer[:20]!r}")
                if session not in (None, port):
                    raise Wrong("the session was replaced by another")
                session = port
                await self._good(client)

    def _new_address(self) -> socket.socket:
        """Return a socket for datagrams, from an address that no client has had.

        With the address of one that has gone it would go on with that one's session, which may be of a program that
        was replaced: it ends with that program.
        """
        while True:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect((HOST, self.ports.udp))
            if (port := sock.getsockname()[1]) not in self._udp_ports:
                self._udp_ports.add(port)
                return sock
            sock.close()

    async def _dns(self, client: str) -> None:
        query = dns.message.make_query("soak.test", "A")
        where: dict[str, Any] = {"timeout": DATAGRAM_WITHIN_S, "port": self.ports.dns}
        ask = dns.asyncquery.tcp if random.random() < 0.2 else dns.asyncquery.udp
        answer = await ask(query, HOST, **where)
        if answer.rcode() != dns.rcode.NOERROR or ZONE_ADDRESS not in str(answer.answer):
            raise Wrong(str(answer))
        await self._good(client)
