"""NTLM and Negotiate through the proxy: a login belongs to the client's connection (RFC 4559 §6).

The upstream is a server that keeps the user of a connection, as IIS does; clients are curl and httpx.
"""

from __future__ import annotations

import base64
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.program import Program
from tests.stage.programs import needs

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
#: An NTLM challenge (MS-NLMP §2.2.1.2): signature, type 2, no target, flags, a server challenge.
CHALLENGE = base64.b64encode(b"NTLMSSP\0" + struct.pack("<IHHII", 2, 0, 0, 48, 0x8201) + b"12345678" + bytes(16))


class LoginHandler(BaseHTTPRequestHandler):
    """One connection: answers with its user, once that has logged in; asks for NTLM or Negotiate until then."""

    protocol_version = "HTTP/1.1"
    connections: list[LoginHandler]

    def setup(self) -> None:
        super().setup()
        self.user = ""
        self.ended = threading.Event()
        self.server.handlers.append(self)  # type: ignore[attr-defined]

    def finish(self) -> None:
        super().finish()
        self.ended.set()

    def do_GET(self) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Negotiate":
            self.user = token
        elif scheme == "NTLM" and not token.startswith("TlRMTVNTUAAB"):  # type 3, or a test's own word
            self.user = token if len(token) < 20 else "by-curl"
        if self.user:
            self._answer(200, self.user.encode())
        elif scheme == "NTLM":
            self._answer(401, b"go on", f"NTLM {CHALLENGE.decode()}")
        else:
            self._answer(401, b"log in", "Negotiate", "NTLM")

    def _answer(self, status: int, body: bytes, *challenges: str) -> None:
        self.send_response(status)
        for challenge in challenges:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class LoginServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), LoginHandler)
        self.handlers: list[LoginHandler] = []
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def upstream() -> Iterator[LoginServer]:
    with LoginServer() as server:
        yield server
        server.shutdown()


@pytest.fixture
def serve(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any]
) -> Callable[..., tuple[str, Any]]:
    """Return `serve(targets, loop)`, which starts npserver in front of targets; it returns URL and trust."""

    def start(targets: list[LoginServer], loop: str = "uvloop", workers: int = 1) -> tuple[str, Any]:
        port, certificate = free_port(), certificates()
        config = {
            "listen": [f"https://127.0.0.1:{port}"],
            "tls": certificate.config,
            "workers": workers,
            "upstreams": {"app": {"targets": [f"http://127.0.0.1:{one.port}" for one in targets]}},
            "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://app"}],
        }
        program(config=config, env={"NPSERVER_LOOP": "asyncio"} if loop == "asyncio" else {})
        return f"https://127.0.0.1:{port}/", certificate.ca

    return start


def ask(client: httpx.Client, url: str, credentials: str = "") -> tuple[int, str]:
    answer = client.get(url, headers={"Authorization": credentials} if credentials else {})
    return answer.status_code, answer.text


@LOOPS
@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_a_login_is_not_shared_with_other_clients(
    serve: Callable[..., tuple[str, Any]], upstream: LoginServer, loop: str, http2: bool
) -> None:
    url, ca = serve([upstream], loop)
    options: dict[str, Any] = {"verify": ssl.create_default_context(cafile=ca), "http1": not http2, "http2": http2}
    with httpx.Client(**options) as alice, httpx.Client(**options) as bob:
        assert ask(alice, url) == (401, "log in")
        assert ask(bob, url) == (401, "log in")
        assert ask(alice, url, "NTLM TlRMTVNTUAABAAAA") == (401, "go on")
        assert ask(alice, url, "NTLM alice") == (200, "alice")
        for _ in range(5):
            assert ask(alice, url) == (200, "alice")
            assert ask(bob, url) == (401, "log in")
        assert ask(bob, url, "Negotiate bob") == (200, "bob"), "without a challenge before"
        for _ in range(5):
            assert (ask(alice, url), ask(bob, url)) == ((200, "alice"), (200, "bob"))
    with httpx.Client(**options) as carol:
        for _ in range(5):
            assert ask(carol, url) == (401, "log in")


@LOOPS
def test_a_login_stays_at_its_target(serve: Callable[..., tuple[str, Any]], upstream: LoginServer, loop: str) -> None:
    """The three legs of NTLM reach one target, whatever the balancer's turn."""
    with LoginServer() as other:
        url, ca = serve([upstream, other], loop)
        for name in ("alice", "bob", "carol"):
            with httpx.Client(verify=ssl.create_default_context(cafile=ca)) as client:
                assert ask(client, url)[0] == 401
                assert ask(client, url, "NTLM TlRMTVNTUAABAAAA") == (401, "go on")
                assert ask(client, url, f"NTLM {name}") == (200, name)
                assert [ask(client, url) for _ in range(4)] == [(200, name)] * 4
        other.shutdown()


def test_a_private_connection_ends_with_its_client(
    serve: Callable[..., tuple[str, Any]], upstream: LoginServer
) -> None:
    url, ca = serve([upstream])
    with httpx.Client(verify=ssl.create_default_context(cafile=ca)) as alice:
        assert ask(alice, url, "Negotiate alice") == (200, "alice")
        (connection,) = [one for one in upstream.handlers if one.user == "alice"]
    assert connection.ended.wait(30)


@needs("curl")
def test_curl_logs_in_by_ntlm(serve: Callable[..., tuple[str, Any]], upstream: LoginServer, tmp_path: Path) -> None:
    if b"NTLM" not in subprocess.run(["curl", "-V"], capture_output=True).stdout:
        pytest.skip("curl was built without NTLM")
    url, ca = serve([upstream])
    command = ["curl", "-sS", "--http1.1", "--cacert", str(ca), "--ntlm", "-u", "joe:secret", url, url]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert done.stdout == b"by-curlby-curl"
    plain = subprocess.run(["curl", "-sS", "--cacert", str(ca), url], capture_output=True, timeout=30, check=True)
    assert plain.stdout == b"log in"
