"""`jwt`: signed tokens, the keys of their issuer, and what the application learns of them.

Covers `web.middleware.jwt.check` and `web.middleware.jwt.key_source`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk
from joserfc.jws import JWSRegistry

from npserver.web.middleware.jwt import check, key_source
from tests.protocols.proxying import Connection, Origin, answering, get, ok, until
from tests.protocols.signing_in import fields_of, raw
from tests.stage.site import DEADLINE_S, Site, site
from tests.unit.web.middleware.jwt.test_token import b64

FIRST, SECOND = jwk.ECKey.generate_key("P-256", {"kid": "1"}), jwk.ECKey.generate_key("P-256", {"kid": "2"})
SECRET = "a secret of thirty-two bytes or more"


def token(key: Any = FIRST, **claims: Any) -> str:
    found = {"sub": "ann", "aud": "app", "exp": time.time() + 600, **claims}
    start = f"{b64({'alg': 'ES256', 'kid': key.kid})}.{b64(found)}"
    return f"{start}.{b64(JWSRegistry.algorithms['ES256'].sign(start.encode(), key))}"


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": [one.as_dict(private=False) for one in keys]}).encode()


class Issuer:
    """An issuer that serves its keys, or whatever it is told to."""

    def __init__(self, *keys: Any) -> None:
        self.answer = ok(key_set(*keys))
        self.asked = 0

    async def script(self, connection: Connection) -> None:
        while await connection.head():
            self.asked += 1
            await connection.send(self.answer)


@asynccontextmanager
async def guarded(
    store: Path, issuer: Issuer, handler: dict[str, Any] | None = None, **jwt: Any
) -> AsyncIterator[Site]:
    """Serve a rule that asks for tokens of an issuer, once its keys are known."""
    async with Origin(issuer.script) as origin:
        section = {"keys": f"{origin.url}/keys", "audience": "app", **jwt}
        rule = {**(handler or {"handler": "respond", "body": "in"}), "jwt": section}
        async with site(rule, {"handler": "respond", "path": "/open"}, store=str(store)) as running:
            await until(lambda: issuer.asked)
            yield running


async def status(running: Site, shown: str) -> int:
    return (await running.ask("/", Authorization=f"Bearer {shown}")).status


async def becomes(running: Site, shown: str, expected: int) -> None:
    """Wait until a token is answered so."""
    async with asyncio.timeout(DEADLINE_S):
        while await status(running, shown) != expected:
            pass


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetch keys again as soon as that is asked for."""
    monkeypatch.setattr(key_source, "MIN_REFRESH_S", 0.01)
    monkeypatch.setattr(key_source, "FIRST_RETRY_S", 0.01)


class TestBearers:
    """RFC 6750 §2.1 and §3."""

    async def test_a_good_token_comes_in_and_others_are_told_why(self, tmp_path: Path) -> None:
        async with guarded(tmp_path, Issuer(FIRST)) as running:
            await becomes(running, token(), 200)
            assert (await running.ask("/", Authorization=f"bEARER  {token()} ")).status == 200
            reply = await running.ask("/")
            assert (reply.status, reply["WWW-Authenticate"]) == (401, 'Bearer realm="npserver"')
            for value in ("Basic am9objp4", "Bearer", ""):
                assert (await running.ask("/", Authorization=value)).status == 401
            for shown, reason in (
                (token(exp=1), "it has expired"),
                (token(aud="other"), "it is for another audience"),
                (token(SECOND), "its key is not known"),
                (f"{b64({'alg': 'none'})}.{b64({'aud': 'app', 'exp': 9e9})}.", "it is not a signed token"),
                ("x" * 9000, "it is longer than 8192 bytes"),
            ):
                reply = await running.ask("/", Authorization=f"Bearer {shown}")
                assert reply.status == 401
                assert reply["WWW-Authenticate"] == (
                    f'Bearer realm="npserver", error="invalid_token", error_description="{reason}"'
                )
            assert (await running.ask("/open")).status == 200

    async def test_a_cookie_is_read_only_where_it_is_named(self, tmp_path: Path) -> None:
        cookie = f"a=b; session={token()}; c=d"
        async with guarded(tmp_path, Issuer(FIRST), cookie="session") as running:
            await becomes(running, token(), 200)
            assert (await running.ask("/", Cookie=cookie)).status == 200
            assert (await running.ask("/", Cookie=cookie, Authorization="Bearer x.y.z")).status == 401
            assert (await running.ask("/", Cookie="session=x")).status == 401
        async with guarded(tmp_path, Issuer(FIRST)) as running:
            await becomes(running, token(), 200)
            assert (await running.ask("/", Cookie=cookie)).status == 401

    async def test_a_shared_secret(self) -> None:
        start = f"{b64({'alg': 'HS256'})}.{b64({'aud': 'app', 'exp': 9e9})}"
        shown = f"{start}.{b64(JWSRegistry.algorithms['HS256'].sign(start.encode(), jwk.OctKey.import_key(SECRET)))}"
        async with site({"handler": "respond", "jwt": {"secret": SECRET, "audience": "app"}}) as running:
            assert await status(running, shown) == 200
            assert await status(running, shown[:-4] + "AAAA") == 401

    async def test_a_token_is_verified_once_and_not_beyond_its_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verified = []
        original = check.verify

        def counting(*arguments: Any) -> Any:
            verified.append(arguments[0])
            return original(*arguments)

        monkeypatch.setattr(check, "verify", counting)
        monkeypatch.setattr(check, "CACHED_TOKENS", 2)
        async with guarded(tmp_path, Issuer(FIRST), leeway=0) as running:
            shown = token()
            await becomes(running, shown, 200)
            verified.clear()
            for _ in range(3):
                assert await status(running, shown) == 200
            assert verified == []
            others = [token(n=number) for number in range(3)]
            for other in (*others, *others[1:], shown):
                assert await status(running, other) == 200
            assert verified == [*others, shown]  # two are cached
            context = running.server._single.data_plane.context
            monkeypatch.setattr(context, "wall_clock", lambda: time.time() + 601)
            assert await status(running, shown) == 401


