"""An HTTP/3 client on a path that loses, reorders and moves: aioquic over a socket of the test's own.

aioquic shares nothing with the library of the server. `Client.request` is for whole requests; `Client.quic` and
`Client.http` are there for everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aioquic.h3 import events as http_events
from aioquic.h3.connection import H3Connection
from aioquic.quic import events as quic_events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

import npserver
from tests.stage.waiting import AGAIN_S

DEADLINE_S = 30.0
MAX_DATAGRAM = 65_536


@dataclass(slots=True)
class Answer:
    """A response as far as it has come on its stream."""

    fields: dict[str, str] = field(default_factory=dict)
    interim: list[dict[str, str]] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    has_ended: bool = False
    reset: int | None = None  # the error code
    stopped: int | None = None

    @property
    def status(self) -> int:
        return int(self.fields[":status"])


class Path3:
    """What happens to datagrams: by default nothing. `loss` and `reordering` are shares of them, by a fixed seed."""

    def __init__(self, loss: float = 0.0, reordering: float = 0.0, seed: int = 1) -> None:
        self.loss, self.reordering = loss, reordering
        self._random = random.Random(seed)
        self._held: bytes | None = None
        self.lost = self.reordered = 0

    def passed(self, datagram: bytes) -> list[bytes]:
        """Return the datagrams that come out at the other end for one that goes in."""
        if self._random.random() < self.loss:
            self.lost += 1
            return []
        held, self._held = self._held, None
        if held is None and self._random.random() < self.reordering:
            self._held = datagram
            self.reordered += 1
            return []
        return [datagram] if held is None else [datagram, held]


class Client:
    """The other end of one connection."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", path: Path3 | None = None, destination: bytes = b"",
        protocol: str = "h3", source: str = "", **settings: Any,
    ) -> None:  # fmt: skip
        """Create it.

        Args:
            destination: of its first packet; the client then has no connection ids of its own.
            protocol: by ALPN; "" for none.
            source: the address that it sends from.
        """
        settings.setdefault("server_name", "localhost")
        offered = [protocol] if protocol else None
        configuration = QuicConfiguration(is_client=True, alpn_protocols=offered, verify_mode=ssl.CERT_NONE, **settings)
        self.server = (host, port)
        self._source = source or host
        self.path_out, self.path_in = path or Path3(), path or Path3()
        self.quic = QuicConnection(configuration=configuration)
        if destination:  # which aioquic does not do by itself
            self.quic.host_cid = self.quic._host_cids[0].cid = self.quic._local_initial_source_connection_id = b""
            self.quic._peer_cid.cid = self.quic._original_destination_connection_id = destination
            configuration.connection_id_length = 0
            self.quic._replenish_connection_ids = lambda: None
        self.http = H3Connection(self.quic) if protocol == "h3" else None
        self.answers: dict[int, Answer] = {}
        self.events: list[Any] = []
        self.closed: quic_events.ConnectionTerminated | None = None
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.socket = self._open()
        self.received = 0
        self.last = b""
        self._kept: list[socket.socket] = []
        self.is_muted = False  # reads nothing, sends nothing

    async def connect(self) -> None:
        """Shake hands."""
        self.quic.connect(self.server, self._loop.time())
        self.send()
        await self.until(lambda: self.has_shaken or self.closed is not None)

    @property
    def has_shaken(self) -> bool:
        return any(isinstance(one, quic_events.HandshakeCompleted) for one in self.events)

    def move(self, *, keeps: bool = False) -> int:
        """Continue from another port, as behind a NAT that forgot the connection. Return the port.

        `keeps`: the socket stays open, for `use`.
        """
        self._loop.remove_reader(self.socket)
        if keeps:
            self._kept.append(self.socket)
        else:
            self.socket.close()
        self.socket = self._open()
        port: int = self.socket.getsockname()[1]
        return port

    def use(self, kept: socket.socket) -> None:
        """Continue from a port that was used before."""
        self.move()
        self._loop.remove_reader(self.socket)
        self.socket.close()
        self._kept.remove(kept)
        self.socket = kept
        self._loop.add_reader(kept, self._read)

    def begin(
        self, method: str = "GET", path: str = "/", *, fields: Sequence[tuple[str, str]] = (), has_body: bool = False,
        authority: str = "localhost",
    ) -> tuple[int, Answer]:  # fmt: skip
        """Begin a request. Return its stream, and the answer that will come."""
        assert self.http is not None
        stream = self.quic.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path), *fields]
        answer = self.answers[stream] = Answer()
        encoded = [(name.encode(), value.encode()) for name, value in head]
        self.http.send_headers(stream, encoded, end_stream=not has_body)
        self.send()
        return stream, answer

    def body(self, stream: int, data: bytes, *, has_ended: bool = True) -> None:
        """Send a piece of a request's body."""
        assert self.http is not None
        self.http.send_data(stream, data, has_ended)
        self.send()

    async def request(self, method: str = "GET", path: str = "/", body: bytes | None = None, **more: Any) -> Answer:
        """Send a request and wait for its answer."""
        stream, answer = self.begin(method, path, has_body=body is not None, **more)
        if body is not None:
            self.body(stream, body)
        await self.until(lambda: answer.has_ended or answer.reset is not None or self.closed is not None)
        return answer

    async def until(self, is_so: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
        """Wait until something is so: looked at after each datagram, and at intervals for what is so elsewhere."""
        async with asyncio.timeout(deadline_s):
            while not is_so():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_S):
                        await self._changed.wait()

    def raw(self, stream: int, data: bytes, *, has_ended: bool = False) -> Answer:
        """Send any bytes on a stream."""
        answer = self.answers.setdefault(stream, Answer())
        self.quic.send_stream_data(stream, data, has_ended)
        self.send()
        return answer

    def send(self) -> None:
        """Send what aioquic wants to send."""
        if self.is_muted:
            return
        for datagram, _ in self.quic.datagrams_to_send(self._loop.time()):
            for one in self.path_out.passed(datagram):
                with contextlib.suppress(OSError):
                    self.socket.sendto(one, self.server)
        self._set_timer()

    def leave(self) -> None:
        """Close the connection."""
        self.path_out.loss = self.path_out.reordering = 0.0
        if self.closed is None:
            self.quic.close(error_code=0x100)
            self.send()

    def close(self) -> None:
        """Forget the connection without a word."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.socket)
        for one in (self.socket, *self._kept):
            one.close()

    def _open(self) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        made.bind((self._source, 0))
        self._loop.add_reader(made, self._read)
        return made

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.quic.get_timer()
        self._timer = None if at is None else self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self.quic.handle_timer(self._loop.time())
        self._take_events()
        self.send()

    def _read(self) -> None:
        for _ in range(64):
            try:
                datagram, _ = self.socket.recvfrom(MAX_DATAGRAM)
            except OSError:
                break
            if self.is_muted:
                continue
            self.received += len(datagram)
            self.last = datagram
            for one in self.path_in.passed(datagram):
                self.quic.receive_datagram(one, self.server, self._loop.time())
        self._take_events()
        self.send()

    def _take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, quic_events.ConnectionTerminated):
                self.closed = event
            elif isinstance(event, quic_events.StreamReset) and event.stream_id in self.answers:
                self.answers[event.stream_id].reset = event.error_code
            elif isinstance(event, quic_events.StopSendingReceived) and event.stream_id in self.answers:
                self.answers[event.stream_id].stopped = event.error_code
            if self.http is not None:
                for one in self.http.handle_event(event):
                    self._take(one)
        self._changed.set()

    def _take(self, event: http_events.H3Event) -> None:
        if isinstance(event, http_events.HeadersReceived):
            answer = self.answers[event.stream_id]
            fields = {name.decode(): value.decode() for name, value in event.headers}
            if ":status" not in fields:
                answer.trailers = fields
            elif fields[":status"].startswith("1"):
                answer.interim.append(fields)
            else:
                answer.fields = fields
        elif isinstance(event, http_events.DataReceived):
            answer = self.answers[event.stream_id]
            answer.body += event.data
        else:
            return
        answer.has_ended = answer.has_ended or event.stream_ended


@asynccontextmanager
async def connected(port: int, **settings: Any) -> AsyncIterator[Client]:
    """Yield a client whose handshake is complete."""
    client = Client(port, **settings)
    try:
        await client.connect()
        assert client.closed is None
        yield client
        client.leave()
    finally:
        client.close()


@dataclass(slots=True)
class Server:
    """A server in this process, with all that can be seen of it."""

    running: Any  # npserver.Server
    port: int

    @property
    def context(self) -> Any:
        return self.running._single.data_plane.context

    def count(self, name: str) -> int:
        """Return a counter or gauge of the scoreboard."""
        board = self.context.row.board
        found: int = board.total(board.directory.slot(name))
        return found


@asynccontextmanager
async def serving(rules: Sequence[Mapping[str, Any]], directory: Path, **config: Any) -> AsyncIterator[Server]:
    """Yield a server with these rules, on a listener with HTTP/3 and a certificate of the local authority."""
    listen = [
        {"uri": "https://127.0.0.1:0", "name": "web", "http3": True, "tls": "internal", **config.pop("listen", {})}
    ]
    made = {"listen": listen, "dispatch": list(rules), "store": str(directory / "store"), **config}
    async with npserver.serve(made) as running:
        yield Server(running, running.addresses["web"].port)
