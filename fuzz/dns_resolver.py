"""Fuzzes the connections to resolvers: `make fuzz ARGS="dns_resolver --seconds 60"`.

The input is what a resolver sends, its first byte says over what: TCP, or HTTP/2 behind TLS. Oracle: whatever comes, in
however many pieces, nothing is raised; a connection is lost once; and what a question gets is an answer to it.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import dns.message
import dns.rrset
from hpack import Encoder
from hyperframe import frame as frames

from npserver.dns.message.query import Query, parse_query
from npserver.nameserver.resolver.address import ResolverAddress
from npserver.nameserver.resolver.answer import Lifetimes, read_answer
from npserver.nameserver.resolver.https_connection import HttpsConnection
from npserver.nameserver.resolver.messages import make_query, match_reply
from npserver.nameserver.resolver.stream_connection import StreamConnection
from tests.stage.worker import make_context

PIECES = (1, 7, 1 << 16)  # bytes given at once
SETTINGS_BYTES = 15  # of the frame that the seeds over HTTP/2 begin with
HTTPS = ResolverAddress("https", "192.0.2.1", 443, "dns.example", "dns.example", "/dns-query")
NAMES = ("a.example.net", "b.example.net", "c.example.net")


def _query(name: str) -> Query:
    query = parse_query(dns.message.make_query(name, "A", use_edns=0, id=7).to_wire())
    assert isinstance(query, Query)
    return query


class Transport:
    """A transport that forgets what is written."""

    is_closed = False

    def write(self, data: bytes) -> None:
        """Forget the data."""
        assert not self.is_closed or data

    def close(self) -> None:
        """Close."""
        self.is_closed = True

    abort = close

    def get_extra_info(self, name: str) -> None:
        """Know nothing."""


class Exchange:
    """A question that knows what is an answer to it."""

    def __init__(self, name: str) -> None:
        self.query = _query(name)
        self.sent = make_query(self.query, 0)
        self.sends = 1
        self.sent_at = 0.0
        self.ended = 0


class Channel:
    """The owner of one connection, which gives it each question once."""

    address = HTTPS

    def __init__(self, connection_type: type[Any]) -> None:
        self.exchanges = [Exchange(name) for name in NAMES]
        self.waiting = list(self.exchanges)
        self.lost_times = 0
        self.connection = connection_type(CONTEXT, self)
        self.connection.connection_made(Transport())
        self.connection.start()

    def opened(self, connection: object) -> None:
        """Send what there is room for."""
        self.proceed()

    def proceed(self) -> None:
        """Send what there is room for."""
        connection = getattr(self, "connection", None)
        while connection is not None and self.waiting and connection.has_room():
            connection.send(self.waiting.pop(0))

    def answered(self, exchange: Exchange, data: bytes) -> bool:
        """Take an answer."""
        reply = match_reply(exchange.sent, data)
        if reply is None or read_answer(exchange.query, reply, 0.0, LIFETIMES) is None:
            return False
        exchange.ended += 1
        assert exchange.ended == 1, "answered twice"
        return True

    def refused(self, exchange: Exchange, reason: str) -> None:
        """Take a failure."""
        exchange.ended += 1
        assert reason
        assert exchange.ended == 1, "ended twice"

    def lost(self, connection: object, reason: str) -> None:
        """Take the loss of the connection."""
        self.lost_times += 1
        assert self.lost_times == 1, "lost twice"


class Numbers:
    """Ids of questions in order, so that inputs can answer them."""

    number: ClassVar[int] = 0

    @classmethod
    def randbits(cls, bits: int) -> int:
        """Return the next number."""
        cls.number += 1
        return cls.number


LIFETIMES = Lifetimes()
CONTEXT = make_context()


def check(data: bytes) -> None:
    """Give `data` to a connection, in pieces of several sizes."""
    from npserver.nameserver.resolver import stream_connection

    kind = HttpsConnection if data[:1] and data[0] & 1 else StreamConnection
    for size in PIECES:
        Numbers.number = 0
        stream_connection.secrets = Numbers  # type: ignore[assignment]
        channel = Channel(kind)
        connection: Any = channel.connection
        places = [1, *range(1 + SETTINGS_BYTES, len(data), size)]  # no answer comes before its question is sent
        for at, end in zip(places, [*places[1:], len(data)], strict=True):
            if connection.is_closed:
                break
            connection.data_received(data[at:end])
        connection.expire(0.0)
        connection.connection_lost(None)
        assert channel.lost_times == 1
        assert connection.deadline == float("inf")
        assert connection not in CONTEXT.sweeper.watched


def _reply(number: int, name: str) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(make_query(_query(name), number)))
    message.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "A", "192.0.2.1"))
    return message.to_wire()


def seeds() -> list[bytes]:
    """Return streams of both kinds."""
    replies = [_reply(number, name) for number, name in enumerate(NAMES, 1)]
    streams = [b"".join([len(one).to_bytes(2, "big") + one for one in order]) for order in (replies, replies[::-1])]
    encoder = Encoder()
    parts = [frames.SettingsFrame(0, settings={3: 10}).serialize()]
    for stream, name in zip((1, 3, 5), NAMES, strict=True):
        head = encoder.encode([(":status", "200"), ("content-type", "application/dns-message")])
        parts.append(frames.HeadersFrame(stream, head, flags=["END_HEADERS"]).serialize())
        parts.append(frames.DataFrame(stream, _reply(0, name), flags=["END_STREAM"]).serialize())
    leave = frames.GoAwayFrame(0, last_stream_id=1).serialize()
    whole = b"".join(parts)
    return [
        *[b"\0" + one for one in streams],
        b"\1" + whole,
        b"\1" + b"".join(parts[:3]) + leave,
        b"\1" + whole + leave,
    ]


if __name__ == "__main__":
    from fuzz.driver import run

    asyncio.set_event_loop(asyncio.new_event_loop())
    run(check, seeds())
