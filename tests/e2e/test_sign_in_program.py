"""Sign-in with the real program: two workers, reload and shutdown; an authorization server, and an issuer of tokens."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwk, jwt

from tests.stage.nginx import running_nginx
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.waiting import wait_until

KEY = jwk.RSAKey.generate_key(2048, {"kid": "1"})


class Issuer(BaseHTTPRequestHandler):
    """Serves the key set."""

    def do_GET(self) -> None:
        body = json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_all_workers_know_the_keys(
    program: Callable[..., Program], free_port: Callable[[], int], issuer: ThreadingHTTPServer, tmp_path: Path
) -> None:
    port = free_port()
    section = {"keys": f"http://127.0.0.1:{issuer.server_port}/keys", "audience": "app", "issuer": "https://idp"}
    rule = {"handler": "redirect", "to": "/$jwt.sub", "jwt": section}
    config = {
        "listen": [f"http://127.0.0.1:{port}"], "workers": 2, "store": str(tmp_path / "store"), "dispatch": [rule],
    }  # fmt: skip
    claims = {"iss": "https://idp", "aud": "app", "sub": "ann", "exp": int(time.time()) + 600}
    good = jwt.encode({"alg": "RS256", "kid": "1"}, claims, KEY)
    bad = jwt.encode({"alg": "RS256", "kid": "1"}, claims, jwk.RSAKey.generate_key(2048))

    def answers(token: str) -> set[tuple[int, str]]:
        """Return what requests on several connections get: both workers answer some of them."""
        fields = {"Authorization": f"Bearer {token}"}
        replies = [httpx.get(f"http://127.0.0.1:{port}/", headers=fields) for _ in range(8)]
        return {(reply.status_code, reply.headers.get("location", "")) for reply in replies}

    one = program(config=config)
    wait_until(lambda: answers(good) == {(308, "/ann")}, "keys in all workers")
    assert answers(bad) == {(401, "")}
    one.stop()

    issuer.shutdown()
    issuer.server_close()
    two = program(config=config)
    wait_until(lambda: answers(good) == {(308, "/ann")}, "kept keys in all workers")
    two.wait_for(r"the keys of http://127\.0\.0\.1:\d+ cannot be used, the last good ones stay: .*jwt\.keys\)")
    assert answers(bad) == {(401, "")}


#: nginx as an authorization server, which keeps its connections.
DECIDES = """
location /auth {
    add_header Remote-User ann;
    if ($cookie_session = "1") { return 204; }
    return 401;
}
"""


@needs("nginx")
def test_an_authorization_server_and_reloads(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    with running_nginx(tmp_path, DECIDES) as server:
        rule = {"handler": "redirect", "to": "/$header.remote-user"}
        guarded = {**rule, "forward_auth": {"to": server, "path": "/auth", "copy": "Remote-User"}}
        config = {
            "listen": [f"http://127.0.0.1:{port}"], "workers": 2,
            "dispatch": [guarded, {"handler": "status", "path": "/status"}],
        }  # fmt: skip
        one = program(config=config)

        def answers(cookie: str) -> set[tuple[int, str]]:
            fields = {"Cookie": cookie, "Remote-User": "root"}
            replies = [httpx.get(f"http://127.0.0.1:{port}/", headers=fields) for _ in range(6)]
            return {(reply.status_code, reply.headers.get("location", "")) for reply in replies}

        assert answers("session=1") == {(308, "/ann")}
        assert answers("session=2") == {(401, "")}
        metrics = httpx.get(f"http://127.0.0.1:{port}/status?format=prometheus").text
        counts = dict(re.findall(r'npserver_forward_auth_total\{result="(\w+)"\} (\d+)', metrics))
        assert (counts["passed"], counts["refused"]) == ("6", "6")
        one.configure({**config, "dispatch": [rule]})
        one.send_signal(signal.SIGHUP)
        wait_until(lambda: answers("session=2") == {(308, "/root")}, "reload")
        one.configure(config)
        one.send_signal(signal.SIGHUP)
        wait_until(lambda: answers("session=2") == {(401, "")}, "second reload")
        assert answers("session=1") == {(308, "/ann")}


class Hesitating(BaseHTTPRequestHandler):
    """Lets everybody pass, once it may answer."""

    is_asked = threading.Event()
    may_answer = threading.Event()

    def do_GET(self) -> None:
        self.is_asked.set()
        self.may_answer.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_shutdown_waits_for_the_answer(program: Callable[..., Program], free_port: Callable[[], int]) -> None:
    port = free_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hesitating) as server, ThreadPoolExecutor(1) as others:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        rule = {"handler": "respond", "body": "in", "forward_auth": {"to": f"http://127.0.0.1:{server.server_port}"}}
        one = program(config={"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "dispatch": [rule]})
        asking = others.submit(httpx.get, f"http://127.0.0.1:{port}/", timeout=30)
        assert Hesitating.is_asked.wait(30)
        one.send_signal(signal.SIGTERM)
        one.wait_for("shutting down")
        Hesitating.may_answer.set()
        assert asking.result(30).text == "in"
        assert one.wait_exit() == 0
        server.shutdown()
