"""Fuzzes streams of DNS over QUIC: `make fuzz ARGS="doq --seconds 60"`.

In short: `tests/property/test_doq_connection.py`.

Oracle: any bytes on any streams, in any frames, are answered or end the connection, and no state of it is left behind.
"""

from __future__ import annotations

from fuzz.driver import run
from fuzz.quic import SEPARATOR, stream
from tests.stage.doq import framed, question
from tests.stage.doq_memory import DoqClient


def target(data: bytes) -> None:
    """One input: frames of several packets."""
    client = DoqClient()
    for piece in data.split(SEPARATOR):
        client.frames(piece[:1200])
    client.pass_time(0.5)
    client.end()


def samples() -> list[bytes]:
    """Return frames that clients send."""
    query = framed(question(use_edns=0))
    zone = framed(question("home", "AXFR"))
    return [
        stream(0, 0, query, has_ended=True),
        stream(0, 9, query[9:], has_ended=True) + SEPARATOR + stream(0, 0, query[:9]),
        stream(0, 0, query)
        + stream(4, 0, query, has_ended=True)
        + SEPARATOR
        + stream(0, len(query), b"", has_ended=True),
        stream(0, 0, zone, has_ended=True) + SEPARATOR + b"\x05\0\x03",  # STOP_SENDING
        stream(0, 0, query[:9]) + SEPARATOR + b"\x04\0\x03\x09",  # RESET_STREAM
        b"\x05\0\x03" + SEPARATOR + stream(0, 0, query, has_ended=True),
        stream(2, 0, query, has_ended=True),
        stream(0, 0, framed(question("big.home", "TXT")), has_ended=True) + SEPARATOR + b"\x11\0\x10" + b"\x10\x40\x40",
    ]


if __name__ == "__main__":
    run(target, samples())
