"""`forward_auth`: an authorization server decides who comes in.

Covers `web.middleware.forward_auth.check`, `web.middleware.forward_auth.question`,
`web.middleware.forward_auth.request_head` and `web.signed_in`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from npserver.embed import serve
from tests.protocols.proxying import Connection, Origin, answering, get, ok, silent, until
from tests.protocols.signing_in import BROWSER, ENDLESS, PASS, SIGN_IN, answer, fields_of, guarded, raw
from tests.stage.site import Site, site


class TestAutheliaExchange:
    """https://www.authelia.com/reference/guides/proxy-authorization/: what it reads, and what it answers."""

    async def test_forward_auth_and_auth_request_metadata(self) -> None:
        async with guarded(PASS, copy=["Remote-User", "Remote-Groups", "Remote-Email"]) as (
            running,
            asked,
            application,
        ):
            request = (
                b"POST /a//b/../c%7e?d=e&f HTTP/1.1\r\nHost: app.example.com:8443\r\nCookie: session=abc; x=y\r\n"
                b"Authorization: Basic am9objp4\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n"
                b'If-None-Match: "x"\r\n'
                b"Range: bytes=0-1\r\nTE: trailers\r\nConnection: keep-alive, TE, X-Hop\r\nX-Hop: 1\r\n"
                b"Accept: text/html\r\n"
                b"X-Forwarded-Method: DELETE\r\nX-Original-URL: https://evil/\r\nX_Original_Url: https://evil/\r\n"
                b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Uri: /public\r\n\r\nbody"
            )
            assert (await raw(running, request)).body == b"in"
            head = asked.seen
            assert head == (
                b"GET /api/authz/forward-auth HTTP/1.1\r\nHost: app.example.com:8443\r\n"
                b"Authorization: Basic am9objp4\r\nAccept: text/html\r\nCookie: session=abc; x=y\r\n"
                b"X-Forwarded-Host: app.example.com:8443\r\nX-Forwarded-Proto: http\r\nCDN-Loop: npserver\r\n"
                b"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Method: POST\r\n"
                b"X-Forwarded-Uri: /a/c~?d=e&f\r\nX-Original-Method: POST\r\n"
                b"X-Original-URL: http://app.example.com:8443/a/c~?d=e&f\r\n\r\n"
            )
            assert application.seen.endswith(b"\r\n\r\nbody")
            got = fields_of(application.seen)
            assert (got["remote-user"], got["remote-groups"]) == ("john", "admins,dev")
            assert "remote-email" not in got

    @pytest.mark.parametrize("status", [302, 303, 401, 403])
    async def test_its_refusals_reach_the_client(self, status: int) -> None:
        fields = (
            b"Location: https://auth.example.com/?rd=x&rm=GET\r\nSet-Cookie: authelia_session=new; Secure\r\n"
            b'Set-Cookie: b=2\r\nContent-Type: text/html\r\nWWW-Authenticate: Basic realm="Authorization Required"\r\n'
        )
        async with guarded(answer(status, fields, b"<a>see</a>")) as (running, _, application):
            for _ in range(2):
                reply = await running.ask("/", **BROWSER)
                assert (reply.status, reply.body) == (status, b"<a>see</a>")
                assert reply["Location"] == "https://auth.example.com/?rd=x&rm=GET"
                assert reply.all("Set-Cookie") == ["authelia_session=new; Secure", "b=2"]
                assert reply["WWW-Authenticate"].startswith("Basic")
            assert not application.connections

    async def test_behind_a_trusted_proxy_the_url_is_the_clients(self) -> None:
        config = {"trusted_proxies": ["127.0.0.1"]}
        async with guarded(answer(401), sign_in=SIGN_IN, config=config) as (running, asked, _):
            sent = get("/x", "X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-For: 192.0.2.9\r\n"
                       "X-Forwarded-Uri: /public\r\nAccept: text/html\r\n")  # fmt: skip
            reply = await raw(running, sent)
            assert reply["Location"] == "https://auth.example.com/?rd=https%3A%2F%2Fapp.test%2Fx"
            got = fields_of(asked.seen)
            assert got["x-forwarded-for"] == "192.0.2.9, 127.0.0.1"
            assert (got["x-forwarded-proto"], got["x-forwarded-host"], got["x-forwarded-uri"]) == (
                "https",
                "app.test",
                "/x",
            )
            assert got["x-original-url"] == "https://app.test/x"


