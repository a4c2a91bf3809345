"""Security headers of rules, over both schemes, beside what applications set themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from npserver.config.load import load_text
from npserver.runtime.compilation import Compilation
from npserver.web.middleware.security_headers.compile import compile_security_headers
from npserver.web.middleware.security_headers.fields import AddedFields, SecureFields
from tests.protocols.proxying import Origin, answering, ok
from tests.stage.worker import make_context

NAMES = {
    "strict-transport-security", "x-content-type-options", "x-frame-options", "referrer-policy", "permissions-policy",
    "content-security-policy", "cross-origin-opener-policy",
}  # fmt: skip
DEFAULT = {
    "x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "strict-origin-when-cross-origin",
}  # fmt: skip
HSTS = {"strict-transport-security": "max-age=31536000"}


def told(answer: httpx.Response) -> dict[str, str]:
    pairs = [(name, value) for name, value in answer.headers.multi_items() if name in NAMES]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


async def asked(listen: list[Any], rule: dict[str, Any], path: str = "/") -> list[httpx.Response]:
    """Return the answers of each listener."""
    config = {"listen": listen, "dispatch": [rule]}
    async with npserver.serve(config, shutdown_s=0) as server, httpx.AsyncClient(verify=False, http2=True) as client:
        return [await client.get(server.url(name) + path) for name in server.addresses]


@pytest.fixture
def secure(certificates: Callable[..., Any]) -> dict[str, Any]:
    issued = certificates()
    return {"uri": "https://127.0.0.1:0", "name": "s", "tls": {"cert": str(issued.cert), "key": str(issued.key)}}


@pytest.mark.parametrize("name", [None, "s"])
async def test_hsts_goes_over_tls_alone(secure: dict[str, Any], name: str | None) -> None:
    rule = {"handler": "respond", "body": "x", "security_headers": True, **({"listener": name} if name else {})}
    plain, over_tls = await asked([{"uri": "http://127.0.0.1:0", "name": "p"}, secure], rule)
    assert told(over_tls) == {**DEFAULT, **HSTS}
    if name is None:
        assert told(plain) == DEFAULT
    else:
        assert list(told(plain)) == ["content-security-policy"]  # that of the error page


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (False, {}),
        ({}, DEFAULT),
        ({"frame": None, "referrer": None, "nosniff": False}, {}),
        ({"frame": "deny", "csp": "default-src 'self'", "referrer": "origin", "nosniff": False},
         {"x-frame-options": "DENY", "content-security-policy": "default-src 'self'", "referrer-policy": "origin"}),
        ("strict",
         {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "same-origin",
          "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
          "content-security-policy": "base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
          "cross-origin-opener-policy": "same-origin"}),
    ],
)  # fmt: skip
async def test_what_the_config_asks_for(section: Any, expected: dict[str, str]) -> None:
    rule = {"handler": "respond", "body": "x", "security_headers": section}
    assert told((await asked(["http://127.0.0.1:0"], rule))[0]) == expected


async def test_hsts_as_the_config_says(secure: dict[str, Any]) -> None:
    rule = {"handler": "respond", "body": "x", "security_headers": {"hsts": "1d", "hsts_subdomains": True}}
    assert told((await asked([secure], rule))[0])["strict-transport-security"] == "max-age=86400; includeSubDomains"
    rule["security_headers"] = {"hsts": 0}
    assert told((await asked([secure], rule))[0]) == DEFAULT


async def test_what_an_application_sets_stays_and_what_the_rule_sets_wins(secure: dict[str, Any]) -> None:
    fields = b"X-Frame-Options: ALLOW\r\nstrict-transport-security: max-age=1\r\nReferrer-Policy: origin\r\n"
    async with Origin(answering(ok(fields=fields))) as origin:
        rule = {
            "handler": "proxy", "proxy_pass": origin.url, "security_headers": True,
            "response_headers": {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": None},
        }  # fmt: skip
        plain, over_tls = await asked(["http://127.0.0.1:0", secure], rule)
    own = {"x-frame-options": "ALLOW", "referrer-policy": "no-referrer", "strict-transport-security": "max-age=1"}
    assert (told(plain), told(over_tls)) == (own, own)


async def test_error_pages_and_files_have_them_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    rule = {"handler": "static", "root": str(tmp_path), "security_headers": True}
    assert told((await asked(["http://127.0.0.1:0"], rule, "/a.txt"))[0]) == DEFAULT
    missing = (await asked(["http://127.0.0.1:0"], rule, "/none"))[0]
    assert (missing.status_code, told(missing)) == (404, DEFAULT)


def test_long_field_lines_get_them_too() -> None:
    added = AddedFields([(b"x-a", b"X-A: 1\r\n")])
    for lines in (b"B: 1\r\n", b"B: %b\r\n" % (b"b" * 4000), b""):
        assert [added.change_fields(lines) for _ in range(3)] == [lines + b"X-A: 1\r\n"] * 3
    assert added.change_fields(b"x-A: 2\r\n") == b"x-A: 2\r\n"


@pytest.mark.parametrize(
    ("listen", "named", "kind"),
    [
        (["http://:80"], None, AddedFields),
        (["https://:443"], None, AddedFields),
        (["http://:80", "https://:443"], None, SecureFields),
        (["http://:80", "https://:443"], "https://:443", AddedFields),
        (["http://:80", "https://:443", "tcp://:5432"], ["http://:80"], AddedFields),
        (["unix:///run/a.sock", "tcp://:5432"], None, AddedFields),
        ([], None, SecureFields),
    ],
)
async def test_a_rule_of_one_scheme_is_answered_from_memory(
    listen: list[str], named: str | list[str] | None, kind: type[AddedFields]
) -> None:
    rule = {"handler": "respond", "security_headers": True, **({"listener": named} if named else {})}
    document = load_text(json.dumps({"listen": listen, "dispatch": [rule]}), "config")
    context = make_context(asyncio.get_running_loop())
    section: Any = document.config.dispatch[0]
    made = compile_security_headers(Compilation(document, context), ("dispatch", 0), section)
    assert type(made) is kind  # a response side takes an exchange
    context.sweeper.close()
