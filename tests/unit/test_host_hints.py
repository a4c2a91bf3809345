"""Hints at patterns of host names that are valid and match other hosts than expected, or none."""

from __future__ import annotations

import pytest

from npserver.host_hints import hint_at_host

EVERY_PORT = "on every port: for one port, name its listener by 'listener'"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("_", "is the name of no host: for any, as in nginx, leave 'host' out"),
        (".Ex.com", 'matches nothing: for this host and those below it, write ["ex.com", "*.ex.com"]'),
        ("a.b:8080", f"is the same as 'a.b', {EVERY_PORT}"),
        ("[::1]:80", f"is the same as '[::1]', {EVERY_PORT}"),
        ("*.a.b:443", f"is the same as '*.a.b', {EVERY_PORT}"),
        ("a.b,c.d", 'is taken for one name: write a list, ["a.b", "c.d"]'),
        ("~www", "matches nothing: it cannot be the name of a host"),
        ("a..b", "matches nothing: it cannot be the name of a host"),
        ("..a", "matches nothing: it cannot be the name of a host"),
    ],
)
def test_a_pattern_of_a_host_that_surprises_says_what_to_write(text: str, hint: str) -> None:
    assert hint_at_host("host", text, ignores_port=True) == f"'host': {text!r} {hint}"


@pytest.mark.parametrize(
    "text",
    ["example.com", "*.Example.com", "localhost", "my_app.local", "a.b.", "*", "", "[::1]", "10.0.0.1", "straße.home"],
)
def test_a_pattern_that_is_the_name_of_a_host_has_no_hint(text: str) -> None:
    assert hint_at_host("host", text, ignores_port=True) == ""


def test_a_server_name_has_no_port() -> None:
    hint = "'sni': 'a.b:443' matches nothing: server names have no port, write 'a.b'"
    assert hint_at_host("sni", "a.b:443", ignores_port=False) == hint
