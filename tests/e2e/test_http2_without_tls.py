"""HTTP/2 without TLS by prior knowledge (RFC 9113 §3.3): curl, nghttp, h2load and raw bytes against the real program.

Covers `web.server.http1.prior_knowledge`.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.events
import httpx
import pytest

from tests.stage.asking import get
from tests.stage.http2_talk import Talk
from tests.stage.program import Program
from tests.stage.programs import needs

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CONTENT = bytes(range(256)) * 4000  # 1 MB
Start = Callable[..., Program]


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def config(port: int, public: Path, **extra: Any) -> dict[str, Any]:
    return {
        "listen": [{"name": "web", "uri": f"http://127.0.0.1:{port}", "http2": True}],
        "logging": {"format": "json"},
        "dispatch": [
            {"handler": "static", "root": str(public)},
            {"handler": "respond", "path": "/say", "body": "$host $scheme $client_ip"},
            {"handler": "respond", "path": "/two", "body": "2", "match": {"protocol": "http/2"}},
            {"handler": "status", "path": "/status"},
        ],
        **extra,
    }


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


@needs("curl")
def test_curl_and_http1_share_the_listener(
    program: Start, free_port: Callable[[], int], public: Path, loop: str
) -> None:
    (public / "large.bin").write_bytes(CONTENT)
    port = free_port()
    one = program(config=config(port, public, workers=2), env={"NPSERVER_LOOP": loop})
    url = f"http://127.0.0.1:{port}"

    def curl(*words: str) -> bytes:
        return subprocess.run(["curl", "-sS", *words], capture_output=True, timeout=30, check=True).stdout

    assert curl("--http2-prior-knowledge", f"{url}/large.bin") == CONTENT
    said = b"127.0.0.1 http 127.0.0.1"
    assert curl("--http2-prior-knowledge", "-w", " %{http_version}", f"{url}/say") == said + b" 2"
    assert curl("-w", " %{http_version}", f"{url}/say") == said + b" 1.1"
    assert curl("--http2-prior-knowledge", f"{url}/two") == b"2"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/two") == b"404"
    assert curl("--http2-prior-knowledge", "-d", "x", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/say") == b"200"
    assert curl("--http2", "-w", " %{http_version}", f"{url}/say") == said + b" 1.1", "an Upgrade is not followed"
    one.wait_for(r'"protocol": ?"HTTP/2.0"')


@needs("nghttp", "h2load")
def test_many_streams_and_connections(program: Start, free_port: Callable[[], int], public: Path) -> None:
    (public / "large.bin").write_bytes(CONTENT)
    port = free_port()
    program(config=config(port, public, workers=2))
    url = f"http://127.0.0.1:{port}"
    done = subprocess.run(
        ["nghttp", "-ans", f"{url}/index.html", f"{url}/large.bin"], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.count(" 200 ") == 2, done.stdout + done.stderr
    done = subprocess.run(
        ["h2load", "-n500", "-c10", "-m10", f"{url}/index.html"], capture_output=True, text=True, timeout=30
    )
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout


def test_the_preface_may_come_in_pieces(program: Start, free_port: Callable[[], int], public: Path, loop: str) -> None:
    port = free_port()
    program(config=config(port, public, workers=1), env={"NPSERVER_LOOP": loop})
    for pieces in (1, 7, 18, 20):
        with connect(port) as client:
            talk = Talk(client)
            assert talk.ask("/say", pieces) == ("200", b"a.test http 127.0.0.1"), pieces
            assert talk.ask("/app.css")[0] == "200"


def test_on_a_unix_socket_and_behind_a_load_balancer(
    program: Start, free_port: Callable[[], int], public: Path, socket_dir: Path, loop: str
) -> None:
    port = free_port()
    made = config(port, public, workers=1)
    made["listen"][0]["accept_proxy"] = "127.0.0.1"
    made["listen"].append({"uri": f"unix://{socket_dir}/s", "http2": True})
    program(config=made, env={"NPSERVER_LOOP": loop})
    with connect(port) as client:
        client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 4000 80\r\n")
        assert Talk(client).ask("/say") == ("200", b"a.test http 192.0.2.7")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(f"{socket_dir}/s")
        assert Talk(client).ask("/say", 9) == ("200", b"a.test http unix:")


def test_connections_are_counted_once_and_limited(
    program: Start, free_port: Callable[[], int], public: Path, loop: str
) -> None:
    port = free_port()
    made = config(port, public, workers=1, timeouts={"max_connections_per_ip": 2})
    one = program(config=made, env={"NPSERVER_LOOP": loop})

    def open_now() -> int:
        page = get(port, "/status?format=json")[1]
        return int(json.loads(page)["metrics"]["npserver_http_connections"])

    for _ in range(3):  # a place that is not given back is missed here
        with connect(port) as client:
            assert Talk(client).ask("/say")[0] == "200"
            assert open_now() == 2
            with connect(port) as refused:
                assert Talk(refused).ask("/say")[0] in ("200", "")
    one.wait_until(lambda: open_now() == 1, "only the asking connection")


def test_a_reload_and_a_shutdown(program: Start, free_port: Callable[[], int], public: Path, loop: str) -> None:
    """A connection goes on with the new rules, without the key too; new ones are refused then."""
    port = free_port()
    made = config(port, public, workers=1)
    one = program(config=made, env={"NPSERVER_LOOP": loop})
    with connect(port) as client:
        talk = Talk(client)
        assert talk.ask("/say")[0] == "200"
        made["listen"][0]["http2"] = False
        made["dispatch"][1]["body"] = "new"
        del made["dispatch"][2]
        one.configure(made)
        one.send_signal(signal.SIGHUP)
        one.wait_for("config reloaded")
        one.wait_until(lambda: get(port, "/say")[1] == b"new", "the new rules")
        assert talk.ask("/say") == ("200", b"new")
        with connect(port) as other:
            other.sendall(PREFACE)
            assert other.makefile("rb").read().startswith(b"HTTP/1.1 505 ")
        one.wait_for(r"127.0.0.1 speaks HTTP/2 without TLS, which this listener does not have \(listen.http2\)")
        one.send_signal(signal.SIGTERM)
        assert any(isinstance(event, h2.events.ConnectionTerminated) for event in talk.events())
    assert one.wait_exit() == 0


def test_what_only_looks_like_it_is_refused(program: Start, free_port: Callable[[], int], public: Path) -> None:
    """The preface comes first or not at all; half of one is timed as half a head."""
    port = free_port()
    program(config=config(port, public, workers=1, timeouts={"header": "200ms"}))
    request = b"GET /say HTTP/1.1\r\nHost: a.test\r\n\r\n"
    cases = {
        request + PREFACE: b"HTTP/1.1 505 ",
        b"PRI * HTTP/2.0\r\nHost: a.test\r\n\r\n": b"HTTP/1.1 505 ",
        b"PRI * HTTP/2.0\r\n": b"HTTP/1.1 408 ",
    }
    for sent, answered in cases.items():
        with connect(port) as client:
            client.sendall(sent)
            assert answered in client.makefile("rb").read()
    for sent in (PREFACE[:20], PREFACE, PREFACE[:18] + b"GET / HTTP/1.1\r\n\r\n"):
        with connect(port) as client:
            client.sendall(sent)
            assert client.makefile("rb").read()[3:4] in (b"\x04", b"\x07"), "frames, and the end: SETTINGS, GOAWAY"
    assert httpx.get(f"http://127.0.0.1:{port}/say").status_code == 200
