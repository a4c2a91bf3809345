"""Redirects by tables: of the config, and of CSV files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

REST = {"handler": "respond", "body": "the site"}


@asynccontextmanager
async def asking(*rules: dict[str, Any]) -> AsyncIterator[Callable[..., Any]]:
    async with (
        npserver.serve({"listen": ["http://127.0.0.1:0"], "dispatch": list(rules)}, shutdown_s=0) as server,
        httpx.AsyncClient() as client,
    ):

        async def ask(path: str, **fields: str) -> tuple[int, str]:
            answer = await client.get(server.url() + path, headers=fields)
            return answer.status_code, answer.headers.get("location", answer.text)

        yield ask


async def test_moved_paths_lead_to_new_ones_and_all_others_to_other_rules() -> None:
    moved = {"/old": "/new", "/a b/ü": "https://b.example/$query.id", "/q": "/new$query", "/host": "//$host/x"}
    async with asking(REST, {"handler": "redirect", "moved": moved, "status": 301}) as ask:
        assert await ask("/old?x=1") == (301, "/new")
        assert await ask("/a%20b/%c3%bc?id=1%2F2") == (301, "https://b.example/1%2F2")
        assert await ask("/q?x=1") == (301, "/new?x=1")
        assert await ask("/host", Host="a.example:80") == (301, "//a.example/x")
        for path in ("/", "/old/", "/older", "/OLD", "/x/old"):
            assert await ask(path) == (200, "the site")


async def test_a_more_specific_rule_does_not_hide_a_moved_path_and_other_paths_have_the_url_of_the_rule() -> None:
    rules = [
        {"handler": "redirect", "host": "old.test", "moved": {"/blog/1": "/b/1"}, "to": "https://new.test$path"},
        {"handler": "respond", "host": "old.test", "path": "/blog/**", "body": "the blog"},
    ]
    async with asking(*rules) as ask:
        assert await ask("/blog/1", Host="old.test") == (308, "/b/1")
        assert await ask("/blog/2", Host="old.test") == (200, "the blog")
        assert await ask("/else", Host="old.test") == (308, "https://new.test/else")
        assert (await ask("/blog/1", Host="other.test"))[0] == 404


async def test_lines_of_a_file(tmp_path: Path) -> None:
    text = (
        '\ufeff# comment\r\n/a,/b\r\n\r\n"/with,comma", "https://c.example/?a=1,2", 302\r\n/c , /d\r\n/price,/$$5\r\n'
    )
    (tmp_path / "moved.csv").write_text(text, encoding="utf-8", newline="")
    async with asking(REST, {"handler": "redirect", "moved": str(tmp_path / "moved.csv")}) as ask:
        assert await ask("/a") == (308, "/b")
        assert await ask("/with,comma") == (302, "https://c.example/?a=1,2")
        assert await ask("/c") == (308, "/d")
        assert await ask("/price") == (308, "/$5")


async def test_conditions_hold_for_moved_paths_too() -> None:
    rule = {"handler": "redirect", "moved": {"/old": "/new"}, "match": {"method": "GET", "query": {"go": True}}}
    async with asking(rule, REST) as ask:
        assert await ask("/old?go") == (308, "/new")
        assert await ask("/old") == (200, "the site")


async def test_ten_thousand_lines_are_found_as_one(tmp_path: Path) -> None:
    (tmp_path / "moved.csv").write_text("".join(f"/old/{number},/new/{number}\n" for number in range(10_000)))
    async with asking(REST, {"handler": "redirect", "moved": str(tmp_path / "moved.csv")}) as ask:
        assert await ask("/old/9999") == (308, "/new/9999")
        assert await ask("/old/10000") == (200, "the site")


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    monkeypatch.chdir(tmp_path)

    def run(**rule: Any) -> list[str]:
        config = {"listen": ["http://127.0.0.1:0"], "dispatch": [{"handler": "redirect", **rule}]}
        try:
            return [str(one) for one in dry_run(load_text(json.dumps(config), "config"), Directory()).warnings]
        except ConfigError as error:
            return [str(problem) for problem in error.problems]

    yield run
    asyncio.set_event_loop(None)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "a redirect needs 'to'"),
        ({"moved": {}}, "nothing is redirected by it"),
        ({"moved": {"old": "/new"}}, "must start with a slash"),
        ({"moved": {"/old/**": "/new"}}, "write a rule for those below it"),
        ({"moved": {"/a": "/a"}}, "leads to itself"),
        (
            {"moved": {"/x": "/a", "/a": "/b?q#f", "/b": "/%63", "/c": "/a"}},
            "'/a' leads back to itself: '/a > /b > /c > /a'",
        ),
        (
            {"moved": {"/a": "new.html"}},
            "'new.html' is relative to the path of the request; write 'https://new.html', or '/new",
        ),
        ({"to": "www.example.com"}, "is relative to the path of the request; write 'https://www.example.com'"),
        ({"to": "/x", "status": "301"}, "expected one of 301, 302, 303, 307, 308, got '301'; write it without quotes"),
        ({"moved": {"/a": "/b", "/%61": "/c"}}, "is there twice"),
        ({"moved": {"/a": ""}}, "is not a URL"),
        ({"moved": {"/a": "/$hots"}}, "did you mean $host?"),
        ({"moved": {"/a": "/b"}, "path": "/x/**"}, "'moved' names the paths"),
        ({"moved": {"/a": "/b"}, "path_regex": "^/x"}, "leave 'path_regex' out"),
        ({"moved": "none.csv"}, "'none.csv': no such file or directory"),
        ({"moved": "binary.csv"}, "is not UTF-8"),
        ({"moved": "short.csv"}, "'short.csv' line 2: expected an old path, a new URL"),
        ({"moved": "status.csv"}, "'status.csv' line 1: '404' is not a status of redirects; write 301"),
        ({"moved": "quote.csv"}, "'quote.csv' line"),
    ],
)
def test_what_is_wrong_is_said(
    check: Callable[..., list[str]], tmp_path: Path, rule: dict[str, Any], message: str
) -> None:
    (tmp_path / "binary.csv").write_bytes(b"/a,/\xff")
    (tmp_path / "short.csv").write_text("/a,/b\n/c\n")
    (tmp_path / "status.csv").write_text("/a,/b,404\n")
    (tmp_path / "quote.csv").write_text('/a,"/b\n' + "x" * 200_000)
    found = check(**rule)
    assert any(message.lower() in one.lower() for one in found), found


def test_a_file_that_is_too_large_is_refused(check: Callable[..., list[str]], tmp_path: Path) -> None:
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate((16 << 20) + 1)
    assert "is larger than 16 MiB" in check(moved="large.csv")[0]
