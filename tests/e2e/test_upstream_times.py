"""How long the targets of each rule take to respond, in the metrics and the access logs of the real program.

Covers `web.request_times`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.http2_talk import Talk, WebSocket
from tests.stage.http3 import connected
from tests.stage.http3_websocket import WebSocket as WebSocket3
from tests.stage.php import running_php_cgi
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.scripted_upstream import Upstream

Start = Callable[..., Program]

RULES = "npserver_http_upstream_response_seconds"
TARGETS = "npserver_upstream_response_seconds"


def config(port: int, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "listen": [{"uri": f"http://127.0.0.1:{port}", "http2": True}],
        "workers": 2,
        "metrics": {"times": True},
        "dispatch": [{"handler": "status", "path": "/status"}, *rules],
        "logging": {"access_log": "off"},
        **more,
    }


def proxy(upstream: int | str, name: str, path: str = "/**", **more: Any) -> dict[str, Any]:
    to = f"http://127.0.0.1:{upstream}" if isinstance(upstream, int) else upstream
    return {"handler": "proxy", "name": name, "path": path, "proxy_pass": to, **more}


def counts(port: int) -> dict[str, int]:
    """Return how many responses were timed: by rule, and of all targets as "targets"."""
    families = text_string_to_metric_families(get(port, "/status?format=prometheus")[1].decode())
    found: dict[str, int] = {}
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == f"{RULES}_count":
            found[sample.labels["rule"]] = int(sample.value)
        elif sample.name == f"{TARGETS}_count":
            found["targets"] = found.get("targets", 0) + int(sample.value)
    return found


def web_client(port: int, *, is_http2: bool = False) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, http1=not is_http2, http2=is_http2)


def wait_for(one: Program, port: int, expected: dict[str, int]) -> None:
    one.wait_until(lambda: counts(port) == expected, f"{expected}")


@pytest.mark.parametrize("is_http2", [False, True])
def test_each_response_counts_once_for_its_rule_however_it_arrives(
    program: Start, free_port: Callable[[], int], is_http2: bool
) -> None:
    """The short way of the proxy, in pieces, with a body, cut midway; on both workers."""
    port, upstream = free_port(), Upstream()
    rules = [proxy(upstream.port, "one", "/one/**"), proxy(upstream.port, "two", "/two/**")]
    one = program(config=config(port, *rules))
    for _ in range(6):
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=30, http1=not is_http2, http2=is_http2
        ) as client:
            for path in ("/one/small", "/one/small", "/one/large", "/two/small"):
                assert client.get(path).status_code == 200
            assert client.head("/one/small").status_code == 200
            assert client.post("/two/small", content=b"four").status_code == 200
    with web_client(port, is_http2=is_http2) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get("/one/half")
    upstream.close()
    wait_for(one, port, {"one": 25, "two": 12, "targets": 37})


async def test_requests_and_websockets_over_http3(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    port, status = free_port(), free_port()
    rules = [proxy(backends.http(), "app", "/app/**"), proxy(backends.websocket_echo(), "ws", "/ws")]
    listen = [
        {"uri": f"https://127.0.0.1:{port}", "http3": True, "tls": "internal"},
        {"uri": f"http://127.0.0.1:{status}"},
    ]
    one = program(config=config(status, *rules, listen=listen))
    async with connected(port) as client:
        assert (await client.request(path="/app/x")).status == 200
        web_socket = WebSocket3(client, "/ws")
        assert await web_socket.answered() == 200
        wait_for(one, status, {"app": 1, "ws": 1, "targets": 2})


@pytest.mark.parametrize("wait", [0, 5])
def test_a_websocket_counts_once_it_is_open(
    program: Start, free_port: Callable[[], int], backends: Backends, wait: float
) -> None:
    """Over HTTP/1.1 and HTTP/2; one that the target refuses counts as a response, too."""
    port = free_port()
    upstreams = {
        "echo": {"targets": [f"http://127.0.0.1:{backends.websocket_echo()}"], "wait": wait},
        "app": {"targets": [f"http://127.0.0.1:{backends.http()}"], "wait": wait},
    }
    rules = [proxy("upstream://echo", "echo", "/echo"), proxy("upstream://app", "app", "/app")]
    one = program(config=config(port, *rules, upstreams=upstreams))
    with connect(f"ws://127.0.0.1:{port}/echo") as first, socket.create_connection(("127.0.0.1", port), 30) as client:
        first.send("hello")
        assert first.recv() == "hello"
        second = WebSocket(Talk(client), "/echo")
        assert second.status == "200"
        wait_for(one, port, {"echo": 2, "app": 0, "targets": 2})
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{port}/app")
    wait_for(one, port, {"echo": 2, "app": 1, "targets": 3})


def test_a_switch_that_nobody_asked_for_is_no_response(program: Start, free_port: Callable[[], int]) -> None:
    port, upstream = free_port(), Upstream()
    one = program(config=config(port, proxy(upstream.port, "app")))
    with web_client(port) as client:
        assert client.get("/upgrade").status_code == 502
        assert client.post("/upgrade", content=b"four").status_code == 502
        assert client.get("/small").status_code == 200
    upstream.close()
    wait_for(one, port, {"app": 1, "targets": 1})


@needs("php-cgi")
def test_scripts_count_and_files_beside_them_do_not(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    (tmp_path / "one.php").write_text("<?php echo 'hello';")
    (tmp_path / "file.txt").write_text("text")
    port = free_port()
    with running_php_cgi(tmp_path, 100) as uri:
        rules = [
            {"handler": "fastcgi", "root": str(tmp_path), "to": uri, "name": "php", "path": "/**"},
            {"handler": "fastcgi", "root": str(tmp_path), "to": uri, "host": "two.test"},
        ]
        one = program(config=config(port, *rules))
        for path in ("/one.php", "/one.php", "/file.txt"):
            assert get(port, path)[0] == 200
        assert get(port, "/none.php")[0] == 404
        with web_client(port) as client:
            assert client.get("/one.php", headers={"Host": "two.test"}).status_code == 200
        wait_for(one, port, {"php": 2, "dispatch[2]": 1, "targets": 3})


def test_attempts_that_are_answered_count_one_by_one(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    """A response with 503 that is retried counts, a target that refuses connections does not."""
    port = free_port()

    async def ill(reader: Any, writer: Any) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    upstreams = {
        "app": {
            "targets": [
                f"http://127.0.0.1:{free_port()}",
                f"http://127.0.0.1:{backends.tcp(ill)}",
                {"uri": f"http://127.0.0.1:{backends.http()}", "backup": True},
            ],
            "retry_on": ["connect", "503"],
            "retries": 2,
            "retry_timeout_seconds": 0,
        }
    }
    one = program(config=config(port, proxy("upstream://app", "app"), upstreams=upstreams))
    for _ in range(4):
        assert get(port, "/")[0] == 200
    wait_for(one, port, {"app": 8, "targets": 8})


def test_nothing_counts_where_no_target_was_asked(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    """Answers from the cache, refusals, targets that cannot be reached, other handlers; and copies for a mirror."""
    port = free_port()
    application, copies = Upstream(), backends.http()
    cached = {"cache": {"default_ttl": 60}}
    rules = [
        proxy(application.port, "cached", "/cached/**", **cached),
        proxy(application.port, "denied", "/denied", deny="127.0.0.1"),
        proxy(free_port(), "down", "/down"),
        proxy(application.port, "copied", "/copied/**", mirror={"to": f"http://127.0.0.1:{copies}"}),
        {"handler": "respond", "path": "/page", "body": "page"},
    ]
    one = program(config=config(port, *rules))
    for path, status in (
        ("/cached/small", 200), ("/cached/small", 200), ("/cached/small", 200), ("/denied", 403), ("/down", 502),
        ("/copied/small", 200), ("/page", 200), ("/none", 404),
    ):  # fmt: skip
        assert get(port, path)[0] == status
    expected = {"cached": 1, "denied": 0, "down": 0, "copied": 1, "targets": 2}
    wait_for(one, port, expected)
    one.wait_until(lambda: b"npserver_http_mirror_sent_total 1" in get(port, "/status?format=prometheus")[1], "a copy")
    assert counts(port) == expected
    application.close()


def test_both_parts_of_a_split_count_for_the_rule(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    port, other = free_port(), f"http://127.0.0.1:{backends.http()}"
    rule = proxy(backends.http(), "app", split={other: "50%"}, split_by="$path")
    one = program(config=config(port, rule))
    for number in range(40):
        assert get(port, f"/{number}")[0] == 200
    wait_for(one, port, {"app": 40, "targets": 40})


def test_a_reload_goes_on_counting_and_without_the_key_there_is_nothing(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    port, upstream = free_port(), backends.http()
    text = config(port, proxy(upstream, "app"))
    one = program(config={**text, "metrics": {}})

    def reload(text: dict[str, Any]) -> None:
        one.configure(text)
        one.forget_errors()
        one.send_signal(signal.SIGHUP)
        one.wait_for_new("reloaded")

    assert get(port, "/")[0] == 200
    assert RULES.encode() not in get(port, "/status?format=prometheus")[1]
    reload(text)
    with web_client(port) as client:
        assert client.get("/").status_code == 200
        wait_for(one, port, {"app": 1, "targets": 1})
        reload({**text, "dispatch": [*text["dispatch"], proxy(upstream, "new", "/new")]})
        assert client.get("/").status_code == 200
    assert get(port, "/new")[0] == 200
    wait_for(one, port, {"app": 2, "new": 1, "targets": 3})
    reload({**text, "metrics": {}})
    assert get(port, "/")[0] == 200
    wait_for(one, port, {"app": 2, "new": 1, "targets": 3})


@pytest.mark.parametrize("starts", [False, True])
def test_the_upstream_time_of_a_client_that_goes_is_the_time_that_it_has_waited(
    program: Start, free_port: Callable[[], int], tmp_path: Path, backends: Backends, starts: bool
) -> None:
    """Before the head of the response, and within its body."""
    port, log = free_port(), tmp_path / "access.log"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if starts:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        await reader.read()

    one = program(
        config={
            "listen": [f"http://127.0.0.1:{port}"],
            "workers": 1,
            "dispatch": [
                {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{backends.tcp(serve)}", "abort_on_close": True}
            ],
            "logging": {
                "access_log": [{"to": str(log), "format": "$duration_ms $upstream_ms $upstream_head_ms"}],
            },
        }
    )
    words = ["curl", "-s", "-m", "0.5", f"http://127.0.0.1:{port}/"]
    assert subprocess.run(words, capture_output=True, timeout=30).returncode == 28
    one.wait_until(lambda: log.exists() and log.read_text().endswith("\n"), "the line")
    duration_ms, upstream_ms, head_ms = map(float, log.read_text().split())
    assert 300 < upstream_ms <= duration_ms
    assert head_ms < 300 if starts else head_ms == upstream_ms
