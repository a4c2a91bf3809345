"""Values of variables in URLs, pages and documents: none of them can become more than a value there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import npserver
from npserver.web.escaping import escape_for, for_html, for_json, for_url

HOSTILE = """"><script>alert('1')</script>&\\\r\nX: y%0a/../é"""


async def asked(rule: dict[str, Any], path: str, **fields: str) -> httpx.Response:
    config = {"listen": ["http://127.0.0.1:0"], "dispatch": [rule]}
    async with npserver.serve(config, shutdown_s=0) as server, httpx.AsyncClient() as client:
        return await client.get(server.url() + path, headers=fields)


@pytest.mark.parametrize(
    ("to", "query", "location"),
    [
        ("https://b.example/s?q=$query.q", "q=a%20b%26c%3Dd", "https://b.example/s?q=a%20b%26c%3Dd"),
        ("/list/$query.q", "q=../x", "/list/..%2Fx"),
        ("$query.q", "q=https://evil.example/", "https%3A%2F%2Fevil.example%2F"),
        ("/$query.q", "q=/evil.example", "/%2Fevil.example"),
        ("/$query.q", "q=%0d%0aSet-Cookie:%20a", "/Set-Cookie%3A%20a"),
        ("/$cookie.lang/", "", "/d%2Fe/"),
        ("https://$header.x-host/", "", "https://b.example:8080/%22%3Ca"),
    ],
)
async def test_a_redirect_holds_values_of_clients_as_parts_of_its_url(to: str, query: str, location: str) -> None:
    fields = {"Cookie": "lang=d/e", "X-Host": 'b.example:8080/"<a'}
    answer = await asked({"handler": "redirect", "to": to}, f"/?{query}", **fields)
    assert answer.headers["location"] == location + ("/" if to.endswith("host/") else "")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("content_type", ["text/html", "Text/HTML; charset=utf-8", "image/svg+xml", "application/xml"])
async def test_a_page_shows_values_of_clients_as_text(content_type: str) -> None:
    body = "<p title='$query.q'>$query.q $header.x $path</p>"
    rule = {"handler": "respond", "content_type": content_type, "body": body}
    answer = await asked(rule, f"/'?q={quote(HOSTILE)}", X="<b>")
    assert answer.text.count("<") == 2
    assert answer.text.count("'") == 2
    assert "&lt;script&gt;" in answer.text
    assert "&lt;b&gt;" in answer.text


async def test_a_json_document_holds_values_of_clients_in_its_strings() -> None:
    rule = {"handler": "respond", "content_type": "application/json", "body": '{"q": "$query.q", "n": 1}'}
    answer = await asked(rule, f"/?q={quote(HOSTILE)}")
    assert answer.json() == {"q": HOSTILE.replace("\r\n", ""), "n": 1}


async def test_plain_text_and_header_fields_hold_values_as_they_are() -> None:
    rule = {"handler": "respond", "body": "$query.q", "headers": {"X-Q": "$query.q"}}
    answer = await asked(rule, f"/?q={quote(HOSTILE)}")
    assert answer.text == HOSTILE.replace("\r\n", "")
    assert answer.headers["x-q"] == answer.text
    assert "x" not in answer.headers


async def test_a_file_is_not_found_outside_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "www" / "de").mkdir(parents=True)
    (tmp_path / "www" / "de" / "a.txt").write_text("hallo")
    rule = {"handler": "static", "root": str(tmp_path / "www"), "try_files": ["/$cookie.lang/a.txt", "=404"]}
    assert (await asked(rule, "/a.txt", Cookie="lang=de")).text == "hallo"
    rule["try_files"] = ["/x/$cookie.lang", "/$query.f", "=404"]
    for hostile in ("../../secret.txt", "..%2f..%2fsecret.txt", "/../../secret.txt"):
        assert (await asked(rule, f"/?f={quote(hostile)}", Cookie=f"lang={hostile}")).status_code == 404


def test_what_is_escaped() -> None:
    assert for_url("path") is None
    assert for_url("map.a") is None
    assert [escape_for(one) for one in ("text/plain", "", "application/javascript")] == [None] * 3
    assert (escape_for("application/xhtml+xml"), escape_for("application/ld+json")) == (for_html, for_json)
    assert json.loads(f'"{for_json("a")(HOSTILE)}"') == HOSTILE