class TestClaims:
    async def test_the_application_gets_ours_alone(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "npserver.http")
        claims = {"X-User": "sub", "X-Roles": "realm_access.roles", "X-Admin": "admin", "X-Name": "https://a.test/name"}
        async with Origin(answering(ok(b"in"))) as application:
            proxy = {"handler": "proxy", "proxy_pass": application.url, "headers": {"X-Tenant": "$jwt.tenant"}}
            async with guarded(tmp_path, Issuer(FIRST), proxy, claims=claims) as running:
                shown = token(**{"realm_access": {"roles": ["a", "b"]}, "https://a.test/name": "Änn", "tenant": 7})
                await becomes(running, shown, 200)
                forged = (
                    "X-User: root\r\nx_user: root\r\nX.Admin: root\r\nX-ADMIN: root\r\nConnection: X-User\r\n"
                    f"Authorization: Bearer {shown}\r\n"
                )
                before = len(application.seen)
                assert (await raw(running, get("/", forged))).body == b"in"
                got = fields_of(application.seen[before:])
                assert (got["x-user"], got["x-roles"], got["x-tenant"]) == ("ann", "a,b", "7")
                assert got["x-name"].encode("latin-1").decode() == "Änn"
                assert "x-admin" not in got
                assert b"root" not in application.seen
                assert await status(running, token(sub="ann\r\nX-Admin: yes")) == 401
                assert "holds a control character (dispatch[0].jwt.claims.X-User)" in caplog.text
                assert await status(running, token(sub="\ud800")) == 200

    async def test_claims_are_variables(self, tmp_path: Path) -> None:
        handler = {"handler": "redirect", "to": "/of/$jwt.sub/${jwt.a.b}/$jwt.none"}
        async with guarded(tmp_path, Issuer(FIRST), handler) as running:
            shown = token(a={"b": [1, {"c": None}]})
            await becomes(running, shown, 308)
            reply = await running.ask("/", Authorization=f"Bearer {shown}")
            assert reply["Location"] == "/of/ann/%5B1%2C%7B%22c%22%3Anull%7D%5D/"


@pytest.mark.usefixtures("eager")
class TestKeys:
    async def test_new_keys_are_fetched_when_a_token_names_one(self, tmp_path: Path) -> None:
        issuer = Issuer(FIRST)
        async with guarded(tmp_path, issuer) as running:
            await becomes(running, token(), 200)
            assert await status(running, token(SECOND)) == 401
            issuer.answer = ok(key_set(SECOND))
            await becomes(running, token(SECOND), 200)
            assert await status(running, token()) == 401  # the cache does not outlive the key

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "status 500 instead of 200"),
            (b"HTTP/1.1 302 No\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n", "status 302 instead of 200"),
            (ok(b"<html>"), "neither a JSON Web Key Set nor PEM"),
            (ok(key_set() + b" " * 300_000), "longer than 262144 bytes"),
            (b"nonsense\r\n\r\n", "not HTTP"),
            (ok(b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'), "no usable key"),
        ],
    )  # fmt: skip
    async def test_what_is_no_key_set_changes_nothing(
        self, tmp_path: Path, answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "npserver.http")
        issuer = Issuer(FIRST)
        async with guarded(tmp_path, issuer) as running:
            await becomes(running, token(), 200)
            issuer.answer = answer
            assert await status(running, token(SECOND)) == 401  # has the keys fetched
            await until(lambda: reason in caplog.text)
            assert "the last good ones stay" in caplog.text
            assert "(dispatch[0].jwt.keys)" in caplog.text
            assert await status(running, token()) == 200
            issuer.answer = ok(key_set(FIRST, SECOND))
            await becomes(running, token(SECOND), 200)
            assert "can be used again" in caplog.text

    async def test_the_last_good_ones_outlive_a_restart(self, tmp_path: Path) -> None:
        issuer = Issuer(FIRST)
        async with Origin(issuer.script) as origin:
            rule = {"handler": "respond", "jwt": {"keys": origin.url, "audience": "app"}}
            async with site(rule, store=str(tmp_path)) as running:
                await becomes(running, token(), 200)
                await until(lambda: any((tmp_path / "jwt").glob("*")))
        async with site(rule, store=str(tmp_path)) as running:
            await becomes(running, token(), 200)

    async def test_without_keys_nobody_comes_in(self, tmp_path: Path) -> None:
        issuer = Issuer()
        async with guarded(tmp_path, issuer) as running:
            reply = await running.ask("/", Authorization=f"Bearer {token()}")
            assert (reply.status, reply["Retry-After"]) == (503, "1")
            assert (await running.ask("/")).status == 401

    async def test_keys_of_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(key_source, "FILE_PERIOD_S", 0.01)
        file = tmp_path / "keys.json"
        file.write_bytes(key_set(FIRST))
        rule = {"handler": "respond", "jwt": {"keys": str(file), "audience": "app"}}
        async with site(rule) as running:
            assert await status(running, token()) == 200
            file.write_bytes(b"{")
            file.write_bytes(key_set(FIRST, SECOND))
            await becomes(running, token(SECOND), 200)
            assert await status(running, token()) == 200
