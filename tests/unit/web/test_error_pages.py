"""Error pages in the form that the client asked for."""

from __future__ import annotations

import json

import pytest

from npserver.web.error_pages import last_page, phrase, render


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (b"", b"text/plain"),
        (b"*/*", b"text/plain"),
        (b"text/html,application/xhtml+xml;q=0.9", b"text/html"),
        (b"application/json", b"application/json"),
        (b"text/plain;q=0.1, application/json", b"application/json"),
        (b"image/png", b"text/plain"),
    ],
)
def test_the_form_follows_accept(accept: bytes, media_type: bytes) -> None:
    fields, _ = render(404, accept, "")
    assert fields.startswith(b"Content-Type: " + media_type)
    assert b"Cache-Control: no-store\r\n" in fields


def test_each_form_names_the_status_and_the_request() -> None:
    for accept in (b"", b"text/html", b"application/json"):
        _, body = render(502, accept, "abc123")
        assert b"502" in body
        assert b"Bad Gateway" in body
        assert b"abc123" in body
    assert json.loads(render(404, b"application/json", "")[1]) == {"status": 404, "error": "Not Found"}


def test_a_status_without_a_name_is_an_error() -> None:
    assert phrase(599) == "Error"


def test_bytes_that_are_no_request_get_a_plain_page_and_the_end() -> None:
    head, _, body = last_page(400).partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert b"Content-Length: %d" % len(body) in head
    assert body == b"400 Bad Request\n"
