"""Redirects: the Location, which never leads to another origin unless the rule says so."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.web.handlers.redirect.handler import RedirectHandler
from npserver.web.variables import compile_template
from tests.stage.answered import Answered


def redirected(to: str, exchange: Any, *, is_local: bool = False, needs_host: bool = False) -> Any:
    RedirectHandler(compile_template(to), 308, is_local=is_local, needs_host=needs_host).handle(exchange)
    return exchange


def test_the_location_is_filled_in() -> None:
    answer = redirected("https://$host$path$query", Answered(path="/a", query="b=1"))
    assert (answer.status, answer.fields, answer.body) == (308, b"Location: https://example.com/a?b=1\r\n", b"")


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example/x", "/\\/evil.example/x", "///evil.example/x"])
def test_a_local_redirect_stays_on_this_origin(path: str) -> None:
    answer = redirected("$path", Answered(path=path), is_local=True)
    assert answer.fields == b"Location: /evil.example/x\r\n"


def test_a_redirect_to_another_host_may_start_with_slashes() -> None:
    assert redirected("//other.example$path", Answered()).fields == b"Location: //other.example/\r\n"


def test_a_redirect_that_needs_the_host_is_refused_without_one() -> None:
    answer = redirected("https://$host/", Answered(host=""), needs_host=True)
    assert answer.status == 400
    assert "host" in answer.reason
    assert redirected("/x", Answered(host="")).status == 308


@pytest.mark.parametrize(
    ("to", "location"),
    [
        ("/a b", b"/a%20b"),
        ("/\u00e4?q=%20", b"/%C3%A4?q=%20"),
        ("/a%2Fb#\u00e4", b"/a%2Fb#%C3%A4"),
        ("/[a]|b", b"/[a]|b"),
    ],
)
def test_what_no_url_has_is_escaped(to: str, location: bytes) -> None:
    assert redirected(to, Answered()).fields == b"Location: %b\r\n" % location
