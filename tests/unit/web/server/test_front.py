"""The front of listeners: which heads of HTTP/2 and HTTP/3 are read once. Heads of HTTP/1: `protocols/test_http.py`."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.http.request import Fields
from tests.protocols.memory import Server
from tests.stage.http2 import Mirror

GET: Fields = ((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/a"), (b":authority", b"a.test"))
POST: Fields = ((b":method", b"POST"), *GET[1:], (b"content-type", b"application/grpc"))
CONNECT: Fields = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:])
LONG: Fields = (*GET, (b"x", b"y" * 5000))


def found(server: Server, version: int, fields: Fields, has_body: bool) -> list[Any]:
    """Return the requests that four equal heads are read as."""
    find = server.front.find_http2 if version == 2 else server.front.find_http3
    return [find(fields, has_body)[0] for _ in range(4)]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("fields", "has_body", "times"),
    [(GET, False, 2), (POST, True, 2), (POST, False, 2), (LONG, False, 4), (CONNECT, True, 4)],
    ids=["GET", "body", "no body", "long", "WebSocket"],
)
def test_heads_that_come_again_are_read_once(version: int, fields: Fields, has_body: bool, times: int) -> None:
    """From the second time on. The request for a WebSocket has a key made for it alone (RFC 8441 §5)."""
    requests = found(Server(Mirror()), version, fields, has_body)
    assert len({id(request) for request in requests}) == times
    assert requests[-1].is_http3 == (version == 3)
    if fields is CONNECT:
        assert len({request.fields[b"sec-websocket-key"] for request in requests}) == 4


def test_a_head_with_and_without_a_body_is_two_requests() -> None:
    server = Server(Mirror())
    with_body, without = found(server, 2, POST, True), found(server, 2, POST, False)
    assert {request.framing.value for request in with_body} == {"chunked"}
    assert {request.framing.value for request in without} == {"none"}


def test_heads_with_other_paths_and_cookies_share_the_rest() -> None:
    server = Server(Mirror())
    requests = [
        server.front.find_http2((*GET[:2], (b":path", b"/%d" % at), GET[3], (b"cookie", b"a=%d" % at)), False)[0]
        for at in range(4)
    ]
    assert [request.fields[b"cookie"] for request in requests] == [b"a=0", b"a=1", b"a=2", b"a=3"]
    assert [request.path for request in requests] == ["/0", "/1", "/2", "/3"]
    assert requests[2].block is requests[3].block
    assert b"cookie" not in requests[3].block.fields
