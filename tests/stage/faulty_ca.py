"""A CA that misbehaves where a test wants: an HTTPS server that passes everything else on to pebble.

It also speaks what pebble 2.4.0 does not: answers can be changed, such as the directory, or given instead of pebble's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.stage.serving import forgiving

if TYPE_CHECKING:
    import trustme

    from tests.stage.pebble import Pebble


@dataclass(slots=True)
class Request:
    """One request of the client."""

    method: str
    path: str
    data: bytes  # head and body
    writer: asyncio.StreamWriter  # for an answer that is more than bytes

    @property
    def payload(self) -> Any:
        """What was signed; "" for POST-as-GET."""
        signed = json.loads(self.data.partition(b"\r\n\r\n")[2])["payload"]
        return json.loads(urlsafe_b64decode(signed + "==")) if signed else ""


#: Returns the response's bytes; None to close the connection. It may also never return.
Answer = Callable[[Request], Awaitable[bytes | None]]


class FaultyCa:
    """The server.

    Attributes: `url` (of its directory), `answers` (by the beginning of a path: how to answer instead of pebble),
    `seen` (all requests).
    """

    def __init__(self, pebble: Pebble) -> None:
        self._pebble = pebble
        self._inner = ssl.create_default_context(cafile=str(pebble.ca))
        self.answers: dict[str, Answer] = {}
        self.seen: list[Request] = []
        self.url = ""
        self._connections: set[asyncio.Task[None]] = set()

    def paths(self) -> list[str]:
        """Return the first parts of the paths of all requests: `/order-plz`, `/authZ`."""
        return [f"/{one.path.split('/')[1]}" for one in self.seen]

    async def ask_pebble(self, request: Request) -> bytes:
        """Return what pebble answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._pebble.port, ssl=self._inner)
        try:
            writer.write(request.data)
            return await reader.read()
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            data = head + await reader.readexactly(length)
            method, path = data.split(b" ", 2)[:2]
            request = Request(method.decode(), path.decode(), data, writer)
            self.seen.append(request)
            answer = next((found for start, found in self.answers.items() if request.path.startswith(start)), None)
            given = asyncio.ensure_future(answer(request) if answer is not None else self.ask_pebble(request))
            gone = asyncio.ensure_future(reader.read())
            await asyncio.wait({given, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not given.done():
                given.cancel()
            elif (data_out := given.result()) is not None:
                writer.write(data_out)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has given up
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Wait until all clients have closed their connections."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=30)
        assert not self._connections, "connections that no client has closed"


@asynccontextmanager
async def running_faulty_ca(pebble: Pebble, authority: trustme.CA, directory: Path) -> AsyncIterator[FaultyCa]:
    """Serve on a free port of 127.0.0.1, with a certificate of `authority`; keep its files in `directory`."""
    issued = authority.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with issued.private_key_and_cert_chain_pem.tempfile(str(directory)) as file:
        context.load_cert_chain(file)
    ca = FaultyCa(pebble)
    server = await asyncio.start_server(forgiving(ca.serve), "127.0.0.1", 0, ssl=context)
    ca.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/dir"
    async with server:
        yield ca
        await ca.close()


@contextmanager
def faulty_ca_in_thread(pebble: Pebble, authority: trustme.CA, directory: Path) -> Iterator[FaultyCa]:
    """The same for tests without an event loop. `answers` are called in another thread than the test's."""
    begun: Future[tuple[FaultyCa, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        end = asyncio.Event()
        async with running_faulty_ca(pebble, authority, directory) as ca:
            begun.set_result((ca, asyncio.get_running_loop(), end))
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ca, loop, end = begun.result(30)
    try:
        yield ca
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


def response(status: int, body: bytes | str | dict[str, Any] = b"", **fields: str) -> bytes:
    """Return the bytes of a response; a dict is a problem document from 400 on. `Retry_After` is `Retry-After`."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    kind = "application/problem+json" if status >= 400 else "application/json"
    lines = {"Content-Type": kind, "Content-Length": str(len(data)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in fields.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data


def always(data: bytes | None) -> Answer:
    """Answer with these bytes whatever is asked."""

    async def answer(_: Request) -> bytes | None:
        return data

    return answer


async def never(_: Request) -> bytes | None:
    """Keep the connection open without an answer, until the client closes it."""
    await asyncio.get_running_loop().create_future()
    return None


async def drip(writer: asyncio.StreamWriter, begin: bytes) -> None:
    """Send a byte now and then, for ever: each comes well before a socket's own time limit."""
    writer.write(begin)
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)  # the pace of the peer that is played


def changed(ca: FaultyCa, change: Callable[[dict[str, Any]], None]) -> Answer:
    """Answer with pebble's JSON, changed in place by `change`."""

    async def answer(request: Request) -> bytes:
        head, _, body = (await ca.ask_pebble(request)).partition(b"\r\n\r\n")
        found = json.loads(body)
        change(found)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
        data = json.dumps(found).encode()
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(data), b"", data])

    return answer


#: The requests of an order, to the beginnings of their paths.
STEPS = {
    "directory": "/dir",
    "nonce": "/nonce-plz",
    "account": "/sign-me-up",
    "order": "/order-plz",
    "authorisation": "/authZ/",
    "challenge": "/chalZ/",
    "finalize": "/finalize-order/",
    "poll": "/my-order/",
    "certificate": "/certZ/",
}

#: How the CA fails, and what the error says: its kind and a part of its message.
FAILURES: dict[str, tuple[Answer, str, str]] = {
    "hangs": (never, "unreachable", "no answer of the CA within 2 s"),
    "closes": (always(None), "malformedAnswer|unreachable", "RemoteDisconnected|cannot be reached"),
    "10 MB": (always(response(200, b"x" * 10_000_000)), "malformedAnswer", "answers with more than 262144 bytes"),
    "garbage": (always(response(200, b"\x00\xff<html>")), "malformedAnswer|wrongCertificate|unreachable", ""),
    "no HTTP": (always(b"SSH-2.0-x\r\n\r\n"), "malformedAnswer", "cannot be understood"),
    "deep": (always(response(200, b"[" * 100_000)), "malformedAnswer|wrongCertificate", ""),
    "other JSON": (always(response(200, b'[1, {"a": null}]')), "malformedAnswer|wrongCertificate", ""),
    "null": (always(response(200, b"null")), "malformedAnswer|wrongCertificate", ""),
    "cut off": (
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nReplay-Nonce: abcd\r\n\r\n{}"),
        "unreachable",
        "cut off",
    ),
    "redirects": (
        always(response(302, b"", Location="http://127.0.0.1:1/")),
        "malformedAnswer",
        "redirects: status 302",
    ),
    "unavailable": (
        always(response(503, b"<html>")),
        "httpError",
        "the CA answers with status 503 and gives no reason",
    ),
}
