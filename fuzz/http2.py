"""Fuzzes HTTP/2 connections: `make fuzz ARGS="http2 --seconds 60"`.

Oracle: any bytes after the preface are answered with responses or errors in frames that another library can parse, and
no state of the connection is left behind.
"""

from __future__ import annotations

from hyperframe import frame as frames

from fuzz.driver import run
from tests.property.test_http2_connection import check
from tests.stage.http2 import GET, POST, Client, Mirror, server


def target(data: bytes) -> None:
    """One input."""
    client = Client(server(Mirror()))
    client.raw(data)
    check(client)


def samples() -> list[bytes]:
    """Return byte streams that clients send."""
    client = Client(server(Mirror()))
    post = client.headers(3, [*POST, ("content-length", "4")]), frames.DataFrame(3, b"body", flags=["END_STREAM"])
    return [
        client.headers(1, GET, "END_STREAM").serialize(),
        b"".join(frame.serialize() for frame in post),
        frames.SettingsFrame(0, settings={4: 100}).serialize() + frames.WindowUpdateFrame(0, 1000).serialize(),
        frames.PingFrame(0).serialize() + frames.GoAwayFrame(0).serialize(),
        client.headers(5, POST).serialize() + frames.RstStreamFrame(5, 8).serialize(),
    ]


if __name__ == "__main__":
    run(target, samples())
