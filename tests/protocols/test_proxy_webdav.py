"""WebDAV through the proxy: URIs in requests' fields are those that the upstream knows (RFC 4918 §10.3).

Covers `web.handlers.proxy.references`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from tests.protocols.proxying import Origin, answering, ok
from tests.stage.nginx import running_nginx
from tests.stage.programs import needs

Serve = Callable[..., Any]

DAV = "dav_methods PUT DELETE MKCOL COPY MOVE; create_full_put_path on;"


@pytest.fixture
def serve(certificates: Callable[..., Any]) -> Callable[..., Any]:
    """Return `serve(target, **keys)`, which serves a proxy rule over HTTPS."""

    def start(target: str, **keys: Any) -> Any:
        issued = certificates()
        tls = {"cert": str(issued.cert), "key": str(issued.key)}
        listener = {"name": "in", "uri": "https://127.0.0.1:0", "tls": tls}
        rule = {"handler": "proxy", "proxy_pass": target, **keys}
        return npserver.serve({"listen": [listener], "dispatch": [rule]}, shutdown_s=0)

    return start


@needs("nginx")
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize(
    ("base", "keys"),
    [
        ("", {}),
        ("", {"preserve_host": True}),
        ("/files", {"path": "/dav/**", "strip_prefix": True}),
        ("", {"path": "/dav/**", "rewrite": {"^/dav/(.*)": "/files/$1"}}),
    ],
)
async def test_nginx_copies_and_moves_files_behind_us(
    tmp_path: Path, serve: Serve, base: str, keys: dict[str, Any], http2: bool
) -> None:
    prefix = "/dav" if "path" in keys else ""
    with running_nginx(tmp_path, DAV) as url:
        async with serve(url + base, **keys) as server:
            site = server.url()
            async with httpx.AsyncClient(base_url=site, verify=False, http2=http2) as client:
                assert (await client.put(f"{prefix}/a.txt", content=b"text")).status_code == 201
                for method, source, name in (("COPY", "a", "b"), ("MOVE", "b", "c d")):
                    to = f"{site}{prefix}/{name.replace(' ', '%20')}.txt"
                    answer = await client.request(method, f"{prefix}/{source}.txt", headers={"Destination": to})
                    assert answer.status_code == 204, answer.text
                assert (await client.get(f"{prefix}/c%20d.txt")).text == "text"
                assert (await client.get(f"{prefix}/b.txt")).status_code == 404


async def _seen(serve: Serve, field: str, **keys: Any) -> tuple[int, str]:
    """Send a request with a field; return the answer's status, and the field's line as the upstream saw it."""
    async with Origin(answering(ok())) as origin:
        async with serve(origin.url + "/base", path="/dav/**", strip_prefix=True, **keys) as server:
            site = server.url().removeprefix("https://")
            name, _, value = field.replace("SITE", site).partition(": ")
            async with httpx.AsyncClient(base_url=server.url(), verify=False) as client:
                answer = await client.request("MOVE", "/dav/a", headers={name: value})
            lines = [line for line in origin.seen.decode().split("\r\n") if line.lower().startswith(f"{name.lower()}:")]
            seen = lines[0] if lines else ""
            return answer.status_code, seen.replace(f"127.0.0.1:{origin.port}", "APP").replace(site, "SITE")


@pytest.mark.parametrize(
    ("keys", "field", "seen"),
    [
        ({}, "Destination: /dav/x%20y?z", "Destination: /base/x%20y?z"),
        ({}, "Destination: https://SITE/dav/x", "Destination: http://APP/base/x"),
        ({}, "Destination: https://other.test/dav/x", "Destination: https://other.test/dav/x"),
        ({}, "Destination: https://SITE/elsewhere/x", "Destination: https://SITE/elsewhere/x"),
        ({}, "Destination: https://SITE/dav/../elsewhere/x", "Destination: https://SITE/dav/../elsewhere/x"),
        ({}, "Destination: urn:x", "Destination: urn:x"),
        ({}, "If: <https://SITE/dav/x> (<urn:uuid:1> [\"a\"])", "If: <http://APP/base/x> (<urn:uuid:1> [\"a\"])"),
        ({}, "If: (<https://SITE/dav/lock>)", "If: (<https://SITE/dav/lock>)"),
        ({"rewrite_location": "host"}, "Destination: https://SITE/dav/x", "Destination: http://APP/dav/x"),
        ({"rewrite_location": False}, "Destination: https://SITE/dav/x", "Destination: https://SITE/dav/x"),
        ({"preserve_host": True}, "Destination: https://SITE/dav/x", "Destination: http://SITE/base/x"),
    ],
)  # fmt: skip
async def test_what_the_upstream_sees(serve: Serve, keys: dict[str, Any], field: str, seen: str) -> None:
    assert await _seen(serve, field, **keys) == (200, seen)


async def test_a_path_outside_the_rule_becomes_a_uri_of_another_server(serve: Serve) -> None:
    assert await _seen(serve, "Destination: /elsewhere") == (200, "Destination: https://SITE/elsewhere")


@pytest.mark.parametrize("value", ["/dav/../../x", "/dav/%2", "/dav/a%00", "/dav/x#y"])
async def test_a_destination_out_of_grammar_is_refused(serve: Serve, value: str) -> None:
    assert await _seen(serve, f"Destination: {value}") == (400, "")


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_a_field_of_the_request_is_a_variable(serve: Serve, http2: bool) -> None:
    async with Origin(answering(ok())) as origin:
        headers = {"X-To": "$header.destination", "X-None": "$header.x-missing"}
        async with serve(origin.url, headers=headers, rewrite_location=False) as server:
            async with httpx.AsyncClient(base_url=server.url(), verify=False, http2=http2) as client:
                for to in ("/x", "/y", "/x"):
                    await client.request("COPY", "/a", headers={"Destination": to})
        told = [line for line in origin.seen.split(b"\r\n") if line.startswith((b"X-To", b"X-None"))]
    assert told == [b"X-To: /x", b"X-To: /y", b"X-To: /x"]
