"""Rate limits of the whole program: counted exactly over two workers, whatever the protocol, over reloads and kills.

Nothing is timed: a limit of one per hour gives back nothing within a test.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import get, worker_pids
from tests.stage.backends import Backends
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]


@pytest.fixture
def public(tmp_path: Path) -> Path:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a.txt").write_text("hello")
    return tmp_path / "public"


def config(port: int, public: Path, backend: int, **extra: Any) -> dict[str, Any]:
    hourly = {"rate": "1/h"}
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "rate_limits": {"shared": {**hourly, "burst": 30}},
        "dispatch": [
            {"handler": "static", "path": "/files/**", "root": str(public), "rate_limit": {**hourly, "burst": 700}},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://127.0.0.1:{backend}",
             "rate_limit": {**hourly, "burst": 500}},
            {"handler": "respond", "path": "/one", "rate_limit": "shared"},
            {"handler": "respond", "path": "/two", "rate_limit": "shared"},
            {"handler": "respond", "path": "/dry", "rate_limit": {**hourly, "dry_run": True}},
            {"handler": "status", "path": "/status"},
        ],
        **extra,
    }  # fmt: skip


def classes(output: str) -> dict[str, int]:
    """Return the numbers of answers by the class of their status that h2load tells."""
    return {name: int(count) for count, name in re.findall(r"(\d+) (\dxx)", output)}


def load(url: str, requests: int, *arguments: str) -> dict[str, int]:
    command = ["h2load", "-n", str(requests), "-c", "8", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=True)
    return classes(done.stdout)


def counters(port: int) -> dict[str, int]:
    text = get(port, "/status?format=prometheus")[1].decode()
    return {
        f"{what} {limit}": int(count)
        for what, limit, count in re.findall(r'npserver_rate_limit_(\w+)_total\{limit="(.+?)"\} (\d+)', text)
    }


@needs("h2load")
def test_exactly_the_burst_passes_over_two_workers(
    program: Start, free_port: Callable[[], int], public: Path, backends: Backends
) -> None:
    port = free_port()
    one = program(config=config(port, public, backends.http()))
    base = f"http://127.0.0.1:{port}"
    assert load(f"{base}/files/a.txt", 1500, "--h1") == {"2xx": 700, "3xx": 0, "4xx": 800, "5xx": 0}
    assert load(f"{base}/app/x", 800, "--h1") == {"2xx": 500, "3xx": 0, "4xx": 300, "5xx": 0}
    assert load(f"{base}/one", 20, "--h1")["2xx"] == 20
    assert load(f"{base}/two", 20, "--h1")["2xx"] == 10  # a named limit is shared by the rules that name it
    assert load(f"{base}/dry", 50, "--h1")["2xx"] == 50
    expected = {
        "allowed /files/**": 700, "limited /files/**": 800, "allowed /app/**": 500, "limited /app/**": 300,
        "allowed shared": 30, "limited shared": 10, "allowed /dry": 1, "limited /dry": 49,
    }  # fmt: skip
    one.wait_until(lambda: counters(port) == expected, "counters")
    lines = re.findall(r"429 for GET /files/a\.txt from 127\.0\.0\.1: over the rate limit \((.+)\)", one.errors)
    assert 1 <= len(lines) <= 2 * 4  # of 800: each worker one in 10 s
    assert set(lines) == {"dispatch[0].rate_limit"}
    assert "over the rate limit (dispatch[3].rate_limit, rate_limits.shared)" in one.errors
    assert "over the rate limit, and passes (dispatch[4].rate_limit.dry_run)" in one.errors


@needs("h2load", "curl")
def test_http2_counts_as_http1_does(
    program: Start, free_port: Callable[[], int], public: Path, backends: Backends, certificates: Callable[..., Any]
) -> None:
    port, secure = free_port(), free_port()
    listen = [f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"]
    program(config=config(port, public, backends.http(), listen=listen, tls=certificates().config))
    assert load(f"https://127.0.0.1:{secure}/files/a.txt", 600, "-m", "10")["2xx"] == 600
    assert load(f"http://127.0.0.1:{port}/files/a.txt", 200, "--h1")["2xx"] == 100
    assert load(f"https://127.0.0.1:{secure}/app/x", 600, "-m", "10") == {"2xx": 500, "3xx": 0, "4xx": 100, "5xx": 0}
    for version, url in (("--http1.1", f"http://127.0.0.1:{port}"), ("--http2", f"https://127.0.0.1:{secure}")):
        command = ["curl", "-sik", version, f"{url}/app/x"]
        head = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.lower()
        assert head.split()[1] == "429"
        after = re.search(r"^retry-after: (\d+)\s", head, re.MULTILINE)
        assert after is not None and 3500 < int(after[1]) <= 3600
        assert f'ratelimit-policy: "default";q=500;w={500 * 3600}\n' in head.replace("\r", "")
        assert f'ratelimit: "default";r=0;t={after[1]}\n' in head.replace("\r", "")


def test_counts_outlive_a_reload_and_a_killed_worker(
    program: Start, free_port: Callable[[], int], public: Path, backends: Backends
) -> None:
    port = free_port()
    settings = config(port, public, backends.http())
    settings["dispatch"][0]["rate_limit"]["burst"] = 6
    one = program(config=settings)
    assert [get(port, "/files/a.txt")[0] for _ in range(3)] == [200] * 3
    settings["dispatch"].insert(0, {"handler": "respond", "path": "/new", "rate_limit": "5/s"})
    one.configure(settings)
    one.send_signal(signal.SIGHUP)
    one.wait_for("config reloaded")
    assert [get(port, "/files/a.txt")[0] for _ in range(2)] == [200] * 2
    before = worker_pids(one)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    one.wait_until(lambda: len(set(worker_pids(one)) - set(before)) == 2, "new workers")
    one.wait_ready()
    assert [one.wait_until(lambda: _asked(port), "an answer") for _ in range(3)] == [200, 429, 429]


def _asked(port: int) -> int:
    try:
        return get(port, "/files/a.txt")[0]
    except OSError:
        return 0  # no worker has the socket yet


def test_a_changed_size_of_the_table_takes_a_restart(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    settings: dict[str, Any] = {"listen": [f"http://127.0.0.1:{port}"], "dispatch": [{"handler": "respond"}]}
    one = program(config=settings)
    one.configure({**settings, "limits": {"rate_limit_keys": 100}})
    one.send_signal(signal.SIGHUP)
    one.wait_for(r'"limits\.rate_limit_keys" cannot be changed by a reload: restart npserver to apply it')
    one.wait_for("config reloaded")


def test_forwards_limit_connections_and_sessions(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    tcp, udp, dry, web = free_port(), free_port(), free_port(), free_port()
    rules = [
        {"listener": "t", "forward_to": f"tcp://127.0.0.1:{backends.tcp_echo()}", "rate_limit": "3/h"},
        {"listener": "u", "forward_to": f"udp://127.0.0.1:{backends.udp_echo()}", "rate_limit": "3/h"},
        {"listener": "d", "forward_to": f"tcp://127.0.0.1:{backends.tcp_echo()}",
         "rate_limit": {"rate": "1/h", "dry_run": True}},
    ]  # fmt: skip
    listen = [("t", f"tcp://127.0.0.1:{tcp}"), ("u", f"udp://127.0.0.1:{udp}"), ("d", f"tcp://127.0.0.1:{dry}")]
    listen.append(("web", f"http://127.0.0.1:{web}"))
    one = program(
        config={
            "listen": [{"name": name, "uri": uri} for name, uri in listen],
            "workers": 2,
            "dispatch": [*[{"handler": "forward", **rule} for rule in rules], {"handler": "status", "path": "/status"}],
        }
    )
    assert [_echoes(tcp) for _ in range(6)] == [True] * 3 + [False] * 3
    assert [_echoes(dry) for _ in range(3)] == [True] * 3
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(6)]
    try:
        for client in clients:
            client.connect(("127.0.0.1", udp))
            client.send(b"hello")
        expected = {"allowed dispatch[1]": 3, "limited dispatch[1]": 3}
        one.wait_until(lambda: counters(web).items() >= expected.items(), "counters")
        for _ in range(3):
            client = select.select(clients, [], [], 10)[0][0]
            assert client.recv(100) == b"hello"
            clients.remove(client)
            client.close()
        assert select.select(clients, [], [], 0)[0] == []
    finally:
        for client in clients:
            client.close()
    one.wait_for(r"dispatch\[0\]: client 127\.0\.0\.1 refused: over the rate limit \(dispatch\[0\]\.rate_limit\)")
    one.wait_for(r"dispatch\[1\]: client 127\.0\.0\.1 refused: over the rate limit \(dispatch\[1\]\.rate_limit\)")
    one.wait_for(r"client 127\.0\.0\.1 is over the rate limit, and passes \(dispatch\[2\]\.rate_limit\.dry_run\)")


def _echoes(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        try:
            client.sendall(b"hello")
            return client.recv(100) == b"hello"
        except OSError:
            return False
