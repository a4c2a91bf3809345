"""Which rule has a request, by conditions besides host and path, over HTTP/1.1 and HTTP/2, on real connections.

Covers `web.matching.conditions`, `web.matching.front` and `web.matching.router`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.site import Site, site

Rule = dict[str, Any]


def rule(body: str, **keys: Any) -> Rule:
    return {"handler": "respond", "body": body, **keys}


RULES = [
    rule("read", path="/rw", match={"method": ["GET", "HEAD"]}),
    rule("write", path="/rw", match={"method": ["POST", "PURGE"]}),
    rule("canary", path="/h", match={"header": {"X-Canary": ["1", "yes*"]}}),
    rule("absent", path="/h", match={"header": {"X-Canary": False}}),
    rule("other", path="/h"),
    rule("v2", path="/q", match={"query": {"v": "2*", "w": True}}),
    rule("q", path="/q"),
    rule("beta", path="/c", match={"cookie": {"beta": "true"}}),
    rule("c", path="/c"),
    rule("ws", path="/p", match={"protocol": "websocket"}),
    rule("h2", path="/p", match={"protocol": "http/2"}),
    rule("1.0", path="/p", match={"protocol": "http/1.0"}),
    rule("1.1", path="/p", match={"protocol": "http/1.1"}),
    rule("local", path="/f", **{"from": ["127.0.0.0/8"], "not": [{"from": "127.0.0.2", "method": "GET"}]}),
    rule("not local", path="/f"),
    rule("avatar", path="/users/*/avatar"),
    rule("joe", path="/users/joe/**"),
    rule("users", path="/users/**"),
    rule("php", path_regex=r".*\.php"),
    rule("secret", path="/app/admin/**", match={"header": {"X-Key": "k"}}),
    rule("app", path="/app/**"),
    rule("internal", path="/app/**", host="h.example", match={"header": {"X-Key": "k"}}),
    rule("any"),
]


@pytest.fixture
async def running() -> AsyncIterator[Site]:
    async with site(*RULES) as found:
        yield found


async def told(running: Site, head: str) -> str:
    """Return the body for a head that is given without its end; asked twice, as the second one comes from the cache."""
    client = await running.connect()
    bodies = set()
    for _ in range(4):
        client.writer.write(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
        reply = await client.read()
        bodies.add(reply.body.decode() if reply.status == 200 else str(reply.status))
        if reply.status >= 400 or "close" in reply.all("Connection") or " HTTP/1.0" in head:
            client.close()
            client = await running.connect()
    client.close()
    assert len(bodies) == 1
    return bodies.pop()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("GET /rw HTTP/1.1", "read"),
        ("POST /rw HTTP/1.1\nContent-Length: 0", "write"),
        ("PURGE /rw HTTP/1.1", "write"),
        ("PUT /rw HTTP/1.1\nContent-Length: 0", "any"),
        ("get /rw HTTP/1.1", "any"),
        ("GET /h HTTP/1.1\nx-canary: 1", "canary"),
        ("GET /h HTTP/1.1\nX_Canary: 1", "canary"),
        ("GET /h HTTP/1.1\nX-Canary: 0\nX-Canary: 1", "canary"),
        ("GET /h HTTP/1.1\nX-Canary: 0\nX_Canary: yes!", "canary"),
        ("GET /h HTTP/1.1\nX-Canary: 0, 1", "other"),
        ("GET /h HTTP/1.1\nX-Canary: ", "other"),
        ("GET /h HTTP/1.1", "absent"),
        ("GET /q?v=2&w HTTP/1.1", "v2"),
        ("GET /q?w=&%76=%32%35 HTTP/1.1", "v2"),
        ("GET /q?v=1&v=2&w=x HTTP/1.1", "v2"),
        ("GET /q?v=2 HTTP/1.1", "q"),
        ("GET /q?V=2&w=1 HTTP/1.1", "q"),
        ("GET /q?xv=2&w=1 HTTP/1.1", "q"),
        ("GET /q HTTP/1.1", "q"),
        ("GET /c HTTP/1.1\nCookie: a=b; beta=true", "beta"),
        ('GET /c HTTP/1.1\nCookie: beta="true"', "beta"),
        ("GET /c HTTP/1.1\nCookie: a=b\nCookie: beta=true", "beta"),
        ("GET /c HTTP/1.1\nCookie: a=beta=true; xbeta=true", "c"),
        ("GET /c HTTP/1.1\nX-Cookie: beta=true", "c"),
        ("GET /p HTTP/1.1\nConnection: upgrade\nUpgrade: WebSocket", "ws"),
        ("GET /p HTTP/1.1\nConnection: upgrade\nUpgrade: h2c, websocket", "ws"),
        ("GET /p HTTP/1.1\nUpgrade: websocket", "1.1"),
        ("POST /p HTTP/1.1\nConnection: upgrade\nUpgrade: websocket\nContent-Length: 0", "1.1"),
        ("GET /p HTTP/1.1\nConnection: upgrade\nUpgrade: xwebsocket", "1.1"),
        ("GET /p HTTP/1.0\nConnection: keep-alive", "1.0"),
        ("GET /f HTTP/1.1", "local"),
        ("GET /users/jane/avatar HTTP/1.1", "avatar"),
        ("GET /users/joe/avatar HTTP/1.1", "joe"),
        ("GET /users/a%2Fb/avatar HTTP/1.1", "avatar"),
        ("GET /users/a/b/avatar HTTP/1.1", "users"),
        ("GET /users/x/%2e%2e/avatar HTTP/1.1", "users"),
        ("GET /users//avatar HTTP/1.1", "users"),
        ("GET /users/x/avatar/ HTTP/1.1", "users"),
        ("GET /users/x\\avatar HTTP/1.1", "400"),
        ("GET /x/index.php HTTP/1.1", "php"),
        ("GET /x/index%2Ephp HTTP/1.1", "php"),
        ("GET /x/index.phpx HTTP/1.1", "any"),
        ("GET /app/admin/x HTTP/1.1\nX-Key: k", "secret"),
        ("GET /app/admin/x HTTP/1.1\nX-Key: no", "app"),
        ("GET /app%2Fadmin/x HTTP/1.1\nX-Key: k", "any"),
        ("GET /app//admin/./x HTTP/1.1\nX-Key: k", "secret"),
        ("GET /app/x HTTP/1.1\nHost: h.example\nX-Key: k", "internal"),
        ("GET /app/x HTTP/1.1\nHost: h.example\nX-Key: no", "app"),
        ("GET /app/admin/x HTTP/1.1\nHost: h.example\nX-Key: k", "internal"),
    ],
)
async def test_the_first_rule_whose_conditions_hold_has_the_request(running: Site, head: str, expected: str) -> None:
    if "Host:" not in head:
        head += "\nHost: localhost"
    assert await told(running, head) == expected


async def test_none_is_left() -> None:
    async with site(rule("only", match={"query": {"a": "1"}})) as running:
        assert (await running.ask("/?a=1")).body == b"only"
        assert (await running.ask("/")).status == 404


async def test_the_address_is_the_clients_of_a_trusted_proxy() -> None:
    rules = [rule("office", **{"from": "192.0.2.0/24"}), rule("others")]
    async with site(*rules, trusted_proxies=["127.0.0.1"]) as running:
        for _ in range(3):
            assert (await running.ask("/", X_Forwarded_For="192.0.2.7")).body == b"office"
            assert (await running.ask("/", X_Forwarded_For="192.0.2.7, 198.51.100.1")).body == b"others"
            assert (await running.ask("/", "POST", b"x", X_Forwarded_For="192.0.2.7")).body == b"office"


async def test_the_limit_of_a_body_is_that_of_the_chosen_rule() -> None:
    rules = [
        rule("large", max_body_size=100, match={"header": {"X-Large": True}}),
        rule("local", max_body_size=50, **{"from": "127.0.0.1", "match": {"header": {"X-Local": True}}}),
        rule("small", max_body_size=10),
    ]
    async with site(*rules) as running:
        assert (await running.ask("/", "POST", b"x" * 100, X_Large="1")).body == b"large"
        assert (await running.ask("/", "POST", b"x" * 50, X_Local="1")).body == b"local"
        assert (await running.ask("/", "POST", b"x" * 51, X_Local="1")).status == 413
        assert (await running.ask("/", "POST", b"x" * 11)).status == 413
        assert (await running.ask("/", "POST", b"x" * 10)).body == b"small"


async def test_gates_and_headers_are_those_of_the_chosen_rule() -> None:
    rules = [
        rule("a", match={"query": {"a": True}}, deny="127.0.0.1", response_headers={"X-Rule": "a"}),
        rule("b", **{"from": "127.0.0.1"}, response_headers={"X-Rule": "b"}),
    ]
    async with site(*rules) as running:
        for _ in range(3):
            reply = await running.ask("/?a")
            assert (reply.status, reply["X-Rule"]) == (403, "a")
            reply = await running.ask("/")
            assert (reply.status, reply["X-Rule"]) == (200, "b")


async def test_a_directory_is_redirected_by_the_rule_that_has_it(tmp_path: Path) -> None:
    """The slash is added where the conditions of the rule hold, and nowhere else."""
    upstream = {"handler": "proxy", "path": "/app/**", "proxy_pass": "http://127.0.0.1:9", "strip_prefix": True}
    rules = [
        rule("post", path="/app/**", match={"method": "POST"}),
        {**upstream, "match": {"method": "GET"}},
        rule("x"),
    ]
    async with site(*rules) as running:
        assert (await running.ask("/app"))["Location"] == "/app/"
        assert (await running.ask("/app", "POST", b"x")).body == b"post"
        assert (await running.ask("/app", "DELETE")).body == b"x"


async def test_files_of_a_pattern_lie_below_its_first_star(tmp_path: Path) -> None:
    (tmp_path / "joe" / "pub").mkdir(parents=True)
    (tmp_path / "joe" / "pub" / "f.txt").write_text("joe's")
    (tmp_path / "joe" / "key").write_text("secret")
    async with site({"handler": "static", "path": "/users/*/pub/**", "root": str(tmp_path)}) as running:
        for _ in range(3):
            assert (await running.ask("/users/joe/pub/f.txt")).body == b"joe's"
        assert (await running.ask("/users/joe/key")).status == 404
        assert (await running.ask("/users/joe/pub/../key")).status == 404


@pytest.mark.parametrize("refuses_by", [{}, {"match": {"header": {"X-Open": False}}}])
async def test_a_long_path_is_no_way_around_a_rule_that_refuses(
    refuses_by: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    refusing = {"handler": "respond", "status": 403, "path_regex": r"/(admin|intern)/.*", "name": "closed"}
    async with site({**refusing, **refuses_by}, rule("app"), rule("open", path="/open/**")) as running:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
            assert (await client.get("/admin/x")).status_code == 403
            long = "/admin/users;a=" + "a" * 1024
            assert (await client.get(long)).status_code == 414
            assert (await client.get("/open/" + "a" * 1024)).text == "open"
            assert (await client.get("/x?" + "a" * 1024)).text == "app"
            if refuses_by:
                assert (await client.get(long, headers={"X-Open": "1"})).text == "app"
    assert "path of more than 1024 characters, which no regular expression is compared with" in caplog.text
    assert "(dispatch[0].path_regex, rule 'closed')" in caplog.text


async def test_the_log_names_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    rules = [rule("a", name="the office", deny="127.0.0.1", match={"query": {"a": True}}), rule("b", deny="127.0.0.1")]
    with caplog.at_level(logging.INFO, "npserver.http"):
        async with site(*rules) as running:
            assert (await running.ask("/?a")).status == 403
            assert (await running.ask("/")).status == 403
    lines = [one.getMessage() for one in caplog.records]
    assert any(line.endswith("(dispatch[0].deny, rule 'the office')") for line in lines)
    assert any(line.endswith("(dispatch[1].deny)") for line in lines)


async def test_a_rule_with_conditions_keeps_the_fast_ways() -> None:
    """Once its head is cached, a request is answered from memory: no exchange is made."""
    async with site(rule("canary", match={"header": {"X-Canary": "1"}}), rule("all")) as running:
        client = await running.connect()
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Canary: 1\r\n\r\n"
        for _ in range(3):
            client.writer.write(head)
            assert (await client.read()).body == b"canary"
        client.close()
        (front,) = running.server._single.data_plane.runtime.fronts.values()
        _, route = front.heads[head]
        assert route.prepared is not None
        assert route.by_head is None


async def test_http2_requests_are_told_apart(certificates: Callable[..., Any]) -> None:
    """Cookies come in several fields; the protocol and the connection are those of HTTP/2."""
    certificate = certificates()
    rules = [
        rule("secure", path="/s", match={"protocol": "https"}),
        rule("local", path="/limit", max_body_size=50, **{"from": "127.0.0.1"}),
        rule("small", path="/limit", max_body_size=10),
        *RULES,
    ]
    config = {"listen": ["https://127.0.0.1:0"], "tls": certificate.config}
    async with site(*rules, **config) as running:
        url, trust = running.url, certificate.client()
        async with httpx.AsyncClient(base_url=url, http2=True, verify=trust) as client:
            for _ in range(3):
                assert (await client.get("/p")).text == "h2"
                cookies = [("cookie", "a=b"), ("cookie", "beta=true")]
                assert (await client.get("/c", headers=cookies)).text == "beta"
                assert (await client.get("/h", headers={"x-canary": "1"})).text == "canary"
                assert (await client.post("/rw", content=b"x")).text == "write"
                assert (await client.get("/f")).text == "local"
                assert (await client.post("/f", content=b"x")).text == "local"
                assert (await client.get("/s")).text == "secure"
                assert (await client.get("/users/jane/avatar")).text == "avatar"
                assert (await client.post("/limit", content=b"x" * 50)).text == "local"
                assert (await client.post("/limit", content=b"x" * 51)).status_code == 413
        async with httpx.AsyncClient(base_url=url, verify=trust) as client:
            assert (await client.get("/p")).text == "1.1"
            assert (await client.get("/s")).text == "secure"
