"""Variables that are looked up by others, wherever variables may stand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from tests.protocols.proxying import Origin, answering, ok

MAPS = {
    "site": {"from": "$host", "to": {"a.test": "alpha", "*.test": "<any>", "*": "$host?"}, "default": "none"},
    "lang": {"from": "$header.accept-language", "to": {"de*": "de", "fr*": "fr", "de-CH": "ch"}, "default": "en"},
    "beta": {"from": "${cookie.beta}/$query.beta", "to": {"1/": "on", "/1": "on"}},
}


async def asked(rule: dict[str, Any], url: str = "/", **fields: str) -> httpx.Response:
    config = {"listen": ["http://127.0.0.1:0"], "maps": MAPS, "dispatch": [rule]}
    async with npserver.serve(config, shutdown_s=0) as server, httpx.AsyncClient() as client:
        return await client.get(server.url() + url, headers=fields)


@pytest.mark.parametrize(
    ("fields", "url", "text"),
    [
        ({"Host": "a.test"}, "/", "alpha en []"),
        ({"Host": "b.test", "Accept-Language": "fr-FR,de"}, "/", "<any> fr []"),
        ({"Host": "other"}, "/", "$host? en []"),  # a value is a text, no template
        ({"Host": "a.test", "Accept-Language": "de-CH"}, "/", "alpha ch []"),
        ({"Host": "a.test", "Accept-Language": "de-AT"}, "/", "alpha de []"),
        ({"Host": "a.test", "Cookie": "beta=1"}, "/", "alpha en [on]"),
        ({"Host": "a.test"}, "/?beta=1", "alpha en [on]"),
        ({"Host": "a.test", "Cookie": "beta=1"}, "/?beta=1", "alpha en []"),
    ],
)
async def test_a_variable_is_looked_up(fields: dict[str, str], url: str, text: str) -> None:
    rule = {"handler": "respond", "body": "$map.site $map.lang [${map.beta}]", "headers": {"X-Map": "$map.lang"}}
    answer = await asked(rule, url, **fields)
    assert answer.text == text
    assert answer.headers["x-map"] == text.split(" ")[-2]


async def test_pages_redirects_files_and_applications_have_them_too(tmp_path: Path) -> None:
    page = {"handler": "respond", "content_type": "text/html", "body": "<p>$map.site"}
    assert (await asked(page, Host="b.test")).text == "<p>&lt;any&gt;"
    redirect = {"handler": "redirect", "to": "https://$map.lang.example$path"}
    assert (await asked(redirect, "/x")).headers["location"] == "https://en.example/x"
    moved = {"handler": "redirect", "moved": {"/x": "/$map.lang/"}}
    assert (await asked(moved, "/x")).headers["location"] == "/en/"
    (tmp_path / "fr").mkdir()
    (tmp_path / "fr" / "a.txt").write_text("bonjour")
    files = {"handler": "static", "root": str(tmp_path), "try_files": ["/$map.lang$path", "=404"]}
    assert (await asked(files, "/a.txt", **{"Accept-Language": "fr"})).text == "bonjour"
    assert (await asked(files, "/a.txt")).status_code == 404
    async with Origin(answering(ok())) as origin:
        await asked({"handler": "proxy", "proxy_pass": origin.url, "headers": {"X-Site": "$map.site"}}, Host="a.test")
        assert b"X-Site: alpha\r\n" in origin.seen


def test_prices_and_other_stars_are_fine() -> None:
    maps = {"a": {"from": "$host", "to": {"d*e*": "$5", "d*": "$nothing", "*x": "z", "x": "y"}, "default": "$"}}
    config = {"listen": ["http://127.0.0.1:0"], "maps": maps, "dispatch": [{"handler": "respond", "body": "$map.a"}]}
    assert dry_run(load_text(json.dumps(config), "config"), Directory()).warnings == ()
    asyncio.set_event_loop(None)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({"a b": {"from": "$host", "to": {"x": "y"}}}, "'a b' is not a name of a map"),
        ({"a": {"from": "$hots", "to": {"x": "y"}}}, "'from': no variable $hots, did you mean $host?"),
        ({"a": {"from": "$map.a", "to": {"x": "y"}}}, "no variable $map.a"),
        ({"a": {"from": "$host", "to": {}}}, "'to' is empty: $map.a is always ''"),
        ({"a": {"from": "$host", "to": {"x": "a\nb"}}}, "control character"),
        ({"a": {"from": "$host", "to": {"x": "y"}, "default": "\x01"}}, "control character"),
        ({"a": {"to": {"x": "y"}}}, "from"),
        ({"a": {"from": "host", "to": {"x": "y"}}}, "'from': 'host' has no $variable: $map.a is always the same"),
        (
            {"a": {"from": "$host", "to": {"x": "https://$host"}}},
            "'https://$host' is sent as it is: values of maps have no",
        ),
        ({"a": {"from": "$host", "to": {"d*": "y", "x": "z", "d*e*": "z"}}}, "'d*e*' is never found: 'd*' comes first"),
        ({"sites": {"from": "$host", "to": {"x": "y"}}}, "no variable $map.site, did you mean $map.sites?"),
    ],
)
def test_what_is_wrong_is_said(maps: dict[str, Any], message: str) -> None:
    rule = {"handler": "respond", "body": "$map.site" if "sites" in maps else ""}
    text = json.dumps({"listen": ["http://127.0.0.1:0"], "maps": maps, "dispatch": [rule]})
    try:
        found = [str(one) for one in dry_run(load_text(text, "config"), Directory()).warnings]
    except ConfigError as error:
        found = [str(problem) for problem in error.problems]
    asyncio.set_event_loop(None)
    assert any(message in one for one in found), found
