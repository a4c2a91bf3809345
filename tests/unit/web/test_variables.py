"""Templates with variables, and the changes to header fields made of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from npserver.http.request import NO_BODY, Block, Request, Terms
from npserver.web.middleware.headers import compile_header_map, remove_fields
from npserver.web.variables import VARIABLES, compile_template, is_constant

TERMS = Terms(True, "example.com", "example.com:8080", NO_BODY, 0, True, True, False, b"", None)
BLOCK = Block([], (), TERMS)


def exchange(**changes: Any) -> Any:
    request = Request("GET", "/a?b", "/a", "b=1", True, 1, "example.com", "example.com:8080", BLOCK, b"")
    for name in list(changes):
        if hasattr(request, name):
            setattr(request, name, changes.pop(name))
    values: dict[str, Any] = {
        "request": request, "client_ip": "192.0.2.1", "client_port": 4711, "peer_ip": "198.51.100.1", "scheme": "https",
        "local": ("192.0.2.80", 443), "upstream": "http://10.0.0.1", "request_id": "f" * 32, "tls": None,
        "context": SimpleNamespace(wall_clock=lambda: 784111777.0),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


class FakeTls:
    sni = "example.com"

    def version(self) -> str:
        return "TLSv1.3"

    def getpeercert(self) -> dict[str, Any]:
        return {"subject": ((("organizationName", "Example"),), (("commonName", "joe"),))}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("plain", "plain"),
        ("https://$host$path$query", "https://example.com/a?b=1"),
        ("${scheme}://$authority$request_uri", "https://example.com:8080/a?b=1"),
        ("$client_ip:$client_port via $remote_ip on $local_port", "192.0.2.1:4711 via 198.51.100.1 on 443"),
        ("$$5 and $method", "$5 and GET"),
        ("$time", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("$request_id$upstream", "f" * 32 + "http://10.0.0.1"),
        ("[$sni$tls_version$tls_client_subject]", "[]"),
    ],
)
def test_templates(text: str, value: str) -> None:
    assert compile_template(text)(exchange()) == value


def test_tls_variables() -> None:
    template = compile_template("$sni $tls_version $tls_client_subject")
    assert template(exchange(tls=FakeTls())) == "example.com TLSv1.3 O=Example,CN=joe"


def test_a_query_without_question_mark_is_empty() -> None:
    assert compile_template("$path$query")(exchange(has_query=False, query="")) == "/a"
    assert compile_template("$path$query")(exchange(query="")) == "/a?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$hots", r"no variable \$hots, did you mean \$host\?"),
        ("${nothing_like_it}", "there are"),
        ("costs 5$", r"write \$\$"),
        ("${", r"write \$\$"),
    ],
)
def test_unknown_variables_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_template(text)


def test_no_value_can_end_a_line() -> None:
    hostile = exchange(host="a\r\nSet-Cookie: x\0", client_ip="1\n2")
    assert compile_template("$host|$client_ip")(hostile) == "aSet-Cookie: x|12"


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_gives_text(name: str) -> None:
    assert isinstance(compile_template(f"${name}")(exchange()), str)


def test_constant() -> None:
    assert is_constant("a $$ b")
    assert not is_constant("$host")


BLOCK = b"Content-Type: text/html\r\nX-Old: 1\r\nx-old: 2\r\nVary: Accept\r\n"


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"X-New": "1"}, BLOCK + b"X-New: 1\r\n"),
        ({"X-OLD": "3"}, b"Content-Type: text/html\r\nVary: Accept\r\nX-OLD: 3\r\n"),
        ({"x-old": None}, b"Content-Type: text/html\r\nVary: Accept\r\n"),
        ({"+X-Old": "3"}, BLOCK + b"X-Old: 3\r\n"),
        ({"Set-Cookie": ["a=1", "b=2"]}, BLOCK + b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"),
        ({"X": "$client_ip"}, BLOCK + b"X: 192.0.2.1\r\n"),
        ({"X": "$sni"}, BLOCK),  # nothing to say
        ({"X": ""}, BLOCK + b"X: \r\n"),
        ({"X": "ü"}, BLOCK + b"X: \xc3\xbc\r\n"),
    ],
)
def test_header_changes(changes: dict[str, str | list[str] | None], result: bytes) -> None:
    rewrite = compile_header_map(changes)
    assert rewrite is not None
    assert rewrite(exchange(), BLOCK) == result
    assert rewrite(exchange(), BLOCK) == result


def test_no_changes() -> None:
    assert compile_header_map({}) is None


def test_a_value_with_variables_is_made_for_each_request() -> None:
    rewrite = compile_header_map({"X": "$client_ip"})
    assert rewrite is not None
    assert rewrite(exchange(), b"") == b"X: 192.0.2.1\r\n"
    assert rewrite(exchange(client_ip="::1"), b"") == b"X: ::1\r\n"


@pytest.mark.parametrize(
    "changes",
    [{"": "x"}, {"a b": "x"}, {"a:": "x"}, {"+": "x"}, {"X": "a\r\nb"}, {"X": "a\0"}, {"X": ["ok", "a\nb"]}]
    + [{name: "x"} for name in ("Content-Length", "transfer-encoding", "Connection", "+Upgrade")]
    + [{"X": "$nope"}],
)
def test_what_would_break_messages_is_refused(changes: dict[str, str | list[str] | None]) -> None:
    with pytest.raises(ValueError, match="header"):
        compile_header_map(changes)


def test_only_whole_names_are_removed() -> None:
    assert remove_fields(b"X-A: 1\r\nX-AB: 2\r\n", {b"x-a"}) == b"X-AB: 2\r\n"
    assert remove_fields(b"", {b"x-a"}) == b""