class TestCopiedFields:
    """Caddy GHSA-7r4p-vjf4-gxv4: what `copy` names is never a client's."""

    FORGED = (
        "Remote-User: admin\r\nremote_user: admin\r\nRemote.User: admin\r\nREMOTE-USER: admin\r\n"
        "Remote-Groups: root\r\n"
        "Connection: keep-alive, Remote-User\r\n"
    )

    @pytest.mark.parametrize(("set_by_server", "expected"), [(b"Remote-User: john\r\n", "john"), (b"", None)])
    @pytest.mark.parametrize("trusted", [[], ["127.0.0.1"]])
    async def test_a_clients_are_removed_in_all_spellings(
        self, set_by_server: bytes, expected: str | None, trusted: list[str]
    ) -> None:
        copy = ["Remote-User", "Remote-Groups"]
        config = {"trusted_proxies": trusted} if trusted else {}
        async with guarded(ok(b"", set_by_server), copy=copy, config=config) as (running, asked, application):
            for _ in range(3):  # heads that come again are cached
                assert (await raw(running, get("/", self.FORGED))).body == b"in"
            assert application.seen.lower().count(b"user: ") == (3 if expected else 0)
            assert b"admin" not in application.seen + asked.seen
            assert b"root" not in application.seen + asked.seen
            assert fields_of(application.seen.partition(b"\r\n\r\n")[0]).get("remote-user") == expected

    async def test_trailers_do_not_carry_them(self) -> None:
        async with guarded(PASS, copy="Remote-User") as (running, _, application):
            request = (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
                b"Remote_User: admin\r\nX-Sum: 1\r\n\r\n"
            )
            assert (await raw(running, request)).body == b"in"
            assert b"X-Sum: 1" in application.seen
            assert b"admin" not in application.seen

    async def test_they_can_be_renamed_and_be_identity_fields(self) -> None:
        copy = {"X-Forwarded-User": "Remote-User", "Authorization": "Remote-Groups"}
        async with guarded(PASS, copy=copy) as (running, asked, application):
            sent = get("/", "X-Forwarded-User: admin\r\nAuthorization: Bearer mine\r\n")
            assert (await raw(running, sent)).body == b"in"
            got = fields_of(application.seen)
            assert (got["x-forwarded-user"], got["authorization"]) == ("john", "admins,dev")
            assert fields_of(asked.seen)["authorization"] == "Bearer mine"  # what it decides by

    async def test_cookies_that_it_renews_reach_the_client(self) -> None:
        renewed = ok(b"", b"Set-Cookie: session=2\r\nSet-Cookie: b=c\r\n")
        async with guarded(renewed) as (running, _, _application):
            reply = await running.ask("/")
            assert reply.all("Set-Cookie") == ["session=2", "b=c"]

    async def test_the_user_stands_in_the_access_log(self, tmp_path: Path) -> None:
        async with Origin(answering(PASS)) as asked:
            config = {
                "listen": ["http://127.0.0.1:0"],
                "dispatch": [{"handler": "respond", "forward_auth": {"to": asked.url, "user": "Remote-User"}}],
                "logging": {"format": "combined"},
            }
            async with serve(config, access_log=str(tmp_path / "log")) as server:
                assert (await Site(server).ask("/")).status == 200
        assert (tmp_path / "log").read_text().startswith("127.0.0.1 - john [")


class TestSignIn:
    async def test_browsers_are_redirected(self) -> None:
        fields = b"Set-Cookie: state=1\r\nLocation: /elsewhere\r\n"
        async with guarded(answer(401, fields, b"no"), sign_in=SIGN_IN) as (running, _, _application):
            reply = await running.ask("/a b?c=d&e".replace(" ", "%20"), Host="app.test", **BROWSER)
            assert (reply.status, reply["Cache-Control"], reply["Set-Cookie"]) == (302, "no-store", "state=1")
            assert reply["Location"] == "https://auth.example.com/?rd=http%3A%2F%2Fapp.test%2Fa%2520b%3Fc%3Dd%26e"

    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            ("GET", {"Accept": "application/json"}),
            ("GET", {}),
            ("POST", BROWSER),
            ("GET", {**BROWSER, "Sec-Fetch-Mode": "cors"}),
            ("GET", {**BROWSER, "X-Requested-With": "XMLHttpRequest"}),
            ("GET", {**BROWSER, "Connection": "Upgrade", "Upgrade": "websocket"}),
        ],
    )
    async def test_scripts_and_sockets_get_401(self, method: str, fields: dict[str, str]) -> None:
        async with guarded(answer(401, b"X-Reason: none\r\n", b"no"), sign_in=SIGN_IN) as (running, _, application):
            reply = await running.ask("/", method, **{name.replace("-", "_"): value for name, value in fields.items()})
            assert (reply.status, reply.body, reply["X-Reason"]) == (401, b"no", "none")
            assert not application.connections


