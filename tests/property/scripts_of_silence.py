"""What clients and upstreams do before they fall silent, by chance."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.settings

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
PATHS = [b"/plain/x", b"/tls/x", b"/buffered/x", b"/file", b"/large", b"/nix"]

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
