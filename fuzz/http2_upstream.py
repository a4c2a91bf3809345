"""Fuzzes HTTP/2 as a client: `make fuzz ARGS="http2_upstream --seconds 60"`.

Oracle: whatever a target sends, each request is told of one end, in the order that `ResponseSink` says, and nothing is
left behind.
"""

from __future__ import annotations

from fuzz.driver import run
from tests.property.test_http2_upstream import GOOD
from tests.stage.http2_target import Target


def target(data: bytes) -> None:
    """One input."""
    one = Target()
    half = len(data) // 2
    one.raw(data[:half])
    one.raw(data[half:])
    one.check()


def samples() -> list[bytes]:
    """Return byte streams that targets send."""
    return [*GOOD, b"".join(GOOD), b"".join(GOOD[:8])]


if __name__ == "__main__":
    run(target, samples())
