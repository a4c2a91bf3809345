"""Rate limits of rules on each way that a request can take: from memory, passed on directly, with an exchange."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.site import site


@pytest.mark.parametrize("key", ["$client_ip", "$header.host", "all", "$scheme"])
@pytest.mark.parametrize("kind", ["static", "respond", "proxy"])
async def test_each_request_is_counted_once(tmp_path: Path, free_port: Callable[[], int], kind: str, key: str) -> None:
    """Also one that a fast path begins with and leaves to an exchange, as no target is up."""
    (tmp_path / "a").write_text("hello")
    dead = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    rules: dict[str, dict[str, Any]] = {
        "static": {"handler": "static", "root": str(tmp_path)},
        "respond": {"handler": "respond"},
        "proxy": {"handler": "proxy", "proxy_pass": "upstream://dead"},
    }
    rule = {**rules[kind], "rate_limit": {"rate": "1/h", "burst": 5, "key": key}}
    async with site(rule, upstreams={"dead": {"targets": dead}}) as one:
        passing = 503 if kind == "proxy" else 200
        statuses = [(await one.ask("/a")).status for _ in range(8)]
        assert [502 if status == passing == 503 else status for status in statuses][-3:] == [429] * 3
        assert statuses.count(429) == 3
        client = await one.connect()
        assert [(await client.ask("/a")).status for _ in range(2)] == [429] * 2
        client.close()


@pytest.mark.parametrize("further", [{}, {"bandwidth": "4m"}])
async def test_an_answer_from_the_cache_is_counted(further: dict[str, Any]) -> None:
    body = "x" * 100_000
    upstream = {"handler": "respond", "body": body, "headers": {"Cache-Control": "max-age=60"}}
    async with site(upstream) as behind:
        rule = {"handler": "proxy", "proxy_pass": behind.url, "cache": True, "rate_limit": "4/h", **further}
        async with site(rule) as one:
            replies = [await one.ask("/") for _ in range(6)]
            assert [reply.status for reply in replies] == [200] * 4 + [429] * 2
            assert {reply.body for reply in replies[:4]} == {body.encode()}
            assert "Age" in replies[3]


async def test_clients_of_trusted_proxies_count_by_their_own_addresses() -> None:
    rule = {"handler": "respond", "rate_limit": "1/h"}
    async with site(rule, trusted_proxies="127.0.0.0/8") as one:
        asked = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
        statuses = [(await one.ask("/", **{"X-Forwarded-For": client})).status for client in asked]
        assert statuses == [200, 200, 429, 200, 429, 200]


async def test_who_is_denied_counts_nothing_and_guesses_at_passwords_count() -> None:
    rules: list[dict[str, Any]] = [
        {"handler": "respond", "path": "/denied", "deny": "127.0.0.1", "rate_limit": "one"},
        {"handler": "respond", "path": "/private", "basic_auth": {"users": {}}, "rate_limit": "one"},
    ]
    async with site(*rules, rate_limits={"one": {"rate": "1/h"}}) as one:
        assert [(await one.ask("/denied")).status for _ in range(3)] == [403] * 3
        assert [(await one.ask("/private")).status for _ in range(3)] == [401, 429, 429]


async def test_pipelined_requests_count_one_by_one() -> None:
    async with site({"handler": "respond", "rate_limit": "3/h"}) as one:
        client = await one.connect()
        client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        assert [(await client.read()).status for _ in range(5)] == [200] * 3 + [429] * 2
        client.close()


async def test_an_error_page_of_our_own_is_sent_with_the_fields(tmp_path: Path) -> None:
    (tmp_path / "slow.html").write_text("slow down")
    rule = {"handler": "respond", "rate_limit": "1/m", "error_pages": {"429": str(tmp_path / "slow.html")}}
    async with site(rule) as one:
        await one.ask("/")
        reply = await one.ask("/")
        assert (reply.status, reply.body) == (429, b"slow down")
        assert reply["Retry-After"] == "60"
        assert reply["RateLimit-Policy"] == '"default";q=1;w=60'
        assert reply["RateLimit"] == '"default";r=0;t=60'
