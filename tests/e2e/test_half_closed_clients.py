"""A client that sends its requests and its FIN at once gets all answers (RFC 9112 §9.6), as from `printf ... | nc`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.asking import SlowUpstream
from tests.stage.backends import Backends
from tests.stage.program import Program

TRIES = 60
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
WORKERS = pytest.mark.parametrize("workers", [1, 0])


def get(path: str, fields: str = "", version: str = "1.1", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: a\r\n{fields}\r\n".encode()


#: What is sent before the FIN, and the statuses of the answers.
KINDS: dict[str, tuple[bytes, list[int]]] = {
    "found": (get("/index.html"), [200]),
    "found, HTTP/1.0": (b"GET /index.html HTTP/1.0\r\n\r\n", [200]),
    "missing": (get("/nix"), [404]),
    "missing, HTTP/1.0": (b"GET /nix HTTP/1.0\r\n\r\n", [404]),
    "redirected": (get("/old"), [308]),
    "unchanged": (get("/index.html", "If-None-Match: *\r\n"), [304]),
    "HEAD": (get("/index.html", method="HEAD"), [200]),
    "not HTTP": (b"nonsense\r\n\r\n", [400]),
    "large": (get("/large.bin"), [200]),
    "proxied": (get("/app/x"), [200]),
    "proxied, closing": (get("/app/x", "Connection: close\r\n"), [200]),
    "proxied upload": (get("/app/x", "Content-Length: 2\r\n", method="POST") + b"hi", [200]),
    "half an upload": (get("/app/x", "Content-Length: 9\r\n", method="POST") + b"hi", [400]),
    "half a chunked upload": (get("/app/x", "Transfer-Encoding: chunked\r\n", method="POST") + b"2\r\nhi\r\n", [400]),
    "pipelined, with half an upload": (
        get("/app/x") + get("/app/x", "Content-Length: 9\r\n", method="POST") + b"hi",
        [200, 400],
    ),
    "pipelined": (get("/index.html") * 3, [200, 200, 200]),
    "pipelined, mixed": (get("/nix") + get("/app/x") + get("/index.html") * 2 + get("/old"), [404, 200, 200, 200, 308]),
    "pipelined, with half a head": (get("/index.html") * 2 + b"GET /half HTTP/1.1\r\nHos", [200, 200]),
    "half a head": (b"GET / HTTP/1.1\r\nHos", []),
    "nothing": (b"", []),
}


def statuses(port: int, data: bytes) -> list[int]:
    """Send `data` and the FIN in one go; return the statuses of all that is answered."""
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        if data:
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(1 << 20):
            received += piece
    return [int(rest[:3]) for rest in received.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
def port(
    request: pytest.FixtureRequest,
    program: Callable[..., Program],
    free_port: Callable[[], int],
    backends: Backends,
    public: Path,
) -> int:
    loop, workers = request.param
    (public / "large.bin").write_bytes(bytes(3_000_000))
    port = free_port()
    config = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [
            {"handler": "static", "root": str(public)},
            {"handler": "redirect", "path": "/old", "to": "/"},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://127.0.0.1:{backends.http()}"},
        ],
    }
    program(config=config, env={"NPSERVER_LOOP": "asyncio"} if loop == "asyncio" else {})
    return port


@pytest.mark.parametrize(
    "port", [("uvloop", 1), ("uvloop", 0), ("asyncio", 1)], indirect=True, ids=["uvloop", "one process", "asyncio"]
)
def test_every_kind_of_answer_arrives(port: int) -> None:
    lost = {}
    for kind, (data, expected) in KINDS.items():
        found = [statuses(port, data) for _ in range(TRIES)]
        if wrong := [one for one in found if one != expected]:
            lost[kind] = f"{len(wrong)} of {TRIES}, such as {wrong[0]}"
    assert not lost


@LOOPS
@WORKERS
def test_half_a_body_is_refused_at_once(
    program: Callable[..., Program], free_port: Callable[[], int], loop: str, workers: int
) -> None:
    """RFC 9112 §8, and not after `timeouts.body`."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=2 * TRIES) as silent:
        rule = {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        program(
            config={"listen": [f"http://127.0.0.1:{port}"], "workers": workers, "dispatch": [rule]},
            env={"NPSERVER_LOOP": "asyncio"} if loop == "asyncio" else {},
        )
        half = get("/x", "Content-Length: 5\r\n", method="POST") + b"hi"
        assert [statuses(port, half) for _ in range(TRIES)] == [[400]] * TRIES


@LOOPS
@WORKERS
def test_requests_behind_a_slow_one_are_answered_after_the_end(
    program: Callable[..., Program],
    free_port: Callable[[], int],
    slow: SlowUpstream,
    public: Path,
    loop: str,
    workers: int,
) -> None:
    """The FIN comes while the first request is with its upstream."""
    port = free_port()
    rules = [
        {"handler": "static", "root": str(public)},
        {"handler": "proxy", "path": "/slow", "proxy_pass": f"http://127.0.0.1:{slow.port}"},
    ]
    program(
        config={"listen": [f"http://127.0.0.1:{port}"], "workers": workers, "dispatch": rules},
        env={"NPSERVER_LOOP": "asyncio"} if loop == "asyncio" else {},
    )
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(get("/slow") + get("/index.html") * 2 + get("/nix"))
        slow.take_request()
        client.shutdown(socket.SHUT_WR)
        slow.answer(b"at last")
        received = b""
        while piece := client.recv(1 << 16):
            received += piece
    assert [int(rest[:3]) for rest in received.split(b"HTTP/1.1 ")[1:]] == [200, 200, 200, 404]
