"""Asking a URL for the address of its caller: real servers that answer well, badly, slowly, or with a lie."""

from __future__ import annotations

import pytest

from npserver.nameserver.publish.asking import MAX_ANSWER_BYTES, AskingError, ask
from tests.stage.answering import answering

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


async def test_an_address_in_plain_text_is_one() -> None:
    async with answering(OK + b"\r\n  9.9.9.9\r\n") as (url, requests):
        assert await ask(f"{url.address}{url.target}?form=text", 4, 30) == "9.9.9.9"
    assert requests[0].startswith(b"GET /may?form=text HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((OK + b"\r\n10.0.0.1",), "the answer is 10.0.0.1, which is not a public address"),
        ((OK + b"\r\n127.0.0.1",), "the answer is 127.0.0.1, which is not a public address"),
        ((OK + b"\r\n224.0.0.1",), "the answer is 224.0.0.1, which is not a public address"),
        ((OK + b"\r\n192.0.2.1",), "the answer is 192.0.2.1, which is not a public address"),
        ((OK + b"\r\n2620:fe::fe",), "the answer over IPv4 is 2620:fe::fe"),
        ((OK + b"\r\n::ffff:9.9.9.9",), "the answer over IPv4 is ::ffff:"),
        ((OK + b'\r\n{"ip": "9.9.9.9"}',), 'the answer is not an address: \'{"ip": "9.9.9.9"}\''),
        ((OK + b"\r\n<html>" + b"\xff" * 500,), "the answer is not an address: '<html>"),
        ((OK + b"\r\n9.9.9.9\n8.8.8.8",), "the answer is not an address"),
        ((OK + b"\r\n",), "the answer is not an address: ''"),
        ((OK + b"\r\n" + b"9" * (1 << 20),), f"the answer is longer than {MAX_ANSWER_BYTES} bytes"),
        ((b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n9.9.9.9",), "status 302 instead of 200"),
        ((b"HTTP/1.1 500 Oops\r\n\r\n9.9.9.9",), "status 500 instead of 200"),
        ((b"9.9.9.9\r\n\r\n",), "bad status line"),
        ((), "the connection is closed before the end of the answer's head"),
    ],
)
async def test_anything_else_is_none_with_the_reason(pieces: tuple[bytes, ...], reason: str) -> None:
    async with answering(*pieces) as (url, _):
        with pytest.raises(AskingError) as error:
            await ask(str(url.address), 4, 30)
    assert reason in str(error.value)


async def test_a_server_that_does_not_go_on_has_a_time_limit() -> None:
    async with answering(OK, stays=True) as (url, _):
        with pytest.raises(AskingError, match=r"no answer within 0\.1 s \(public_address\.timeout\)"):
            await ask(str(url.address), 4, 0.1)


async def test_a_server_without_addresses_of_the_version_is_none() -> None:
    async with answering(OK + b"\r\n9.9.9.9") as (url, requests):
        with pytest.raises(AskingError):
            await ask(str(url.address), 6, 30)
        assert requests == []
