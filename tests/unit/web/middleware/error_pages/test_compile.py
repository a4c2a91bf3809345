"""The files of `error_pages`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import httpx
import pytest

import npserver
from npserver.config.load import load_text
from npserver.config.report import Report
from npserver.web.exchange import Page
from npserver.web.middleware.error_pages import compile as module
from npserver.web.middleware.error_pages.compile import load_error_pages
from npserver.web.middleware.error_pages.config import ErrorPage


@pytest.fixture
def report(tmp_path: Path) -> Report:
    (tmp_path / "404.html").write_text("not here")
    (tmp_path / "5xx.json").write_text("{}")
    return Report(load_text("{}", str(tmp_path / "a.json")))


def test_a_status_wins_over_its_hundred(report: Report) -> None:
    pages = load_error_pages(report, ("error_pages",), {"404": "404.html", "4xx": "5xx.json", "5xx": "5xx.json"})
    assert pages.keys() == set(range(400, 600))
    fields, body = cast("Page", pages[404])
    assert b"Content-Type: text/html" in fields
    assert body == b"not here"
    assert {cast("Page", pages[status])[1] for status in (403, 503)} == {b"{}"}
    assert report.problems == []


def test_what_is_wrong_with_a_page_is_said_and_the_others_are_loaded(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ERROR_PAGE_BYTES", 5)
    pages = load_error_pages(
        report, ("error_pages",), {"404": "404.html", "200": "5xx.json", "500": "none.html", "502": "5xx.json"}
    )
    assert list(pages) == [502]
    assert len(report.problems) == 3
    text = "\n".join(problem.message for problem in report.problems)
    for words in ("write a status from 400 to 599", "is larger than 1 MiB", "No such file"):
        assert words in text


async def asked(page: dict[str, Any], path: str, **config: Any) -> httpx.Response:
    rule = {"handler": "respond", "path": "/there", "deny": "127.0.0.0/8", "error_pages": page}
    config = {"listen": ["http://127.0.0.1:0"], "dispatch": [rule], **config}
    async with npserver.serve(config, shutdown_s=0) as server, httpx.AsyncClient() as client:
        return await client.get(server.url() + path, headers={"Accept-Language": "de", "X-Evil": "<script>"})


@pytest.mark.parametrize("rule", [{"path": "/there"}, {"match": {"query": {"go": True}}}])
async def test_global_pages_are_sent_where_no_rule_matches(tmp_path: Path, rule: dict[str, Any]) -> None:
    (tmp_path / "404.html").write_text("<p>$status $path $map.sorry")
    config = {
        "listen": ["http://127.0.0.1:0"],
        "maps": {"sorry": {"from": "$header.accept-language", "to": {"de": "leider"}}},
        "error_pages": {"404": {"file": str(tmp_path / "404.html"), "variables": True}},
        "dispatch": [{"handler": "respond", **rule}],
    }
    async with npserver.serve(config, shutdown_s=0) as server, httpx.AsyncClient() as client:
        for path in ("/none", "/none"):
            answer = await client.get(server.url() + path, headers={"Accept-Language": "de"})
            assert (answer.status_code, answer.text) == (404, "<p>404 /none leider")
        assert (await client.post(server.url() + "/none", content=b"x")).text == "<p>404 /none "


async def test_variables_of_a_page_are_filled_in_as_text(tmp_path: Path) -> None:
    text = "<h1>$status $reason</h1><p>$map.sorry $header.x-evil '$query.q' costs $$5 $request_id</p>"
    (tmp_path / "e.html").write_text(text)
    page = {"4xx": {"file": str(tmp_path / "e.html"), "variables": True}}
    maps = {"sorry": {"from": "$header.accept-language", "to": {"de*": "leider & nicht"}}}
    answer = await asked(page, "/there?q=%22%3E", maps=maps)
    head, _, rest = answer.text.partition(" costs $5 ")
    assert head == "<h1>403 Forbidden</h1><p>leider &amp; nicht &lt;script&gt; '&quot;&gt;'"
    assert len(rest) == 32 + len("</p>")
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")


async def test_a_page_without_variables_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "e.html").write_text("$status")
    for page in (str(tmp_path / "e.html"), {"file": str(tmp_path / "e.html")}):
        assert (await asked({"403": page}, "/there")).text == "$status"


@pytest.mark.parametrize(("body", "message"), [(b"$hots", "did you mean $host?"), (b"\xff", "must be UTF-8")])
def test_what_is_wrong_in_a_page_is_said(report: Report, tmp_path: Path, body: bytes, message: str) -> None:
    (tmp_path / "e.html").write_bytes(body)
    assert load_error_pages(report, ("error_pages",), {"5xx": ErrorPage(file="e.html", variables=True)}) == {}
    assert [message in problem.message for problem in report.problems] == [True]
