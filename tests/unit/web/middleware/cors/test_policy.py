"""Cross-origin requests to a rule: preflights, answers to pages, and what applications say of it themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import npserver
from npserver.web.middleware.cors.policy import Origins
from tests.protocols.proxying import Origin, answering, ok
from tests.stage.refused import HASH

APP = "https://app.example"
OTHER = "https://evil.example"


@asynccontextmanager
async def asking(cors: dict[str, Any], **rule: Any) -> AsyncIterator[httpx.AsyncClient]:
    rules = [{"handler": "status", "path": "/status"}, {"handler": "respond", "body": "x", "cors": cors, **rule}]
    config = {"listen": ["http://127.0.0.1:0"], "dispatch": rules}
    async with (
        npserver.serve(config, shutdown_s=0) as server,
        httpx.AsyncClient(base_url=server.url()) as client,
    ):
        yield client


def preflight(origin: str = APP, method: str = "PUT", headers: str = "", **more: str) -> dict[str, str]:
    fields = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    return {**fields, "Access-Control-Request-Headers": headers} if headers else fields


def told(answer: httpx.Response) -> dict[str, str]:
    """Return what the answer says of CORS, each field of which there is one."""
    pairs = [(name.removeprefix("access-control-"), value) for name, value in answer.headers.multi_items()
             if name.startswith("access-control-")]  # fmt: skip
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


async def test_a_preflight_is_answered_before_the_sign_in() -> None:
    cors = {"origins": APP, "methods": ["PUT", "DELETE"], "headers": ["X-Token"], "credentials": True, "max_age": "1h"}
    async with asking(cors, basic_auth={"users": {"alice": HASH}}) as client:
        answer = await client.options("/", headers=preflight(headers="x-token"))
        assert (answer.status_code, answer.content) == (204, b"")
        assert told(answer) == {
            "allow-origin": APP, "allow-credentials": "true", "max-age": "3600", "allow-methods": "PUT, DELETE",
            "allow-headers": "X-Token",
        }  # fmt: skip
        assert answer.headers["vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        put = await client.put("/", headers={"Origin": APP})
        assert (put.status_code, told(put)["allow-origin"]) == (401, APP)  # a page can read that it must sign in
        assert (await client.options("/", headers={"Origin": APP})).status_code == 401  # no preflight


async def test_a_preflight_of_another_origin_is_refused() -> None:
    async with asking({"origins": APP}) as client:
        for origin in (OTHER, APP + ".evil.example", "null", "HTTPS://APP.EXAMPLE", f"{APP}, {OTHER}"):
            answer = await client.options("/", headers=preflight(origin))
            assert (answer.status_code, told(answer), answer.headers["vary"]) == (403, {}, "Origin")
        await client.options("/", headers=preflight())
        shown = (await client.get("/status", headers={"Accept": "text/plain"})).text
    assert 'npserver_http_preflights_total{result="refused"} 5' in shown
    assert 'npserver_http_preflights_total{result="allowed"} 1' in shown


@pytest.mark.parametrize(
    ("cors", "fields", "expected"),
    [
        ({"max_age": 0}, {}, {"max-age": "0"}),  # traefik #13371
        ({"max_age": "1.5s"}, {}, {"max-age": "2"}),
        ({}, {}, {"allow-methods": "GET, HEAD, POST", "max-age": "600"}),
        ({"methods": "*", "headers": "*"}, {"headers": "a, b"}, {"allow-methods": "PUT", "allow-headers": "a, b"}),
        ({"headers": "*"}, {"headers": "a b"}, {"allow-headers": None}),
        ({"headers": "*"}, {"headers": "a, " * 2000 + "b"}, {"allow-headers": None}),
        ({"headers": "*"}, {}, {"allow-headers": None}),
        ({"methods": "*"}, {"method": "P U T"}, {"allow-methods": None}),
        ({}, {"Access-Control-Request-Private-Network": "true"}, {"allow-private-network": None}),
    ],
)
async def test_what_a_preflight_is_told(
    cors: dict[str, Any], fields: dict[str, str], expected: dict[str, str | None]
) -> None:
    async with asking({"origins": [APP], **cors}) as client:
        answer = told(await client.options("/", headers=preflight(**fields)))
    assert {name: answer.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("cors", "origin", "expected", "vary"),
    [
        ({"origins": APP}, APP, {"allow-origin": APP}, "Origin"),
        ({"origins": APP}, OTHER, {}, "Origin"),
        ({"origins": APP}, None, {}, "Origin"),  # or a cache would give this answer to pages of the origin
        ({"origins": "*"}, OTHER, {"allow-origin": "*"}, None),
        ({"origins": "*"}, None, {"allow-origin": "*"}, None),
        ({"origins": APP, "credentials": True, "expose": ["X-A", "X-B"]}, APP,
         {"allow-origin": APP, "allow-credentials": "true", "expose-headers": "X-A, X-B"}, "Origin"),
        ({"origins": "https://*.example"}, APP, {"allow-origin": APP}, "Origin"),
    ],
)  # fmt: skip
async def test_what_answers_tell_pages(
    cors: dict[str, Any], origin: str | None, expected: dict[str, str], vary: str | None
) -> None:
    async with asking(cors) as client:
        answer = await client.get("/", headers={"Origin": origin} if origin else {})
    assert (answer.text, told(answer), answer.headers.get("vary")) == ("x", expected, vary)


async def test_fields_of_the_application_are_replaced_not_doubled() -> None:
    fields = (
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nVary: Accept\r\n"
        b"access-control-expose-headers: X\r\n"
    )
    async with Origin(answering(ok(fields=fields))) as origin:
        rule = {"handler": "proxy", "proxy_pass": origin.url, "cors": {"origins": APP}}
        async with (
            npserver.serve({"listen": ["http://127.0.0.1:0"], "dispatch": [rule]}, shutdown_s=0) as server,
            httpx.AsyncClient(base_url=server.url()) as client,
        ):
            answer = await client.get("/", headers={"Origin": APP})
            assert (told(answer), answer.headers["vary"]) == ({"allow-origin": APP}, "Accept, Origin")
            assert told(await client.get("/", headers={"Origin": OTHER})) == {}
            await client.options("/", headers=preflight())
            assert b"OPTIONS" not in origin.seen


async def test_refusals_can_be_read_by_pages_too() -> None:
    async with asking({"origins": APP}, maintenance=True) as client:
        answer = await client.get("/", headers={"Origin": APP})
        assert (answer.status_code, told(answer)) == (503, {"allow-origin": APP})


@pytest.mark.parametrize(
    ("text", "members", "others"),
    [
        ("https://app.example", [b"https://app.example"], [b"https://app.example:444", b"http://app.example", b""]),
        (
            "https://*.a.example:8443",
            [b"https://b.a.example:8443", b"https://c.b.a.example:8443"],
            [b"https://a.example:8443", b"https://.a.example:8443", b"https://b.a.example", b"https://ba.example:8443",
             b"https://evil.example/.a.example:8443", b"https://x@b.a.example:8443", b"https://b..a.example:8443",
             b"https://evil.example:1.a.example:8443", b"https://b\x00.a.example:8443"],
        ),
        ("*", [b"null", b"https://a"], []),
    ],
)  # fmt: skip
def test_origins(text: str, members: list[bytes], others: list[bytes]) -> None:
    origins = Origins([text])
    assert [one for one in members if one not in origins] == []
    assert [one for one in others if one in origins] == []
