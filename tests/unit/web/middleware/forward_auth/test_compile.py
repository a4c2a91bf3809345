"""`forward_auth` compiled: what is said about mistakes. Covers `web.http_upstream` too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"to": "upstream://none"}, "unknown upstream 'none'"),
    ({"to": "tcp://127.0.0.1:1"}, "expected an http, https, h2c or unix target"),
    ({"to": "http://127.0.0.1:1/verify"}, "move the path to 'path'"),
    ({"pth": "/verify"}, "unknown key 'pth' in 'forward_auth'; did you mean 'path'?"),
    ({"path": "verify"}, "'path': a path starts with '/', got 'verify'"),
    ({"path": "/verify?rd=$url"}, "'path' has no variables: $url is sent as it stands; see 'sign_in'"),
    ({"path": "/%zz"}, "'path': bad percent encoding in the path"),
    ({"path": "/a b"}, "'path': a space or control character"),
    ({"copy": "Remote User"}, "'Remote User' is not a valid header name"),
    ({"copy": {"X-User": "Rémote"}}, "is not a valid header name"),
    ({"copy": ["cookie"]}, "'cookie' cannot be copied"),
    ({"copy": ["X_Forwarded_For"]}, "'X_Forwarded_For' cannot be copied"),
    ({"copy": ["X-A", "X_A"]}, "'X_A' is copied twice"),
    ({"copy": ["X-A", "x-a"]}, "'x-a' is copied twice"),
    ({"sign_in": "auth.example.com"}, "expected an http or https URL, or a path"),
    ({"sign_in": "//evil.example"}, "expected an http or https URL, or a path"),
    ({"sign_in": "/login?rd=$request_uri"}, "write $url for the requested URL"),
    ({"sign_in": "/login?rd=$ulr"}, "did you mean $url?"),
    ({"user": "a b"}, "'a b' is not a valid header name"),
    ({"timeout": 0}, "must be above 0"),
]


@pytest.fixture(autouse=True)
def no_loop() -> Iterator[None]:
    yield
    asyncio.set_event_loop(None)


def problems(auth: dict[str, Any]) -> list[str]:
    """Return what the compilation of a rule with this `forward_auth` says."""
    rule = {"handler": "respond", "forward_auth": {"to": "http://127.0.0.1:1", **auth}}
    text = json.dumps({"listen": ["http://127.0.0.1:0"], "dispatch": [rule]}, indent=1)
    try:
        return [str(one) for one in dry_run(load_text(text, "config"), Directory()).warnings]
    except ConfigError as error:
        return [str(one) for one in error.problems]


@pytest.mark.parametrize(("auth", "message"), MISTAKES)
def test_each_mistake_is_named_once_and_in_its_place(auth: dict[str, Any], message: str) -> None:
    said = problems(auth)
    assert len(said) == 1, said
    assert message in said[0]
    assert said[0].startswith("config:")


def test_what_is_right_is_not_remarked_on() -> None:
    auth = {
        "path": "/verify?x=y",
        "copy": {"X-User": "Remote-User"},
        "sign_in": "https://auth.test/?rd=$url",
        "timeout": 1,
    }
    assert problems(auth) == []
