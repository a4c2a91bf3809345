"""Rules that answer by themselves, and what stands around others: networks, passwords, headers, error pages.

Covers `web.handlers.redirect.handler`, `web.handlers.respond.handler`, `web.middleware.basic_auth.check` and
`web.middleware.networks.gate`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from npserver.web.middleware.basic_auth import check
from npserver.web.middleware.basic_auth.passwords import PasswordHash
from tests.stage.passwords import quick_hash
from tests.stage.site import Site, site


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class TestRedirect:
    @pytest.mark.parametrize(
        ("to", "target", "host", "location"),
        [
            ("https://$host$path$query", "/a/b?c=d", "Example.com:8080", "https://example.com/a/b?c=d"),
            ("https://$host$path$query", "/a", "[::1]:80", "https://[::1]/a"),
            ("https://$host:8443$request_uri", "/a?", "h", "https://h:8443/a?"),
            ("/new$path", "/old", "h", "/new/old"),
            ("/$path", "//evil.example", "h", "/evil.example"),
            ("/$path", "/x", "h", "/x"),
            ("$path/", "/x", "h", "/x/"),
            ("/%5c$path", "/x", "h", "/%5c/x"),
            ("//cdn.example$path", "/x", "h", "//cdn.example/x"),
        ],
    )
    async def test_the_location_is_made_of_the_template(self, to: str, target: str, host: str, location: str) -> None:
        async with site({"handler": "redirect", "to": to}) as running:
            reply = await running.ask(target, Host=host)
        assert (reply.status, reply["Location"]) == (308, location)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_the_status_is_the_rules(self, status: int) -> None:
        async with site({"handler": "redirect", "to": "/x", "status": status}) as running:
            assert (await running.ask("/", "POST", b"body")).status == status

    async def test_without_a_host_there_is_nowhere_to_go(self) -> None:
        async with site({"handler": "redirect", "to": "https://$host$path"}) as running:
            client = await running.connect()
            client.writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.read()).status == 400
            client.close()

    @pytest.mark.parametrize("target", ["/%0d%0aSet-Cookie:%20a=b", "/?a%0d%0aX:%20y", "/\u0080"])
    async def test_no_request_adds_a_header(self, target: str) -> None:
        """FIELD: response splitting by encoded line ends (CVE-2020-7694)."""
        async with site({"handler": "redirect", "to": "https://$host$path$query"}) as running:
            reply = await running.ask(target)
        assert {name for name, _ in reply.lines} <= {"Date", "Server", "Location", "Content-Length"}


class TestRespond:
    async def test_a_fixed_answer_is_sent(self) -> None:
        async with site(
            {"handler": "respond", "path": "/health", "body": "ok\n"},
            {"handler": "respond", "path": "/gone", "status": 410},
            {"handler": "respond", "path": "/none", "status": 204, "body": "unsendable"},
            {"handler": "respond", "path": "/json", "body": '{"a": "$$1"}', "content_type": "application/json"},
            {"handler": "respond", "path": "/who", "body": "$method $client_ip ${host}$$"},
        ) as running:
            reply = await running.ask("/health")
            assert (reply.status, reply.body, reply["Content-Type"]) == (200, b"ok\n", "text/plain; charset=utf-8")
            assert (await running.ask("/health", "HEAD"))["Content-Length"] == "3"
            reply = await running.ask("/gone")
            assert (reply.status, reply.body, "Content-Type" in reply) == (410, b"", False)
            reply = await running.ask("/none")
            assert (reply.status, "Content-Length" in reply) == (204, False)
            reply = await running.ask("/json")
            assert (reply.body, reply["Content-Type"]) == (b'{"a": "$1"}', "application/json")
            assert (await running.ask("/who", "POST", b"x", Host="h:1")).body == b"POST 127.0.0.1 h$"
            assert (await running.ask("/nothing")).status == 404

    @pytest.mark.parametrize(("status", "phrase"), [(299, ""), (450, ""), (599, ""), (425, "Too Early")])
    async def test_a_status_that_is_not_known_has_an_empty_phrase_rfc9112_4(self, status: int, phrase: str) -> None:
        """The space before the phrase is sent all the same."""
        async with site({"handler": "respond", "status": status, "body": "x"}) as running:
            client = await running.connect()
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            line, _, rest = (await client.at_end()).partition(b"\r\n")
            client.close()
        assert line.decode() == f"HTTP/1.1 {status} {phrase}"
        assert rest.endswith(b"\r\n\r\nx")


class TestResponseHeaders:
    async def test_they_are_changed_on_every_kind_of_answer(self, public: Path) -> None:
        changes = {"X-Frame-Options": "DENY", "Cache-Control": "no-store", "ETag": None, "+Vary": "Cookie"}
        rules = [
            {"handler": "static", "root": str(public), "response_headers": changes},
            {"handler": "respond", "path": "/r", "body": "x", "headers": changes},
            {"handler": "redirect", "path": "/go", "to": "/", "headers": changes},
        ]
        async with site(*rules) as running:
            for target, method in (("/", "GET"), ("/", "HEAD"), ("/bytes.bin", "GET"), ("/none", "GET"), ("/r", "GET"),
                                   ("/go", "GET"), ("/", "POST"), ("/sub", "GET")):  # fmt: skip
                for _ in range(2):
                    reply = await running.ask(target, method)
                    assert (reply["X-Frame-Options"], reply["Cache-Control"]) == ("DENY", "no-store")
                    assert "ETag" not in reply
                    assert "Cookie" in reply.all("Vary")

    async def test_variables_are_filled_in(self) -> None:
        rule = {"handler": "respond", "body": "x", "headers": {"X-Id": "$request_id", "X-To": "$scheme://$host"}}
        async with site(rule) as running:
            replies = [await running.ask("/", Host="h") for _ in range(2)]
        assert len({reply["X-Id"] for reply in replies}) == 2
        assert replies[0]["X-To"] == "http://h"


class TestNetworks:
    @pytest.mark.parametrize(
        ("rule", "status"),
        [
            ({}, 200),
            ({"allow": "127.0.0.0/8"}, 200),
            ({"allow": ["10.0.0.0/8", "home"]}, 200),
            ({"allow": ["10.0.0.0/8"]}, 403),
            ({"deny": "home"}, 403),
            ({"deny": "10.0.0.0/8"}, 200),
            ({"allow": "home", "deny": "127.0.0.1"}, 403),
        ],
    )
    async def test_clients_are_let_in_by_network(self, rule: dict[str, Any], status: int) -> None:
        networks = {"home": ["127.0.0.0/8", "::1"]}
        async with site({"handler": "respond", "body": "in", **rule}, networks=networks) as running:
            assert (await running.ask("/")).status == status

    async def test_they_stand_before_the_password(self) -> None:
        rule = {"handler": "respond", "allow": "10.0.0.0/8", "basic_auth": {"users": {"joe": quick_hash("pw")}}}
        async with site(rule) as running:
            assert (await running.ask("/", Authorization=basic("joe", "pw"))).status == 403


class TestBasicAuth:
    """RFC 7617."""

    @pytest.fixture
    async def guarded(self, public: Path) -> AsyncIterator[Site]:
        auth = {"users": {"joe": quick_hash("pass:word"), "eve": quick_hash("ü€")}, "realm": 'the "realm"'}
        rules = [
            {"handler": "static", "root": str(public), "basic_auth": auth},
            {"handler": "respond", "path": "/open", "body": "open"},
        ]
        async with site(*rules) as running:
            yield running

    async def test_good_credentials_come_in(self, guarded: Site) -> None:
        for _ in range(2):
            assert (await guarded.ask("/", Authorization=basic("joe", "pass:word"))).status == 200
            assert (await guarded.ask("/", Authorization=basic("eve", "ü€"))).status == 200

    @pytest.mark.parametrize(
        "value",
        [None, "", "Basic", "Basic !!!!", basic("joe", "wrong"), basic("joe", ""), basic("", "pass:word"),
         basic("mallory", "pass:word"), basic("joe", "ü€"), "Bearer " + "x" * 20, "Basic " + b64encode(b"joe").decode(),
         "Basic " + b64encode(b"joe:\xff").decode(), "Basic am9lOnBhc3M6d29yZA=", basic("joe", "pass:word") + " x"],
    )  # fmt: skip
    async def test_without_good_credentials_they_are_asked_for(self, guarded: Site, value: str | None) -> None:
        reply = await guarded.ask("/", **({} if value is None else {"Authorization": value}))
        assert reply.status == 401
        assert reply["WWW-Authenticate"] == 'Basic realm="the \\"realm\\"", charset="UTF-8"'
        assert b"home" not in reply.body

    async def test_the_scheme_is_read_in_any_case(self, guarded: Site) -> None:
        value = basic("joe", "pass:word").replace("Basic", "bASIC")
        assert (await guarded.ask("/", Authorization=value)).status == 200

    async def test_other_rules_are_open(self, guarded: Site) -> None:
        assert (await guarded.ask("/open")).status == 200

    async def test_a_good_password_is_checked_once_and_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        checked = []
        original = PasswordHash.verify

        def counting(self: PasswordHash, password: str) -> bool:
            checked.append((password, threading.current_thread() is threading.main_thread()))
            return original(self, password)

        monkeypatch.setattr(PasswordHash, "verify", counting)
        rule = {"handler": "respond", "body": "in", "basic_auth": {"users": {"joe": quick_hash("pw")}}}
        async with site(rule) as running:
            for _ in range(2):
                replies = await asyncio.gather(*(running.ask("/", Authorization=basic("joe", "pw")) for _ in range(10)))
                assert {reply.status for reply in replies} == {200}
            assert checked == [("pw", False)]

    async def test_an_unknown_name_takes_as_long_as_a_known_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        checked = []
        monkeypatch.setattr(PasswordHash, "verify", lambda self, password: bool(checked.append(password)))
        rule = {"handler": "respond", "body": "in", "basic_auth": {"users": {"joe": quick_hash("pw")}}}
        async with site(rule) as running:
            for name in ("joe", "nobody"):
                assert (await running.ask("/", Authorization=basic(name, "guess"))).status == 401
        assert checked == ["guess", "guess"]

    async def test_a_flood_of_guesses_is_turned_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(check, "MAX_CHECKS", 2)
        gate = threading.Event()
        monkeypatch.setattr(PasswordHash, "verify", lambda self, password: gate.wait(30) and False)
        rule = {"handler": "respond", "body": "in", "basic_auth": {"users": {"joe": quick_hash("pw")}}}
        async with site(rule, {"handler": "respond", "path": "/open"}) as running:
            waiting = [asyncio.create_task(running.ask("/", Authorization=basic("joe", f"guess{n}"))) for n in range(5)]
            done, pending = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 3:
                more, pending = await asyncio.wait(pending, timeout=20, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            assert {task.result().status for task in done} == {503}
            assert (await running.ask("/open")).status == 200  # the loop is free meanwhile
            gate.set()
            assert {task.result().status for task in (await asyncio.wait(pending))[0]} == {401}

    async def test_the_body_of_a_guarded_request_reaches_the_handler(self, tmp_path: Path) -> None:
        auth = {"users": {"joe": quick_hash("pw")}}
        async with site({"handler": "respond", "body": "in", "basic_auth": auth}) as running:
            client = await running.connect()
            for _ in range(2):
                reply = await client.ask("/", "POST", b"x" * 10_000, Authorization=basic("joe", "pw"))
                assert (reply.status, reply.body) == (200, b"in")
            client.close()


class TestErrorPages:
    @pytest.fixture
    def pages(self, tmp_path: Path) -> Path:
        (tmp_path / "404.html").write_text("<h1>lost</h1>")
        (tmp_path / "4xx.txt").write_text("your fault")
        (tmp_path / "own.html").write_text("<h1>own</h1>")
        return tmp_path

    async def test_rules_win_over_the_config_and_numbers_over_classes(self, pages: Path, public: Path) -> None:
        rules = [
            {"handler": "static", "root": str(public)},
            {
                "handler": "static",
                "root": str(public),
                "path": "/sub/**",
                "error_pages": {"404": str(pages / "own.html")},
            },
        ]
        table = {"404": str(pages / "404.html"), "4xx": str(pages / "4xx.txt")}
        async with site(*rules, error_pages=table) as running:
            reply = await running.ask("/none", Accept="application/json")
            assert (reply.status, reply.body, reply["Content-Type"]) == (
                404,
                b"<h1>lost</h1>",
                "text/html; charset=utf-8",
            )
            assert (await running.ask("/", "POST")).body == b"your fault"
            assert (await running.ask("/sub/none")).body == b"<h1>own</h1>"
            assert (await running.ask("/sub/", "POST")).body == b"your fault"
            assert (await running.ask("/none", "HEAD"))["Content-Length"] == "13"

    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
            ("application/json", "application/json"),
            ("*/*", "text/plain; charset=utf-8"),
            ("image/png", "text/plain; charset=utf-8"),
        ],
    )
    async def test_built_in_pages_come_in_the_form_asked_for(
        self, public: Path, accept: str, content_type: str
    ) -> None:
        async with site({"handler": "static", "root": str(public)}) as running:
            reply = await running.ask("/<script>", Accept=accept)
            assert reply["Content-Type"] == content_type
            assert b"404" in reply.body
            assert b"script" not in reply.body
            if content_type == "application/json":
                assert json.loads(reply.body) == {"status": 404, "error": "Not Found"}


@pytest.mark.parametrize("path", ["/own", "/other"])
async def test_a_body_too_large_is_logged_with_the_key_that_decided(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 9110 §15.5.14: 413 by the rule's own limit, or by the one of all rules."""
    rules = [
        {"handler": "respond", "path": "/own", "max_body_size": 10},
        {"handler": "respond", "path": "/other"},
    ]
    caplog.set_level("INFO", "npserver.http")
    async with site(*rules, limits={"max_body_size": 20}) as running:
        assert (await running.ask(path, "POST", bytes(30))).status == 413
    key = "dispatch[0].max_body_size" if path == "/own" else "limits.max_body_size"
    assert f"({key})" in caplog.text
