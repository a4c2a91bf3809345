"""A person signs in at an authorization server with a page of its own, by a client that follows redirects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.protocols.proxying import WAIT_S, Origin, answering, ok
from tests.protocols.signing_in import BROWSER, fields_of
from tests.stage.login_server import LoginServer
from tests.stage.site import site


class TestLogin:
    """A program like oauth2-proxy: a page with a form, a cookie, the way back; over HTTP/1.1 and HTTP/2."""

    @asynccontextmanager
    async def stage(self, certificates: Callable[..., Any]) -> AsyncIterator[tuple[str, Any, Origin]]:
        certificate = certificates("app.test", "127.0.0.1")

        async def echo(client: Any) -> None:
            async for message in client:
                await client.send(f"{client.request.headers['X-User']}: {message}")

        async with (
            LoginServer() as login,
            Origin(answering(ok(b"page"))) as application,
            websockets.serve(echo, "127.0.0.1", 0) as sockets,
        ):
            port = next(iter(sockets.sockets)).getsockname()[1]
            auth = {
                "to": login.url, "path": "/oauth2/auth", "copy": {"X-User": "X-Auth-Request-User"},
                "sign_in": "/oauth2/sign_in?rd=$url",
            }  # fmt: skip
            config = {
                "listen": ["https://127.0.0.1:0"],
                "tls": [certificate.config],
            }
            rules = [
                {"handler": "proxy", "path": "/oauth2/**", "proxy_pass": login.url},
                {"handler": "proxy", "path": "/ws", "proxy_pass": f"http://127.0.0.1:{port}", "forward_auth": auth},
                {"handler": "proxy", "proxy_pass": application.url, "forward_auth": auth},
            ]
            async with site(*rules, **config) as running:
                yield running.url, certificate, application

    @pytest.mark.parametrize("http2", [False, True])
    async def test_through_login_to_a_web_socket(self, certificates: Callable[..., Any], http2: bool) -> None:
        async with self.stage(certificates) as (url, certificate, application):
            trust = certificate.client()
            async with httpx.AsyncClient(base_url=url, http2=http2, verify=trust, timeout=WAIT_S) as client:
                page = await client.get("/secret?q=1", headers=BROWSER, follow_redirects=True)
                assert "password" in page.text
                assert not application.connections
                form = {"user": "ann", "password": "sesame", "rd": page.url.params["rd"]}
                page = await client.post("/oauth2/sign_in", data=form, follow_redirects=True)
                assert (page.text, str(page.url)) == ("page", f"{url}/secret?q=1")
                assert page.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                assert fields_of(application.seen)["x-user"] == "ann"
                assert (await client.post("/upload", content=bytes(100_000))).text == "page"
                cookie = f"_session={client.cookies['_session']}"
            trust = certificate.client()  # without the protocols that httpx has offered
            with pytest.raises(websockets.InvalidStatus, match="401"):
                await connect(url.replace("https", "wss") + "/ws", ssl=trust, additional_headers={"X-User": "root"})
            fields = {"Cookie": cookie, "X-User": "root", "X_User": "root"}
            async with connect(url.replace("https", "wss") + "/ws", ssl=trust, additional_headers=fields) as channel:
                await channel.send("hello")
                assert await channel.recv() == "ann: hello"
