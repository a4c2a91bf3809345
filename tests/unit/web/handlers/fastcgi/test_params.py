"""The variables of scripts: what they are, and what a client cannot make of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from npserver.http.request_parser import HeadLimits, parse_head
from npserver.networks import Networks, parse_network
from npserver.web.handlers.fastcgi.params import Params
from npserver.web.handlers.fastcgi.scripts import Script
from npserver.web.variables import compile_template
from tests.stage.exchanges import exchange
from tests.stage.fastcgi import pairs

SCRIPT = Script(b"/shop/a.php", b"/a.php", b"/info")
PEER = "198.51.100.1"
TRUSTED = Networks([parse_network(PEER)])


def params(
    fields: str = "", line: str = "GET /shop/a.php/info?x=%20&y HTTP/1.1", *, env: dict[str, str] | None = None,
    trusted: Any = None, length: int | None = None, **changes: Any,
) -> dict[str, str]:  # fmt: skip
    """Return the variables for a request with these field lines."""
    head = f"{line}\r\nHost: Example.com:8080\r\n{fields}\r\n"
    request = parse_head(head.encode("latin-1"), HeadLimits(9000, 99, 9999))
    one = exchange(request=request, **{"client_ip": PEER, **changes})
    templates = {name.encode(): compile_template(text) for name, text in (env or {}).items()}
    return read(Params(b"/srv/shop", templates, trusted), one, length)


def read(params: Params, one: Any, length: int | None = None) -> dict[str, str]:
    """Return the variables that are sent for a request."""
    found = pairs(params.write(one, SCRIPT, length))
    return {name.decode(): value.decode("latin-1") for name, value in found.items()}


def test_they_are_those_of_cgi() -> None:
    assert params("Accept: a/b\r\n") == {
        "SCRIPT_FILENAME": "/srv/shop/a.php",
        "SCRIPT_NAME": "/shop/a.php",
        "PATH_INFO": "/info",
        "DOCUMENT_ROOT": "/srv/shop",
        "DOCUMENT_URI": "/shop/a.php",
        "REQUEST_URI": "/shop/a.php/info?x=%20&y",
        "QUERY_STRING": "x=%20&y",
        "REQUEST_METHOD": "GET",
        "REQUEST_SCHEME": "https",
        "HTTPS": "on",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.com",
        "SERVER_ADDR": "192.0.2.80",
        "SERVER_PORT": "443",
        "SERVER_SOFTWARE": "npserver",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REDIRECT_STATUS": "200",
        "REMOTE_ADDR": PEER,
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "Example.com:8080",
        "HTTP_ACCEPT": "a/b",
    }


def test_plain_http_has_no_variable_https() -> None:
    assert "HTTPS" not in params(scheme="http")


def test_a_question_mark_alone_is_kept() -> None:
    found = params(line="GET /a.php? HTTP/1.1")
    assert (found["REQUEST_URI"], found["QUERY_STRING"]) == ("/a.php?", "")


@pytest.mark.parametrize(
    ("fields", "line", "length", "expected"),
    [
        ("Content-Length: 5\r\nContent-Type: a/b\r\n", "POST / HTTP/1.1", None, ("5", "a/b")),
        ("Content-Length: 0\r\n", "POST / HTTP/1.1", None, ("0", None)),
        ("", "POST / HTTP/1.1", None, ("0", None)),
        ("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.1", 7, ("7", None)),
        ("", "GET / HTTP/1.1", None, (None, None)),
        ("Content-Length: 3\r\n", "DELETE / HTTP/1.1", None, ("3", None)),
    ],
)
def test_a_body_is_described_once(fields: str, line: str, length: int | None, expected: tuple[str | None, ...]) -> None:
    found = params(fields, line, length=length)
    assert (found.get("CONTENT_LENGTH"), found.get("CONTENT_TYPE")) == expected
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"} & found.keys()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Proxy: http://evil", "HTTP_PROXY"),
        ("proxy: http://evil", "HTTP_PROXY"),
        ("X_Real_IP: 1", "HTTP_X_REAL_IP"),
        ("X-Real_IP: 1", "HTTP_X_REAL_IP"),
        ("X.Forwarded.For: 1", "HTTP_X_FORWARDED_FOR"),
        ("Remote_Addr: 1", "HTTP_REMOTE_ADDR"),
        ("Content_Length: 1", "HTTP_CONTENT_LENGTH"),
        ("Connection: x", "HTTP_CONNECTION"),
        ("Keep-Alive: 1", "HTTP_KEEP_ALIVE"),
        ("TE: trailers", "HTTP_TE"),
        ("Proxy-Authorization: x", "HTTP_PROXY_AUTHORIZATION"),
        ("Upgrade: x", "HTTP_UPGRADE"),
        ("X-Forwarded-For: 1", "HTTP_X_FORWARDED_FOR"),
        ("X-Forwarded-Proto: https", "HTTP_X_FORWARDED_PROTO"),
        ("X-Real-IP: 1", "HTTP_X_REAL_IP"),
        ("Forwarded: for=1", "HTTP_FORWARDED"),
        ("HTTPS: on", "HTTPS"),
    ],
)
def test_some_fields_are_not_passed_on(line: str, name: str) -> None:
    assert name not in params(f"{line}\r\n", scheme="http")


def test_others_are_with_repeated_ones_joined() -> None:
    found = params("X-One: a\r\nx-one: b\r\nCookie: a=1\r\nCookie: b=2\r\nAuthorization: Bearer x\r\n")
    assert found["HTTP_X_ONE"] == "a, b"
    assert found["HTTP_COOKIE"] == "a=1; b=2"
    assert found["HTTP_AUTHORIZATION"] == "Bearer x"


class TestTrustedProxies:
    FIELDS = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"

    def test_their_word_counts(self) -> None:
        found = params(self.FIELDS, trusted=TRUSTED, scheme="http", client_ip="203.0.113.9", peer_ip=PEER)
        assert found["REMOTE_ADDR"] == "203.0.113.9"
        assert "REMOTE_PORT" not in found  # it is the proxy's
        assert (found["HTTPS"], found["REQUEST_SCHEME"]) == ("on", "https")
        assert found["SERVER_PORT"] == "8080"  # of the Host field, which the proxy has kept
        assert found["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"

    def test_the_port_is_that_of_the_scheme_if_none_is_named(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n"
        one = exchange(request=parse_head(head, HeadLimits(900, 9, 999)), scheme="http", peer_ip=PEER)
        assert read(Params(b"", {}, TRUSTED), one)["SERVER_PORT"] == "443"

    def test_a_proxy_may_say_that_the_client_spoke_plain_http(self) -> None:
        found = params("X-Forwarded-Proto: http\r\n", trusted=TRUSTED, scheme="https")
        assert "HTTPS" not in found
        assert found["REQUEST_SCHEME"] == "http"

    def test_others_are_not_believed(self) -> None:
        found = params(self.FIELDS, trusted=TRUSTED, scheme="http", peer_ip="198.51.100.2", client_ip="198.51.100.2")
        assert (found["REMOTE_ADDR"], found["SERVER_PORT"]) == ("198.51.100.2", "443")
        assert not {"HTTPS", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"} & found.keys()


def test_fields_of_our_middleware_are_passed_on() -> None:
    request = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-User: alice\r\n\r\n", HeadLimits(900, 9, 999))
    request.block.own = frozenset({b"x-forwarded-user"})
    assert read(Params(b"", {}, None), exchange(request=request))["HTTP_X_FORWARDED_USER"] == "alice"


def test_the_user_is_the_one_who_was_let_in() -> None:
    assert params("Authorization: Basic YTpi\r\n").get("REMOTE_USER") is None
    assert params(user="alice")["REMOTE_USER"] == "alice"


def test_the_rules_own_variables_win() -> None:
    env = {"APP_ENV": "production", "SERVER_NAME": "shop", "HTTP_X_A": "ours", "CLIENT": "$client_ip:$client_port"}
    found = params("X-A: theirs\r\n", env=env)
    assert (found["APP_ENV"], found["SERVER_NAME"], found["HTTP_X_A"]) == ("production", "shop", "ours")
    assert found["CLIENT"] == f"{PEER}:4711"


def test_clients_of_unix_sockets_have_no_address() -> None:
    found = params(client_ip="unix:", peer_ip="unix:", local=("", 0), client_port=0)
    assert (found["REMOTE_ADDR"], found["SERVER_NAME"]) == ("unix:", "example.com")


def test_the_trace_of_a_request_takes_the_place_of_what_its_client_says() -> None:
    """A block of fields is shared by requests with and without a trace, and by those whose trace goes on or not."""
    fields = "traceparent: theirs\r\ntracestate: a=b\r\n"
    request = parse_head(f"GET /shop/a.php HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode(), HeadLimits(9000, 99, 9999))
    one = Params(b"/srv/shop", {}, None)

    def seen(trace: Any) -> tuple[str | None, str | None]:
        found = read(one, exchange(request=request, trace=trace))
        return found.get("HTTP_TRACEPARENT"), found.get("HTTP_TRACESTATE")

    ours = SimpleNamespace(traceparent=lambda: b"ours", replaced=frozenset({b"traceparent", b"tracestate"}))
    going_on = SimpleNamespace(traceparent=lambda: b"ours", replaced=frozenset({b"traceparent"}))
    for _ in range(2):
        assert seen(None) == ("theirs", "a=b")
        assert seen(ours) == ("ours", None)
        assert seen(going_on) == ("ours", "a=b")
