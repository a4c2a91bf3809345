"""Every wait has a deadline: whatever clients and upstreams do, once they fall silent all their connections are closed.

Scripts of clients and upstreams are played against each other by the dozen, through a server whose time limits are
short. In the end nobody sends, reads or closes any more. The server has to close every connection by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.settings
import pytest
import trustme
import uvloop

import npserver

HOST = "127.0.0.1"
CLIENTS = 150
LIMIT_S = 0.2
SILENCE_S = 2.0  # nobody reads: many times the sum of all limits
END_S = 5.0
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HEAD = b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n"
CHUNK = b"5\r\nhello\r\n"

#: What follows the head of a request, and the field that announces it.
BODIES = [
    (b"", b""),
    (b"Content-Length: 10\r\n", b"0123456789"),
    (b"Content-Length: 400000\r\n", bytes(400_000)),
    (b"Content-Length: 10\r\nExpect: 100-continue\r\n", b"0123456789"),
    (CHUNKED, CHUNK * 3 + b"0\r\n\r\n"),
    (CHUNKED, CHUNK * 3 + b"0\r\nX-Sum: 1\r\n\r\n"),
    (CHUNKED + b"Expect: 100-continue\r\n", CHUNK + b"0\r\n\r\n"),
    (CHUNKED, CHUNK + b"5\r\nhelloXX\r\n0\r\n\r\n"),  # malformed
    (CHUNKED, CHUNK + b"Z\r\n"),
    (CHUNKED, CHUNK + b"0\r\nbad trailer\r\n\r\n"),
    (CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n" + CHUNK * 1000),  # without an end
    (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"tunnelled"),
]
PATHS = [b"/plain/x", b"/tls/x", b"/file", b"/large", b"/nix"]

#: What an upstream does once it has read something.
ANSWERS = [
    b"",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000),
    b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n" + CHUNK,
    b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n" + CHUNK + b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\nZ\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200",
]
ENDS = ["silent", "shut", "close", "reset"]


@dataclass(frozen=True)
class Script:
    """A client: pieces to send with pauses between them, whether it reads meanwhile, and how it ends."""

    path: bytes
    method: bytes
    body: tuple[bytes, bytes]
    cuts: list[float]
    pause_s: float
    reads: bool
    end: str
    has_proxy_header: bool
    is_pipelined: bool

    def pieces(self) -> list[bytes]:
        fields, body = self.body
        data = HEAD % (self.method, self.path, fields) + body
        if self.has_proxy_header:
            data = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + data
        if self.is_pipelined:
            data += HEAD % (b"GET", b"/plain/next", b"")
        places = [0, *sorted(int(cut * len(data)) for cut in self.cuts), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(places) if end > start]


@dataclass(frozen=True)
class Turn:
    """An upstream on one of its connections."""

    accept_s: float  # before TLS begins, or the first byte is read
    amount: int  # bytes read before the answer
    answer: bytes
    end: str


def a_script(chance: random.Random) -> Script:
    return Script(
        path=chance.choice(PATHS),
        method=chance.choice([b"GET", b"POST", b"PUT"]),
        body=chance.choice(BODIES),
        cuts=[chance.random() for _ in range(chance.randint(0, 3))],
        pause_s=chance.choice([0.0, 0.002, 0.02, 0.1]),
        reads=chance.random() < 0.5,
        end=chance.choice(ENDS),
        has_proxy_header=chance.random() < 0.5,
        is_pipelined=chance.random() < 0.5,
    )


def a_turn(chance: random.Random) -> Turn:
    return Turn(
        accept_s=chance.choice([0.0, 0.0, 0.01, 0.05]),
        amount=chance.choice([0, 1, 1, 200, 100_000]),
        answer=chance.choice(ANSWERS),
        end=chance.choice(ENDS),
    )


@dataclass(frozen=True)
class Http2Script:
    """An HTTP/2 client: its requests, and the window it opens for the answers; it reads what its buffer takes."""

    requests: list[tuple[bytes, bytes | None, bool]]  # path, part of a body, whether that ends the request
    window: int
    resets: bool

    def data(self) -> bytes:
        one = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        one.local_settings = h2.settings.Settings(client=True, initial_values={code: self.window})
        one.initiate_connection()
        for path, body, ends in self.requests:
            stream = one.get_next_available_stream_id()
            method = b"GET" if body is None else b"POST"
            fields = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
            one.send_headers(stream, fields, end_stream=body is None)
            if body is not None:
                one.send_data(stream, body, end_stream=ends)
            if self.resets:
                one.reset_stream(stream)
        return one.data_to_send()


def an_http2_script(chance: random.Random) -> Http2Script:
    requests = [
        (chance.choice(PATHS), chance.choice([None, b"", b"part", bytes(10_000)]), chance.random() < 0.5)
        for _ in range(chance.randint(0, 5))
    ]
    return Http2Script(requests, chance.choice([0, 1, 1000, 65_535, 1 << 20]), chance.random() < 0.1)


@dataclass
class Play:
    """One run: the connections that are open in the end, by who holds them."""

    turns: list[Turn]
    context: ssl.SSLContext
    open: list[tuple[str, socket.socket]] = field(default_factory=list)
    streams: list[tuple[str, asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    number: int = 0

    async def client(self, port: int, script: Script) -> None:
        loop = asyncio.get_running_loop()
        one = socket.socket()
        one.setblocking(False)
        with contextlib.suppress(OSError):
            await loop.sock_connect(one, (HOST, port))
            reading = loop.create_task(drain(one)) if script.reads else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    for piece in script.pieces():
                        await loop.sock_sendall(one, piece)
                        await asyncio.sleep(script.pause_s)
            await asyncio.sleep(0.05)
            if reading is not None:
                await cancelled(reading)
        self.end(f"client {script}", one, script.end)

    async def http2_client(self, port: int, script: Http2Script, trust: ssl.SSLContext) -> None:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=trust, server_hostname="localhost")
        writer.write(script.data())
        self.streams.append((repr(script), reader, writer))

    async def upstream(self, plain: socket.socket, *, is_tls: bool) -> None:
        loop = asyncio.get_running_loop()
        turn = self.turns[self.number % len(self.turns)]
        self.number += 1
        await asyncio.sleep(turn.accept_s)
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            async with asyncio.timeout(0.5):
                if is_tls:
                    await self.tls_upstream(plain, turn)
                else:
                    size = 0
                    while size < turn.amount and (data := await loop.sock_recv(plain, 65536)):
                        size += len(data)
                    await loop.sock_sendall(plain, turn.answer)
        self.end(f"upstream {turn}", plain, turn.end)

    async def tls_upstream(self, plain: socket.socket, turn: Turn) -> None:
        loop = asyncio.get_running_loop()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)

        async def step(call: Any) -> Any:
            while True:
                try:
                    result = call()
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        await loop.sock_sendall(plain, outgoing.read())
                    if not (data := await loop.sock_recv(plain, 65536)):
                        raise ConnectionResetError from None
                    incoming.write(data)
                else:
                    if outgoing.pending:
                        await loop.sock_sendall(plain, outgoing.read())
                    return result

        await step(tls.do_handshake)
        size = 0
        while size < turn.amount and (data := await step(lambda: tls.read(65536))):
            size += len(data)
        if turn.answer:
            await step(lambda: tls.write(turn.answer[:60_000]))

    def end(self, name: str, one: socket.socket, how: str) -> None:
        if how == "reset":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how in ("reset", "close"):
            one.close()
            return
        if how == "shut":
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_WR)
        self.open.append((name, one))


async def drain(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(one, 65536):
            pass


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def listen(play: Play, *, is_tls: bool) -> tuple[socket.socket, asyncio.Task[None]]:
    server = socket.create_server((HOST, 0), backlog=500)
    server.setblocking(False)
    tasks: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            one, _ = await asyncio.get_running_loop().sock_accept(server)
            one.setblocking(False)
            tasks.add(asyncio.create_task(play.upstream(one, is_tls=is_tls)))

    return server, asyncio.create_task(accept())


async def run(directory: Path, chance: random.Random) -> list[str]:
    """Play; return what is left open."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem")
    trust = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    trust.set_alpn_protocols(["h2"])
    play = Play([a_turn(chance) for _ in range(37)], context)
    played = [a_script(chance) for _ in range(CLIENTS)]
    (plain, accepting), (secure, accepting_tls) = await listen(play, is_tls=False), await listen(play, is_tls=True)
    limits = dict.fromkeys(("header", "body", "idle", "write", "proxy_header", "tls_handshake"), LIMIT_S)
    waits = dict.fromkeys(("connect", "send", "response", "read", "tunnel_idle"), LIMIT_S)
    rule = {"handler": "proxy", "timeouts": waits,
            "keepalive_idle_timeout": LIMIT_S, "retries": 1}  # fmt: skip
    config = {
        "listen": [
            {"name": "web", "uri": f"http://{HOST}:0"},
            {"name": "secure", "uri": f"https://{HOST}:0"},
            {"name": "proxied", "uri": f"http://{HOST}:0", "accept_proxy": HOST},
        ],
        "timeouts": limits,
        "tls": {"cert": str(directory / "cert.pem"), "key": str(directory / "cert.pem")},
        "dispatch": [
            {"handler": "static", "root": str(directory)},
            {**rule, "path": "/plain/**", "proxy_pass": f"http://{HOST}:{plain.getsockname()[1]}"},
            {**rule, "path": "/tls/**", "proxy_pass": f"https://{HOST}:{secure.getsockname()[1]}",
             "tls": {"ca": str(directory / "ca.pem"), "server_name": "localhost"}},
        ],
    }  # fmt: skip
    loop = asyncio.get_running_loop()
    async with npserver.serve(config, shutdown_s=0.1) as server:
        ports = {name: address.port for name, address in server.addresses.items()}
        await asyncio.gather(
            *(play.client(ports["proxied" if one.has_proxy_header else "web"], one) for one in played),
            *(play.http2_client(ports["secure"], an_http2_script(chance), trust) for _ in range(CLIENTS // 5)),
        )
        await asyncio.sleep(SILENCE_S)
        left: list[str] = []
        ends = {loop.create_task(drain(one)): name for name, one in play.open}
        if ends:
            _, open_ends = await asyncio.wait(ends, timeout=END_S)
            left = [ends[task] for task in open_ends]
            for task in open_ends:
                await cancelled(task)
        for name, reader, writer in play.streams:
            try:
                async with asyncio.timeout(END_S):
                    while await reader.read(1 << 20):
                        pass
            except TimeoutError:
                left.append(name)
            except OSError:
                pass
            writer.transport.abort()
    for task in (accepting, accepting_tls):
        await cancelled(task)
    for _, one in [("", plain), ("", secure), *play.open]:
        one.close()
    return left


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, authority = tmp_path_factory.mktemp("public"), trustme.CA()
    authority.cert_pem.write_to_path(str(made / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(made / "cert.pem"))
    (made / "file").write_text("small")
    (made / "large").write_bytes(bytes(3_000_000))
    return made


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("seed", range(int(os.environ.get("NPSERVER_SEEDS", "2"))))
def test_silence_ends_every_connection(directory: Path, seed: int, loop: str) -> None:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(run(directory, random.Random(seed))) == []