class TestFailsClosed:
    @pytest.mark.parametrize(
        ("script", "status", "reason"),
        [
            (answering(answer(500)), 502, "answered 500 (dispatch[0].forward_auth.to)"),
            (answering(answer(404)), 502, "answered 404"),
            (answering(answer(304)), 502, "answered 304"),
            (answering(answer(101)), 502, "answered 101"),
            (answering(b"SSH-2.0-OpenSSH\r\n"), 502, "not an HTTP response"),
            (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), 504, "dispatch[0].forward_auth.timeout"),
            (answering(answer(401, body=bytes(70_000))), 502, "65536 bytes (dispatch[0].forward_auth.max_answer_size)"),
            (answering(ENDLESS + b"fff\r\n" + bytes(4095) + b"\r\n"), 504, "forward_auth.timeout"),
            (answering(ENDLESS + (b"fff\r\n" + bytes(4095) + b"\r\n") * 17), 502, "max_answer_size"),
            (silent, 504, "no answer of the authorization server within 0.3 s (dispatch[0].forward_auth.timeout)"),
        ],
    )  # fmt: skip
    async def test_what_is_no_good_answer_lets_nobody_in(
        self, script: Any, status: int, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "npserver.http")
        async with guarded(script=script, timeout="300ms") as (running, asked, application):
            reply = await running.ask("/", **BROWSER)
            assert reply.status == status
            assert not application.connections
            assert reason in caplog.text
            if script is silent:
                await until(lambda: not asked._tasks)  # the connection is closed

    async def test_no_server(self, caplog: pytest.LogCaptureFixture) -> None:
        async with guarded(PASS) as (running, asked, application):
            await asked.close()
            assert (await running.ask("/")).status == 502
            assert "dispatch[0].forward_auth.to" in caplog.text
            assert not application.connections

    async def test_a_loop_ends(self) -> None:
        async with guarded(PASS) as (running, asked, _):
            assert (await running.ask("/", CDN_Loop=", ".join(["npserver"] * 8))).status == 508
            assert not asked.connections

    async def test_an_http_1_0_request_without_a_host(self) -> None:
        async with guarded(PASS) as (running, asked, _):
            assert (await raw(running, b"GET / HTTP/1.0\r\n\r\n")).status == 400
            assert not asked.connections


class TestConnections:
    async def test_one_serves_all_questions_and_a_closed_one_is_replaced(self) -> None:
        async def script(connection: Connection) -> None:
            for _ in range(3):
                if not await connection.head():
                    return
                await connection.send(PASS)

        async with guarded(script=script) as (running, asked, _application):
            for _ in range(7):
                assert (await running.ask("/")).status == 200
            assert [one.seen.count(b"\r\n\r\n") for one in asked.connections] == [3, 3, 1]

    async def test_questions_go_to_another_target_of_an_upstream(self) -> None:
        async with Origin(answering(answer(503))) as ill, Origin(answering(PASS)) as well:
            upstreams = {"auth": {"targets": [ill.url, well.url, "http://127.0.0.1:1"], "retry_on": ["connect", "503"]}}
            rule = {"handler": "respond", "body": "in", "forward_auth": {"to": "upstream://auth"}}
            async with site(rule, upstreams=upstreams) as running:
                for _ in range(6):
                    assert (await running.ask("/")).body == b"in"
            assert ill.connections

    async def test_a_client_that_leaves_ends_its_question(self) -> None:
        async with guarded(script=silent) as (running, asked, _):
            client = await running.connect()
            client.writer.write(get("/"))
            await until(lambda: asked.seen)
            sock = client.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
            client.writer.transport.abort()
            await until(lambda: not asked._tasks)

    async def test_a_body_is_not_read_before_the_answer(self) -> None:
        may_answer = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.head()
            await may_answer.wait()
            await connection.send(PASS)

        async with guarded(script=script, config={"limits": {"max_body_size": "64m"}}) as (running, asked, application):
            size = 32 << 20
            client = await running.connect()
            client.writer.write(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            client.writer.write(bytes(size))
            await until(lambda: asked.seen)
            assert client.writer.transport.get_write_buffer_size() > 8 << 20  # the kernel holds the rest
            assert not application.connections
            may_answer.set()
            reply = await client.read()
            assert reply.body == b"in"
            assert len(application.seen.partition(b"\r\n\r\n")[2]) == size
            assert len(asked.seen) < 1000
            client.close()

    async def test_100_continue_is_not_sent_to_whom_is_refused(self) -> None:
        async with guarded(answer(403)) as (running, _, _application):
            client = await running.connect()
            client.writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert (await client.read()).status == 403
            client.close()


async def test_files_are_guarded_too(public: Path) -> None:
    async with Origin(answering(answer(401), PASS)) as asked:
        rule = {"handler": "static", "root": str(public), "forward_auth": {"to": asked.url}}
        async with site(rule) as running:
            assert (await running.ask("/")).status == 401
            assert (await running.ask("/")).status == 200
