"""Every wait has a deadline: whatever clients and upstreams do, once they fall silent all their connections are closed.

Scripts of clients and upstreams are played against each other by the dozen, through a server whose time limits are
short. In the end nobody sends, reads or closes any more. The server has to close every connection by itself. Meanwhile
each state that its connections, exchanges, calls and uploads are found in must have a deadline that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

import npserver
from npserver.runtime.context import Context
from tests.property.scripts_of_silence import Http2Script, Script, Turn, a_script, a_turn, an_http2_script
from tests.stage.waits import waits

HOST = "127.0.0.1"
CLIENTS = 150
LIMIT_S = 0.2
SILENCE_S = 2.0  # nobody reads: many times the sum of all limits
END_S = 5.0
SMALL = 4096  # bytes that a socket's buffer holds for who does not read
#: A state without a deadline is left sooner: a thread writes a file, or a callback is due.
UNTIMED_S = 0.1
UNTIMED_LOOKS = 30
#: States that every run leads to.
STATES = {
    "HTTP/1.1 body, BufferedUpload",
    "HTTP/1.1 body, Upload, upstream awaiting head",
    "HTTP/1.1 body, no call",
    "HTTP/1.1 closing",
    "HTTP/1.1 handler, BufferedUpload, dialling",
    "HTTP/1.1 handler, BufferedUpload, upstream awaiting head",
    "HTTP/1.1 handler, Upload awaiting 100, upstream awaiting head",
    "HTTP/1.1 handler, Upload, dialling",
    "HTTP/1.1 handler, Upload, upstream awaiting head",
    "HTTP/1.1 handler, dialling",
    "HTTP/1.1 handler, upstream awaiting head",
    "HTTP/1.1 head",
    "HTTP/1.1 idle",
    "HTTP/1.1 writing, no call",
    "HTTP/2 stream, BufferedUpload, upstream awaiting head",
    "HTTP/2 stream, Upload, upstream awaiting head",
    "HTTP/2 stream, dialling",
    "HTTP/2 stream, no call",
    "HTTP/2 stream, upstream awaiting head",
    "HTTP/2 without streams",
    "ProxyAccept",
    "TlsServer",
}


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
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
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
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    server.setblocking(False)
    tasks: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            one, _ = await asyncio.get_running_loop().sock_accept(server)
            one.setblocking(False)
            tasks.add(asyncio.create_task(play.upstream(one, is_tls=is_tls)))

    return server, asyncio.create_task(accept())


async def watch(context: Context, seen: set[str], faults: set[str]) -> None:
    """Add the states that connections are found in to `seen`; and to `faults` those that stay without a deadline."""
    loop = asyncio.get_running_loop()
    found: dict[tuple[object, str], tuple[float, int]] = {}  # since when, and how often
    while True:
        untimed = set()
        for one, state, deadlines in waits(context):
            seen.add(state)
            if not deadlines:
                untimed.add((one, state))
        now = loop.time()
        before, found = found, {}
        for key in untimed:
            start, looks = before.get(key, (now, 0))
            found[key] = start, looks + 1
            if now - start > UNTIMED_S and looks > UNTIMED_LOOKS:
                faults.add(key[1])
        await asyncio.sleep(0.002)


async def run(directory: Path, chance: random.Random, seen: set[str]) -> list[str]:
    """Play; return what is left open, and the states that had no deadline."""
    faults: set[str] = set()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem")
    trust = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    trust.set_alpn_protocols(["h2"])
    play = Play([a_turn(chance) for _ in range(37)], context)
    played = [a_script(chance) for _ in range(CLIENTS)]
    (plain, accepting), (secure, accepting_tls) = await listen(play, is_tls=False), await listen(play, is_tls=True)
    limits = dict.fromkeys(("header", "body", "idle", "write", "proxy_header"), LIMIT_S)
    waits = dict.fromkeys(("connect", "send", "response", "read", "tunnel_idle"), LIMIT_S)
    rule = {"handler": "proxy", "timeouts": waits,
            "keepalive_idle_timeout": LIMIT_S, "retries": 1}  # fmt: skip
    config = {
        "listen": [
            {"name": "web", "uri": f"http://{HOST}:0"},
            {"name": "secure", "uri": f"https://{HOST}:0"},
            {"name": "proxied", "uri": f"http://{HOST}:0", "accept_proxy": HOST},
        ],
        "timeouts": {**limits, "tls_handshake": 3 * LIMIT_S},
        "tls": {"cert": str(directory / "cert.pem"), "key": str(directory / "cert.pem")},
        "dispatch": [
            {"handler": "static", "root": str(directory)},
            {**rule, "path": "/plain/**", "proxy_pass": f"http://{HOST}:{plain.getsockname()[1]}"},
            {**rule, "path": "/buffered/**", "proxy_pass": f"http://{HOST}:{plain.getsockname()[1]}",
             "request_buffering": {"memory": 1000}, "response_buffering": {"memory": 1000, "file": 1_000_000}},
            {**rule, "path": "/tls/**", "proxy_pass": f"https://{HOST}:{secure.getsockname()[1]}",
             "tls": {"ca": str(directory / "ca.pem"), "server_name": "localhost"}},
        ],
    }  # fmt: skip
    loop = asyncio.get_running_loop()
    async with npserver.serve(config, shutdown_s=0.1) as server:
        ports = {name: address.port for name, address in server.addresses.items()}
        watching = loop.create_task(watch(server._single.data_plane.context, seen, faults))
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
    for task in (accepting, accepting_tls, watching):
        await cancelled(task)
    for _, one in [("", plain), ("", secure), *play.open]:
        one.close()
    return left + sorted(faults)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, authority = tmp_path_factory.mktemp("public"), trustme.CA()
    authority.cert_pem.write_to_path(str(made / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(made / "cert.pem"))
    (made / "file").write_text("small")
    (made / "large").write_bytes(bytes(3_000_000))
    return made


@pytest.mark.parametrize("seed", range(int(os.environ.get("NPSERVER_SEEDS", "2"))))
def test_silence_ends_every_connection(directory: Path, seed: int) -> None:
    seen: set[str] = set()
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(run(directory, random.Random(seed), seen)) == []
    assert seen >= STATES
