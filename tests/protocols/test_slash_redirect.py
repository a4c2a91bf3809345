"""An application below a path: `/app` leads to `/app/`, by HTTP/1.1 and HTTP/2.

Covers `web.slash_redirect`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import npserver
from tests.protocols.proxying import Connection, Origin, ok
from tests.stage.programs import needs_localhost

MOUNTED = {"handler": "proxy", "path": "/app/**", "strip_prefix": True}


async def echo_path(connection: Connection) -> None:
    """Answer with the method and the path of each request."""
    while head := await connection.head():
        await connection.send(ok(b" ".join(head.split()[:2])))


@asynccontextmanager
async def asking(*rules: dict[str, Any], **config: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a server with these rules; proxy rules lead to an application that says what it was asked."""
    async with Origin(echo_path) as origin:
        config = {
            "listen": [{"name": "in", "uri": "http://127.0.0.1:0"}],
            "dispatch": [
                {"proxy_pass": origin.url, **rule} if rule["handler"] == "proxy" else rule for rule in rules
            ],
            **config,
        }  # fmt: skip
        async with (
            npserver.serve(config, shutdown_s=0) as server,
            httpx.AsyncClient(base_url=server.url()) as client,
        ):
            yield client


async def outcome(client: httpx.AsyncClient, url: str, method: str = "GET", **fields: str) -> str:
    """Return where a request is redirected to, or else what it was answered."""
    answer = await client.request(method, url, headers=fields)
    return f"301 {answer.headers['location']}" if answer.status_code == 301 else answer.text


class TestRedirects:
    @pytest.mark.parametrize(
        ("url", "result"),
        [
            ("/app", "301 /app/"),
            ("/app?q=1&r=%20", "301 /app/?q=1&r=%20"),
            ("/app?", "301 /app/?"),
            ("/%61pp", "301 /app/"),
            ("/app/", "GET /"),
            ("/app/x", "GET /x"),
            ("/apps", "none"),
        ],
    )
    async def test_the_prefix_alone_is_redirected_with_its_query(self, url: str, result: str) -> None:
        async with asking(MOUNTED, {"handler": "respond", "body": "none"}) as client:
            for _ in range(3):  # from the cache of heads too
                assert await outcome(client, url) == result

    @pytest.mark.parametrize(
        ("method", "result"), [("HEAD", "301 /app/"), ("POST", "POST /"), ("OPTIONS", "OPTIONS /")]
    )
    async def test_methods_that_show_no_page_are_forwarded(self, method: str, result: str) -> None:
        async with asking(MOUNTED) as client:
            assert await outcome(client, "/app", method) == result

    @pytest.mark.parametrize(
        "rule",
        [
            {"redirect_to_slash": False},
            {"strip_prefix": "/ap"},
            {"strip_prefix": False},
            {"path": "/app"},
            {"path": "/**"},
            {"path": "/**", "strip_prefix": "/app"},
        ],
        ids=[
            "the key says no",
            "another prefix",
            "none",
            "a path without a star",
            "all paths",
            "the prefix of no rule",
        ],
    )
    async def test_what_is_not_the_root_of_a_mounted_application_is_forwarded(self, rule: dict[str, Any]) -> None:
        async with asking({**MOUNTED, **rule}) as client:
            assert (await outcome(client, "/app")).startswith("GET /")

    async def test_a_prefix_that_is_written_out_is_redirected_too(self) -> None:
        async with asking({**MOUNTED, "path": "/a b/*", "strip_prefix": "/a%20b"}) as client:
            assert await outcome(client, "/a%20b") == "301 /a%20b/"

    async def test_a_path_with_escapes_is_stripped(self) -> None:
        async with asking({**MOUNTED, "path": "/a b/*"}) as client:
            assert await outcome(client, "/a%20b") == "301 /a%20b/"
            assert await outcome(client, "/a%20b/c") == "GET /c"

    async def test_a_static_rule_does_the_same_for_its_directory(self, tmp_path: Any) -> None:
        (tmp_path / "index.html").write_text("page")
        async with asking({"handler": "static", "path": "/app/**", "root": str(tmp_path)}) as client:
            assert await outcome(client, "/app?q") == "301 /app/?q"
            assert await outcome(client, "/app/") == "page"


class TestOtherRules:
    @pytest.mark.parametrize("first", [True, False])
    async def test_a_rule_for_the_path_itself_is_used(self, first: bool) -> None:
        own = {"handler": "respond", "path": "/app", "body": "own"}
        async with asking(*([own, MOUNTED] if first else [MOUNTED, own])) as client:
            assert await outcome(client, "/app") == "own"

    async def test_of_two_rules_for_the_same_paths_the_first_decides(self) -> None:
        async with asking({"handler": "respond", "path": "/app/**", "body": "first"}, MOUNTED) as client:
            assert await outcome(client, "/app") == "first"

    async def test_a_rule_for_another_host_is_not_affected(self) -> None:
        own = {"handler": "respond", "host": "b.test", "body": "own"}
        async with asking({**MOUNTED, "host": "*.a.test"}, own) as client:
            assert await outcome(client, "/app", Host="x.a.test") == "301 /app/"
            assert await outcome(client, "/app", Host="b.test") == "own"

    async def test_middleware_of_the_rule_stands_before_the_redirect(self) -> None:
        rule = {**MOUNTED, "deny": "127.0.0.1", "response_headers": {"X-Rule": "7"}}
        async with asking(rule) as client:
            answer = await client.get("/app")
        assert answer.status_code == 403
        rule = {**MOUNTED, "response_headers": {"X-Rule": "7"}}
        async with asking(rule) as client:
            answer = await client.get("/app")
        assert (answer.status_code, answer.headers["x-rule"]) == (301, "7")


async def test_a_websocket_at_the_prefix_is_not_redirected() -> None:
    """Browsers follow no redirect of a WebSocket."""
    async with asking(MOUNTED) as client:
        assert await outcome(client, "/app", Connection="Upgrade", Upgrade="websocket") == "GET /"
        assert await outcome(client, "/app", Connection="Upgrade", Upgrade="h2c") == "301 /app/"  # curl --http2


@needs_localhost
async def test_http2_is_redirected(certificates: Callable[..., Any]) -> None:
    certificate = certificates()
    trust = ssl.create_default_context(cafile=str(certificate.ca))
    listen = [{"name": "in", "uri": "https://127.0.0.1:0"}]
    async with asking(MOUNTED, listen=listen, tls=certificate.config) as client:
        url = f"https://localhost:{client.base_url.port}"
        async with httpx.AsyncClient(base_url=url, http2=True, verify=trust) as http2:
            answer = await http2.get("/app?q")
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 301)
            assert answer.headers["location"] == "/app/?q"
            assert await outcome(http2, "/app", "POST") == "POST /"
