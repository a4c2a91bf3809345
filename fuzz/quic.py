"""Fuzzes QUIC connections: `make fuzz ARGS="quic --seconds 60"`. In short: `tests/property/test_quic_connection.py`.

Oracle: any frames in authentic packets, and any datagrams beside them, are answered or end the connection, and no state
of it is left behind.
"""

from __future__ import annotations

from fuzz.driver import run
from npserver.web.server.http3 import frames
from npserver.web.server.http3.frames import frame, varint
from npserver.web.server.http3.sections import headers_frame
from tests.stage.http2 import Mirror
from tests.stage.quic_memory import Client

GET = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/"))
SEPARATOR = b"\xff\xfe\xfd"


def target(data: bytes) -> None:
    """One input: frames of several packets; every third is a datagram that is not authentic."""
    client = Client(Mirror())
    for number, piece in enumerate(data.split(SEPARATOR)):
        if number % 3 == 2:
            client.datagram((piece or b"x")[:1200])
        else:
            client.frames(piece[:1200])
    client.pass_time(0.5)
    client.end()


def stream(number: int, offset: int, data: bytes, *, has_ended: bool = False) -> bytes:
    """Return a STREAM frame."""
    return bytes((0x0E | has_ended,)) + varint(number) + varint(offset) + varint(len(data)) + data


def samples() -> list[bytes]:
    """Return frames that clients send."""
    get = headers_frame(GET)
    post = headers_frame(((b":method", b"POST"), *GET[1:])) + frame(frames.DATA, b"body")
    control = b"\0" + frame(frames.SETTINGS, b"\1\0") + frame(frames.PRIORITY_UPDATE, b"\0u=1")
    return [
        stream(0, 0, get, has_ended=True),
        stream(0, 10, post[10:], has_ended=True) + SEPARATOR + stream(0, 0, post[:10]),
        stream(6, 0, control) + stream(10, 0, b"\x02") + stream(14, 0, b"\x03"),
        stream(0, 0, post) + SEPARATOR + b"\x04\0\x01\x40\x40",  # RESET_STREAM
        stream(0, 0, get, has_ended=True) + SEPARATOR + b"\x05\0\x01",  # STOP_SENDING
        b"\x02\0\0\0\0" + SEPARATOR + b"\x10\x40\x40" + b"\x11\0\x40\x40" + b"\x12\x10" + b"\x13\x10",
        b"\x18\x01\0\x08abcdefgh" + bytes(16) + b"\x19\0",  # NEW_CONNECTION_ID, RETIRE_CONNECTION_ID
        b"\x1a12345678" + b"\x1b12345678" + SEPARATOR + b"\x1c\0\0\0",  # PATH_CHALLENGE, CONNECTION_CLOSE
        b"\x06\0\x04abcd" + SEPARATOR + b"\x31\x04data" + b"\x07\x04tokn" + b"\x1e",
    ]


if __name__ == "__main__":
    run(target, samples())
