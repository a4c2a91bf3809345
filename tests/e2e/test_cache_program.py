"""The response cache as several processes: one request for all workers, kills, reload, restart, shutdown, purge.

Covers `cli.purge` and `web.handlers.proxy.cache.service`.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load
from npserver.web.handlers.proxy.cache.directory import NO_SEED, memory_directory
from tests.stage.asking import is_alive, refuses, worker_pids
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs

Start = Callable[..., Program]
BODY = bytes(range(200)) * 5
LARGE_TIMES = 300  # more than is kept in memory


class Counting(ThreadingHTTPServer):
    """An upstream that counts its requests by path, and answers once it is let."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.fields: dict[str, str] = {"Cache-Control": "max-age=600"}
        super().__init__(("127.0.0.1", 0), _Answering)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_GET(self) -> None:
        self.server.seen[self.path] += 1
        self.send_response(200)
        for name, value in self.server.fields.items():
            self.send_header(name, value)
        body = BODY * LARGE_TIMES if self.path == "/large" else BODY
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:10])
        self.wfile.flush()
        self.server.may_answer.wait(20)
        self.wfile.write(body[10:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Counting]:
    one = Counting()
    yield one
    one.may_answer.set()
    one.shutdown()
    one.server_close()


def config(port: int, upstream: Counting, cache: Any = True, workers: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [
            {"handler": "status", "path": "/status"},
            {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{upstream.server_port}", "cache": cache},
        ],
        **more,
    }


def ask(port: int, path: str) -> tuple[int, str, bytes]:
    """Return status, Cache-Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.getheader("Cache-Status", ""), response.read()
    finally:
        connection.close()


def is_hit(port: int, path: str) -> bool:
    return "; hit" in ask(port, path)[1]


async def ask_at_once(port: int, path: str, count: int, begun: Callable[[], None]) -> list[bytes]:
    """Send equal requests, each on a connection of its own; call `begun` once all are sent. Return the answers."""
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in pairs:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    begun()
    answers = await asyncio.gather(*[reader.read() for reader, _ in pairs])
    for _, writer in pairs:
        writer.close()
    return answers


@pytest.mark.parametrize("fields", [{}, {"Vary": "Accept-Encoding"}], ids=["plain", "vary"])
def test_a_thousand_equal_requests_are_one_for_the_upstream(
    program: Start, upstream: Counting, free_port: Callable[[], int], fields: dict[str, str]
) -> None:
    port = free_port()
    upstream.may_answer.clear()
    upstream.fields |= fields
    one = program(config=config(port, upstream, {"wait": "30s"}, timeouts={"max_connections_per_ip": 0}))
    answers = asyncio.run(ask_at_once(port, "/popular", 1000, upstream.may_answer.set))
    assert Counter(answer.partition(b"\r\n")[0] for answer in answers) == {b"HTTP/1.1 200 OK": 1000}
    assert all(answer.endswith(BODY) for answer in answers)
    assert upstream.seen["/popular"] == 1
    status = ask(port, "/status?format=prometheus")[2].decode()
    assert 'npserver_cache_total{result="miss"}' in status
    assert 'npserver_cache_entries{directory="' in status
    assert one.errors.count("warn") == 0, one.errors


def test_a_killed_worker_leaves_nothing_wrong_and_others_go_on(
    program: Start, upstream: Counting, free_port: Callable[[], int]
) -> None:
    port = free_port()
    one = program(config=config(port, upstream, {"wait": "30s"}))
    for number in range(3):
        path = f"/{number}"
        upstream.may_answer.clear()
        asked = threading.Thread(target=lambda path=path: _try(port, path))
        asked.start()
        one.wait_until(lambda path=path: upstream.seen[path] == 1, "the request at the upstream")
        victims = worker_pids(one)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        one.wait_until(lambda victims=victims: not any(map(is_alive, victims)), "their end")
        upstream.may_answer.set()
        asked.join()
        assert ask(port, path)[::2] == (200, BODY)
        one.wait_until(lambda path=path: is_hit(port, path), "a hit")


def _try(port: int, path: str) -> None:
    try:
        ask(port, path)
    except (OSError, http.client.HTTPException):
        pass


@pytest.mark.parametrize("workers", [0, 2])
def test_the_cache_lives_through_a_reload_and_one_in_memory_ends_with_the_server(
    program: Start, upstream: Counting, free_port: Callable[[], int], workers: int
) -> None:
    port = free_port()
    one = program(config=config(port, upstream, workers=workers))
    assert ask(port, "/a")[1] == "npserver; fwd=uri-miss; stored"
    directory = Path(memory_directory(load(str(one.config_file)), NO_SEED))
    assert directory.parent == Path("/dev/shm")
    assert directory.stat().st_mode & 0o777 == 0o700
    again = config(port, upstream, workers=workers)
    again["dispatch"].insert(0, {"handler": "respond", "path": "/new", "body": "new"})
    one.configure(again)
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: all(ask(port, "/new")[2] == b"new" for _ in range(4)), "the new config")
    assert is_hit(port, "/a")
    changed = config(port, upstream, workers=workers)
    changed["dispatch"][1]["headers"] = {"X-Changed": "1"}
    one.configure(changed)
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: ask(port, "/new")[2] == BODY, "the changed config")
    assert upstream.seen["/a"] == 1
    one.wait_until(lambda: not is_hit(port, "/a"), "a rule that has changed to begin anew")
    one.send_signal(signal.SIGTERM)
    assert one.wait_exit() == 0, one.errors
    assert not directory.exists()
    assert refuses(port)


def test_a_cache_on_disk_survives_restarts_and_is_purged(
    program: Start, upstream: Counting, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    directory = tmp_path / "cache"
    directory.mkdir(0o700)
    cache = {"directory": str(directory)}
    one = program(config=config(port, upstream, {**cache, "max_size": "1000000g"}))
    one.wait_for(r"the file system of .* is small: it gets \d+ bytes of responses \(dispatch\[1\].cache.max_size\)")
    paths = ["/img/a", "/img/b", "/c"]
    for path in paths:
        ask(port, path)
        one.wait_until(lambda path=path: is_hit(port, path), "a hit")
    one.send_signal(signal.SIGTERM)
    assert one.wait_exit() == 0
    two = program(config=config(port, upstream, cache))
    assert all(is_hit(port, path) for path in paths)

    def purge(*words: str) -> str:
        command = [sys.executable, "-m", "npserver", "purge", "-config", str(two.config_file), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert purge(f"http://127.0.0.1:{port}/c") == "1 response removed\n"
    assert not is_hit(port, "/c")
    assert is_hit(port, "/img/a")
    assert purge("-prefix", f"http://127.0.0.1:{port}/img/") == "2 responses removed\n"
    assert not is_hit(port, "/img/a")
    assert not is_hit(port, "/img/b")


@needs("curl", "h2load")
def test_real_clients_over_both_versions_of_http(
    program: Start, upstream: Counting, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    port, made = free_port(), certificates()
    upstream.fields |= {"ETag": '"a"', "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
    listen = [f"https://127.0.0.1:{port}"]
    one = program(config=config(port, upstream, tls=[made.config], listen=listen, logging={"format": "json"}))
    url = f"https://127.0.0.1:{port}/large"  # from its file

    def curl(*words: str) -> bytes:
        return subprocess.run(["curl", "-sSk", *words, url], capture_output=True, timeout=20, check=True).stdout

    whole = BODY * LARGE_TIMES
    for version in ("--http2", "--http1.1"):
        assert curl(version) == whole
        assert curl(version, "-r", "1000-1999") == whole[1000:2000]
        assert f"content-length: {len(whole)}".encode() in curl(version, "-I").lower()
        assert curl(version, "-o", "/dev/null", "-w", "%{http_code}", "-H", 'If-None-Match: "a"') == b"304"
        assert curl(version, "-o", "/dev/null", "-w", "%{http_code}", "-z", "Sun, 06 Nov 1994 08:49:37 GMT") == b"304"
    command = ["h2load", "-n", "500", "-c", "4", "-m", "10", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=True)
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout
    assert upstream.seen["/large"] == 1
    one.wait_for('"upstream":"cache"')


def test_a_stored_response_is_compressed_for_each_client(
    program: Start, upstream: Counting, free_port: Callable[[], int]
) -> None:
    port = free_port()
    upstream.fields |= {"Content-Type": "text/plain", "ETag": '"a"'}
    served = config(port, upstream, workers=1)
    served["dispatch"][1]["gzip"] = True
    program(config=served)
    for coding in ("gzip", "identity", "gzip", "identity"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/", headers={"Accept-Encoding": coding})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert (gzip.decompress(body) if response.getheader("Content-Encoding") else body) == BODY
        assert response.getheader("Content-Encoding", "identity") == coding
        assert "Accept-Encoding" in response.getheader("Vary", "")
    assert upstream.seen["/"] == 1
