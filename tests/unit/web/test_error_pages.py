"""Error pages in the form that the client asked for."""

from __future__ import annotations

import json

import pytest

from npserver.web.error_pages import phrase, render


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
