"""Templates with variables."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.http.request import HeaderBlock
from npserver.web.variables import VARIABLES, compile_template, is_constant
from tests.stage.exchanges import VALUES, exchange


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
        ("[$header.user-agent|${header.X-Names}.html|$header.missing]", "[test|é, b.html|]"),
        ("$header.broken", "a\ufffd"),
    ],
)
def test_variables_are_filled_in(text: str, value: str) -> None:
    lines = [b"User-Agent: test", "X-Names: é".encode(), b"x-names:b", b"Broken: a\xff"]
    assert compile_template(text)(exchange(block=HeaderBlock(lines, (), VALUES))) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$query.a", "1 2é"),
        ("${query.b}|$query.c|$query.missing|${query.d.e}", "first|||dotted"),
        ("$query.a.html", "1 2é.html"),
        ("$query.nul", "xSet-Cookie: y\t"),
        ("$cookie.sid|${cookie.SID}|$cookie.quoted|$cookie.missing", "one|two|a b|"),
    ],
)
def test_cookies_and_parameters_are_filled_in(text: str, value: str) -> None:
    lines = [b'Cookie: sid=one; SID=two; sid=three; quoted="a b"; broken']
    query = "a=1+2%c3%A9&b=first&b=second&c&d%2Ee=dotted&nul=x%0d%0aSet-Cookie:+y%00%09%1b%7f"
    assert compile_template(text)(exchange(block=HeaderBlock(lines, (), VALUES), query=query)) == value


def test_tls_variables_are_filled_in() -> None:
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
        ("$http_user_agent", r"did you mean \$header.user-agent\?"),
        ("$cookie_sid", r"did you mean \$cookie.sid\?"),
        ("$remote_addr", r"did you mean \$client_ip\?"),
        ("$http_host", r"did you mean \$authority\?"),
        ("$request_time", r"no variable \$request_time"),  # only logs have its counterpart
        ("$request", r"no variable \$request, did you mean \$request_id"),  # $target, neither
        ("$arg_page", r"did you mean \$query.page\?"),
        ("${cookie.}", r"no variable \$cookie\."),
        ("$header", r"no variable \$header"),
        ("${header.}", r"no variable \$header\."),
        ("costs 5$", r"write \$\$"),
        ("${", r"write \$\$"),
    ],
)
def test_unknown_variables_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_template(text)


def test_only_logs_know_the_response() -> None:
    with pytest.raises(ValueError, match=r"no variable \$response\.etag here: only access logs know the response"):
        compile_template("$response.etag")


def test_no_value_can_end_a_line() -> None:
    hostile = exchange(host="a\r\nSet-Cookie: x\0", client_ip="1\n2")
    assert compile_template("$host|$client_ip")(hostile) == "aSet-Cookie: x|12"


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_gives_text(name: str) -> None:
    assert isinstance(compile_template(f"${name}")(exchange()), str)


def test_a_text_without_variables_is_constant() -> None:
    assert is_constant("a $$ b")
    assert not is_constant("$host")
