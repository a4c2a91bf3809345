"""Reloads one after the other while streams of every kind are open: each is served to its end, none is lost."""

from __future__ import annotations

import hashlib
import queue
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.grpc_process import GrpcProcess, Stub
from tests.stage.http2_talk import Talk, WebSocket
from tests.stage.php import running_fpm
from tests.stage.program import Program
from tests.stage.programs import needs

CONTENT = bytes(range(256)) * 40_000  # 10 MB
SPEED = "8M"  # bytes a second that each download is read with: it takes a second, or 2.5 s from PHP
MIN_RELOADS = 10


def config(ports: dict[str, int], public: Path, upstreams: dict[str, str], number: int) -> dict[str, Any]:
    """Return the config of a reload. Rules come and go, and with them the conditions of the listener."""
    rules: list[dict[str, Any]] = [
        {"handler": "static", "listener": "web", "root": str(public)},
        {"handler": "respond", "listener": "web", "path": "/number", "body": str(number)},
        {"handler": "proxy", "listener": "web", "path": "/ws/**", "proxy_pass": upstreams["ws"]},
        {"handler": "proxy", "listener": "web", "path": "/proxied/**", "proxy_pass": f"http://127.0.0.1:{ports['web']}",
         "strip_prefix": "/proxied"},
        {"handler": "proxy", "listener": "web", "path": "/test.Calls/**", "proxy_pass": upstreams["grpc"]},
        {"handler": "fastcgi", "listener": "php", "to": upstreams["php"], "root": upstreams["site"]},
    ]  # fmt: skip
    if number % 2:
        rules.append({"handler": "respond", "listener": "web", "path": "/odd", "match": {"method": "GET"}})
    return {
        "workers": 2,
        "listen": [
            {"name": "web", "uri": f"http://127.0.0.1:{ports['web']}", "http2": True},
            {"name": "php", "uri": f"http://127.0.0.1:{ports['php']}"},
        ],
        "timeouts": {"shutdown": "100ms"},  # a connection that is drained does not live long
        "dispatch": rules,
    }


def digest(output: bytes) -> str:
    return hashlib.sha256(output).hexdigest()


@needs("php-fpm", "curl", "h2load")
@pytest.mark.timeout(90)
def test_streams_of_every_kind_live_on(
    program: Callable[..., Program], free_port: Callable[[], int], backends: Backends, public: Path, tmp_path: Path
) -> None:
    (public / "large.bin").write_bytes(CONTENT)
    ports = {"web": free_port(), "php": free_port(), "grpc": free_port()}
    grpc = GrpcProcess(ports["grpc"], tmp_path / "calls")
    with tempfile.TemporaryDirectory(prefix="np") as directory, running_fpm(Path(directory)) as fpm:
        upstreams = {
            "ws": f"http://127.0.0.1:{backends.websocket_echo()}", "grpc": f"h2c://127.0.0.1:{ports['grpc']}",
            "php": fpm.uri, "site": str(fpm.site),
        }  # fmt: skip
        one = program(config=config(ports, public, upstreams, 0))
        url, slow = f"http://127.0.0.1:{ports['web']}", ["curl", "-sS", "--limit-rate", SPEED]
        downloads = [
            subprocess.Popen([*slow, "-o", str(tmp_path / f"output {index}"), *words])
            for index, words in enumerate(
                (
                    ["--http2-prior-knowledge", f"{url}/large.bin"],
                    ["--http2-prior-knowledge", f"{url}/proxied/large.bin"],
                    ["--http1.1", f"{url}/proxied/large.bin"],
                    [f"http://127.0.0.1:{ports['php']}/large"],
                )
            )
        ]
        messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

        def sent() -> Iterator[bytes]:
            while (message := messages.get()) is not None:
                yield message

        with socket.create_connection(("127.0.0.1", ports["web"]), 30) as client, Stub(ports["web"]) as stub:
            websocket = WebSocket(Talk(client), "/ws/x")
            assert websocket.status == "200"
            answers, number = stub.both(sent()), 0
            while number < MIN_RELOADS or any(download.poll() is None for download in downloads):
                number += 1
                load = subprocess.Popen(
                    ["h2load", "-n200", "-c20", "-m5", f"{url}/index.html"], stdout=subprocess.PIPE, text=True
                )
                one.configure(config(ports, public, upstreams, number))
                one.send_signal(signal.SIGHUP)
                one.wait_until(lambda: get(ports["web"], "/number")[1] == b"%d" % number, "the reload")  # noqa: B023
                websocket.send(f"message {number}")
                assert websocket.recv() == f"message {number}"
                messages.put(b"call %d" % number)
                assert next(answers) == b"call %d" % number
                assert "200 succeeded, 0 failed, 0 errored, 0 timeout" in load.communicate(timeout=30)[0]
            messages.put(None)
            assert list(answers) == []
        assert [download.wait(30) for download in downloads] == [0] * 4
        outputs = [(tmp_path / f"output {index}").read_bytes() for index in range(4)]
        assert [digest(output) for output in outputs[:3]] == [digest(CONTENT)] * 3
        assert len(outputs[3]) == 20_000_000
    grpc.kill()
