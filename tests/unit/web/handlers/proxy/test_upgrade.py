"""101 responses that were asked for, and those that were not (RFC 9110 §7.8, RFC 6455 §4.1)."""

from __future__ import annotations

import pytest

from npserver.http.request import Request
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.http.response_parser import parse_response_head
from npserver.web.handlers.proxy.upgrade import switch_fault

#: The example of RFC 6455 §1.3.
KEY, ACCEPT = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def asking(key: bytes = KEY) -> Request:
    lines = b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + (
        b"Sec-WebSocket-Key: %b\r\n" % key if key else b""
    )
    return parse_head(b"GET /ws HTTP/1.1\r\n" + lines + b"\r\n", HeadLimits())


def fault(lines: bytes, asked: bytes = b"websocket", key: bytes = KEY) -> str:
    return switch_fault(asking(key), asked, parse_response_head(b"HTTP/1.1 101 Switching\r\n" + lines + b"\r\n"))


UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


def test_the_answer_to_the_key_makes_a_tunnel() -> None:
    assert fault(UPGRADE + b"Sec-WebSocket-Accept: %b\r\n" % ACCEPT) == ""
    assert fault(UPGRADE + b"sec-websocket-accept:\t%b \r\n" % ACCEPT) == ""


def test_without_a_key_there_is_nothing_to_answer() -> None:
    assert fault(UPGRADE, key=b"") == ""


def test_one_of_several_protocols_may_be_chosen() -> None:
    assert fault(b"Upgrade: h2c\r\nConnection: Upgrade\r\n", asked=b"websocket, h2c") == ""


@pytest.mark.parametrize(
    ("lines", "asked", "words"),
    [
        (UPGRADE, b"", "no upgrade was requested"),
        (b"", b"websocket", "without Upgrade and Connection"),
        (b"Upgrade: websocket\r\n", b"websocket", "without Upgrade and Connection"),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"websocket", "with a protocol that was not requested"),
        (b"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n", b"websocket", "with a protocol that was not requested"),
        (UPGRADE, b"websocket", "wrong Sec-WebSocket-Accept"),
        (UPGRADE + b"Sec-WebSocket-Accept: AAAA\r\n", b"websocket", "wrong Sec-WebSocket-Accept"),
        (UPGRADE + b"Sec-WebSocket-Accept: %b\r\n" % ACCEPT * 2, b"websocket", "wrong Sec-WebSocket-Accept"),
    ],
)
def test_any_other_101_is_a_fault(lines: bytes, asked: bytes, words: str) -> None:
    assert words in fault(lines, asked)
