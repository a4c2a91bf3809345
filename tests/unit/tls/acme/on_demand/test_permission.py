"""Asking an application whether a name may have a certificate: what is an answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from npserver.tls.acme.on_demand.permission import Answer, ask, parse_application
from tests.stage.answering import answering

NAME = "www.example.com"
DEADLINE_S = 30.0


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        ("200 OK", Answer.YES, "status 200"),
        ("204 No Content", Answer.YES, "status 204"),
        ("404 Not Found", Answer.NO, "status 404"),
        ("403 Forbidden", Answer.NO, "status 403"),
        ("500 Oops", Answer.FAILED, "status 500"),
        ("302 Found", Answer.FAILED, "status 302, and redirects are not followed"),
    ],
)
async def test_only_the_status_counts(status: str, answer: Answer, reason: str) -> None:
    raw = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\n\r\nyes".encode()
    async with answering(raw) as (url, requests):
        found = await ask(parse_application(f"{url.address}/may"), NAME, DEADLINE_S)
    assert found == (answer, reason)
    line, *fields = requests[0].decode().split("\r\n")
    assert line == f"GET /may?domain={NAME} HTTP/1.1"
    assert f"Host: {url.host}" in fields


async def test_an_application_that_is_down_gives_no_permission(free_port: Callable[[], int]) -> None:
    found = await ask(parse_application(f"http://127.0.0.1:{free_port()}"), NAME, DEADLINE_S)
    assert found[0] is Answer.FAILED
    assert "refused" in found[1] or "connect" in found[1].lower()


def test_what_may_be_a_secret_is_not_shown() -> None:
    found = parse_application("https://a.example/may?token=secret")
    assert (found.where.target, found.url) == ("/may?token=secret", "https://a.example/may")
    assert "secret" not in repr(found)
