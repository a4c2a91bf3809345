"""Which upstream or target gets a request or its copy (`split`, `mirror`, `hash`), in the real program.

Covers `web.handlers.proxy.split`, `web.handlers.proxy.mirror` and `web.handlers.proxy.general_handler`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.program import Program

Start = Callable[..., Program]


class Shadow:
    """A target that records requests and answers them by 500; while it is `silent`, by nothing."""

    def __init__(self, backends: Backends, *, silent: bool = False) -> None:
        self.seen: list[tuple[str, bytes, bytes]] = []  # method and path, head, body
        self._is_silent = silent
        self.port = backends.tcp(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
            self.seen.append((head.rpartition(b" HTTP")[0].split(b" HTTP")[0].decode(), head, body))
            if not self._is_silent:
                writer.write(b"HTTP/1.1 500 Shadow\r\nContent-Length: 3\r\n\r\nbad")


class Site:
    """The program with one proxy rule."""

    def __init__(self, start: Start, port: int, rule: dict[str, Any], more: dict[str, Any] | None = None) -> None:
        self.port = port
        self.program = start(
            config={
                "listen": [f"http://127.0.0.1:{port}"],
                "workers": 2,
                "dispatch": [{"handler": "status", "path": "/status"}, {"handler": "proxy", **rule}],
                **(more or {}),
            }
        )

    def metric(self, name: str) -> int:
        return int(json.loads(get(self.port, "/status?format=json")[1])["metrics"][name])

    @contextmanager
    def client(self) -> Iterator[http.client.HTTPConnection]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            yield client
        finally:
            client.close()

    def who(self, user: str) -> str:
        """Return the name of the application that answers a user."""
        with self.client() as client:
            client.request("GET", "/", headers={"X-User": user} if user else {})
            return str(json.load(client.getresponse())["name"])


def test_a_user_stays_with_its_share_in_all_workers_and_when_the_share_grows(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    port, new, old = free_port(), backends.http("new"), f"http://127.0.0.1:{backends.http('old')}"
    rule = {"proxy_pass": old, "split": {f"http://127.0.0.1:{new}": "20%"}, "split_by": "$header.x-user"}
    site = Site(program, port, rule)
    users = [f"user{number}" for number in range(100)]
    first = {user: site.who(user) for user in users}
    assert 8 <= Counter(first.values())["new"] <= 35
    assert {user: site.who(user) for user in users} == first
    assert len({site.who("") for _ in range(6)}) == 1  # without the field, the client's address decides
    larger = Site(program, free_port(), {**rule, "split": {f"http://127.0.0.1:{new}": "60%"}})
    assert {user for user in users if first[user] == "new"} < {user for user in users if larger.who(user) == "new"}


BODY = b"0123456789" * 300


@pytest.mark.parametrize("more", [{}, {"request_buffering": True}], ids=["passed on", "buffered"])
def test_copies_are_whole_and_nothing_else_is_changed(
    program: Start,
    backends: Backends,
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    more: dict[str, Any],
) -> None:
    shadow, port, secure, certificate = Shadow(backends), free_port(), free_port(), certificates()
    mirror = {"to": f"http://127.0.0.1:{shadow.port}/shadow", "max_body": 3000}
    rule = {"proxy_pass": f"http://127.0.0.1:{backends.http()}", "mirror": mirror, "headers": {"X-Copy": "1"}, **more}
    listen = {"listen": [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"], "tls": certificate.config}
    site = Site(program, port, rule, listen)
    cases: list[tuple[str, str, Any, bytes]] = [
        ("GET", "/get?a=b", None, b""),
        ("HEAD", "/head", None, b""),
        ("POST", "/none", None, b""),
        ("POST", "/empty", b"", b""),
        ("POST", "/length", BODY, BODY),
        ("PUT", "/chunked", [BODY[:7], BODY[7:]], BODY),
        ("PUT", "/no-chunks", iter(()), b""),
    ]
    for method, path, sent, _ in cases:
        with site.client() as client:
            client.request(method, path, sent, encode_chunked=not isinstance(sent, bytes | None))
            assert client.getresponse().status == 200
    with site.client() as client:
        client.request("POST", "/large", BODY + b"x")
        assert json.load(client.getresponse())["body"] == (BODY + b"x").decode()
    with httpx.Client(http2=True, verify=certificate.client()) as http2:
        for path, content in (("/h2", BODY), ("/h2-empty", b"")):
            answer = http2.post(f"https://127.0.0.1:{secure}{path}", content=content)
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            cases.append(("POST", path, None, content))
        assert http2.get(f"https://127.0.0.1:{secure}/h2-get").status_code == 200
        cases.append(("GET", "/h2-get", None, b""))
    site.program.wait_until(lambda: len(shadow.seen) == len(cases) or None, "all copies")
    assert {(what, body) for what, _, body in shadow.seen} == {
        (f"{method} /shadow{path}", body) for method, path, _, body in cases
    }
    assert all(b"\r\nX-Copy: 1\r\n" in head and b"transfer-encoding" not in head.lower() for _, head, _ in shadow.seen)
    assert all(b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in head for _, head, _ in shadow.seen)
    site.program.wait_until(lambda: site.metric("npserver_http_mirror_sent_total") == len(cases) or None, "the answers")
    assert site.metric("npserver_http_mirror_dropped_total") == 1  # the large one
    get(port, "/last")

    def logged() -> list[str]:
        return [line for line in site.program.output.splitlines() if "/status" not in line]

    site.program.wait_until(lambda: len(logged()) >= len(cases) + 2 or None, "the access log")
    assert len(logged()) == len(cases) + 2
    assert all(f":{shadow.port}" not in line for line in logged())


def test_a_silent_or_dead_mirror_changes_nothing(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    shadow, port, new = Shadow(backends, silent=True), free_port(), backends.http(name="new")
    mirror = {"to": f"http://127.0.0.1:{shadow.port}", "max_requests": 2, "timeout": "1s"}
    rule = {"proxy_pass": f"http://127.0.0.1:{backends.http(name='old')}", "mirror": mirror}
    split = {"split": {f"http://127.0.0.1:{new}": "50%"}, "split_by": "$header.x-user"}
    site = Site(program, port, {**rule, **split}, {"workers": 1})
    answering = [site.who(user) for user in "abcdefghij"]
    assert min(answering.count("old"), answering.count("new")) > 2, "more than 'max_requests' each"
    assert site.metric("npserver_http_mirror_dropped_total") == 8
    site.program.wait_for(
        rf"warn  .*copy of a request was not answered: http://127\.0\.0\.1:{shadow.port}: no answer within 1 s "
        r"\(timeout\) \(dispatch\[1\]\.mirror\)$"
    )
    site.program.wait_until(lambda: site.metric("npserver_http_mirror_failed_total") == 2 or None, "both time-outs")

    dead = Site(program, free_port(), {**rule, "mirror": {"to": f"http://127.0.0.1:{free_port()}"}})
    assert {get(dead.port)[0] for _ in range(10)} == {200}
    dead.program.wait_for(r"copy of a request was not answered: .*refused.* \(dispatch\[1\]\.mirror\)$")
    dead.program.wait_until(lambda: dead.metric("npserver_http_mirror_failed_total") == 10 or None, "all failures")
    by_target = json.loads(get(dead.port, "/status?format=json")[1])["metrics"]["npserver_upstream_failures_total"]
    assert sum(one["value"] for one in by_target) == 10, "each failure counts once"
    dead.program.stop()


def test_a_share_is_copied_and_a_request_that_breaks_off_is_not(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    shadow, app, port = Shadow(backends), Shadow(backends), free_port()
    mirror = {"to": f"http://127.0.0.1:{shadow.port}", "share": "50%"}
    site = Site(program, port, {"proxy_pass": f"http://127.0.0.1:{app.port}", "mirror": mirror})
    assert {get(port)[0] for _ in range(100)} == {500}
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /broken HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    site.program.wait_for("POST .*/broken")
    assert 20 <= len(shadow.seen) <= 80
    assert all("/broken" not in what for what, _, _ in shadow.seen)


def test_a_hash_of_a_variable_keeps_users_on_their_targets_when_one_is_lost(
    program: Start, backends: Backends, free_port: Callable[[], int]
) -> None:
    names = {f"app{number}": f"http://127.0.0.1:{backends.http(f'app{number}')}" for number in range(4)}
    upstream = {"balance": "hash", "hash": "$header.x-user"}
    rule = {"proxy_pass": "upstream://app"}
    before, after = (
        Site(program, free_port(), rule, {"upstreams": {"app": {"targets": targets, **upstream}}})
        for targets in (list(names.values()), [uri for name, uri in names.items() if name != "app2"])
    )
    users = [f"user{number}" for number in range(40)]
    first = {user: before.who(user) for user in users}
    assert set(first.values()) == names.keys()
    assert {user: before.who(user) for user in users} == first
    second = {user: after.who(user) for user in users}
    assert {user for user in users if first[user] != second[user]} == {
        user for user, name in first.items() if name == "app2"
    }
    assert len({before.who("") for _ in range(6)}) == 1
