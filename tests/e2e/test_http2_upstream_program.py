"""Real servers of HTTP/2 as upstreams of the program: nghttpd without TLS, nginx over TLS; under load, over reloads."""

from __future__ import annotations

import gzip
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.sync.client import connect

from tests.stage.asking import get
from tests.stage.backends import Backends
from tests.stage.nginx import running_nginx
from tests.stage.program import Program
from tests.stage.programs import find, needs
from tests.stage.waiting import wait_until

pytestmark = needs("nghttpd", "h2load", "nginx")
LARGE = bytes(range(256)) * 8000  # 2 MB
TEXT = b"<p>text</p>\n" * 1000
Start = Callable[..., Program]


class Nghttpd:
    """A running nghttpd with a directory of files."""

    def __init__(self, port: int, root: Path) -> None:
        self.url = f"h2c://127.0.0.1:{port}"
        program = find("nghttpd")
        assert program is not None
        self.process = subprocess.Popen([program, "--no-tls", "-d", str(root), str(port)], stdout=subprocess.DEVNULL)
        wait_until(lambda: is_listening(port), "nghttpd listens")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = tmp_path / "files"
    for name in ("", "cached", "zipped", "split", "auth", "tls"):
        (found / name).mkdir(parents=True)
        (found / name / "page.html").write_bytes(TEXT)
    (found / "large.bin").write_bytes(LARGE)
    return found


@pytest.fixture
def servers(free_port: Callable[[], int], root: Path) -> Iterator[list[Nghttpd]]:
    found = [Nghttpd(free_port(), root) for _ in range(2)]
    yield found
    for one in found:
        one.kill()


def config(port: int, servers: list[Nghttpd], tmp_path: Path, **keys: Any) -> dict[str, Any]:
    first, second = (one.url for one in servers)
    ask, refused = ({"to": first, "path": path} for path in ("/split/page.html", "/none"))
    return {
        "workers": 2,
        "listen": [{"uri": f"http://127.0.0.1:{port}", "http2": True}],
        "upstreams": {"both": {"targets": [first, second], "health": {"errors": "50%", "of": 4, "eject": 60}}},
        "dispatch": [
            {
                "handler": "proxy",
                "path": "/cached/**",
                "proxy_pass": first,
                "cache": {"directory": str(tmp_path / "c")},
            },
            {"handler": "proxy", "path": "/zipped/**", "proxy_pass": first, "gzip": True},
            {"handler": "proxy", "path": "/split/**", "proxy_pass": first, "split": {second: "50%"}},
            {"handler": "proxy", "path": "/auth/**", "proxy_pass": first, "forward_auth": ask},
            {"handler": "proxy", "path": "/denied/**", "proxy_pass": first, "forward_auth": refused},
            {"handler": "status", "path": "/status"},
            *keys.pop("rules", []),
            {"handler": "proxy", "path": "/**", "proxy_pass": "upstream://both"},
        ],
        **keys,
    }


def is_hit(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return "hit" in answer.headers["Cache-Status"]


def load(port: int, path: str, number: int, *words: str) -> str:
    command = ["h2load", f"-n{number}", "-c8", "-m10", *words, f"http://127.0.0.1:{port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_features_of_rules(
    program: Start, free_port: Callable[[], int], servers: list[Nghttpd], root: Path, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "c").mkdir()
    program(config=config(port, servers, tmp_path, workers=1))
    for path in ("/page.html", "/split/page.html", "/auth/page.html", "/cached/page.html"):
        assert get(port, path) == (200, TEXT)
    assert get(port, "/large.bin") == (200, LARGE)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/zipped/page.html", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == TEXT
    assert get(port, "/denied/page.html")[0] == 502  # its 404 is neither a yes nor a no
    metrics = get(port, "/status?format=prometheus")[1].decode()
    assert f'npserver_upstream_http2_connections{{upstream="both",target="{servers[0].url}"}}' in metrics
    wait_until(lambda: is_hit(f"http://127.0.0.1:{port}/cached/page.html"), "the response is stored")
    for one in servers:
        one.kill()
    assert get(port, "/cached/page.html") == (200, TEXT)


def test_load_over_reloads(
    program: Start, free_port: Callable[[], int], servers: list[Nghttpd], tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "c").mkdir()
    one = program(config=config(port, servers, tmp_path))
    done: list[str] = []
    loading = threading.Thread(target=lambda: done.append(load(port, "/page.html", 4000)))
    loading.start()
    for number in range(1, 4):
        one.send_signal(signal.SIGHUP)
        one.wait_until(lambda: one.errors.count("config reloaded") >= number, "the reload")  # noqa: B023 - at once
    loading.join(60)
    assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in done[0], done[0]
    assert "1000 succeeded, 0 failed" in load(port, "/page.html", 1000, "--h1")
    one.send_signal(signal.SIGTERM)
    assert one.wait_exit() == 0


def test_a_dead_target_is_replaced(
    program: Start, free_port: Callable[[], int], servers: list[Nghttpd], tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "c").mkdir()
    program(config=config(port, servers, tmp_path))
    load(port, "/page.html", 100)
    servers[0].kill()
    assert "1000 succeeded, 0 failed" in load(port, "/page.html", 1000), "GET is sent to the other target"


def test_websockets_over_http2(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    """Through the program twice: it is the h2c target of itself."""
    port, inner = free_port(), free_port()
    made = {
        "workers": 2,
        "listen": [
            {"name": "outer", "uri": f"http://127.0.0.1:{port}"},
            {"name": "inner", "uri": f"http://127.0.0.1:{inner}", "http2": True},
        ],
        "dispatch": [
            {"handler": "proxy", "listener": "outer", "proxy_pass": f"h2c://127.0.0.1:{inner}"},
            {"handler": "proxy", "listener": "inner", "proxy_pass": f"http://127.0.0.1:{backends.websocket_echo()}"},
        ],
    }
    program(config=made)
    with connect(f"ws://127.0.0.1:{port}/socket") as socket:
        for message in ("who", "text", b"x" * 1_000_000):
            socket.send(message)
            assert socket.recv(timeout=30) == ("ws" if message == "who" else message)
    assert socket.close_code == 1000


def test_nginx_over_tls(
    program: Start, free_port: Callable[[], int], servers: list[Nghttpd], root: Path, tmp_path: Path
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    certificate = f"ssl_certificate {tmp_path}/pair.pem; ssl_certificate_key {tmp_path}/pair.pem;"
    said = (
        'location /version { return 200 "$server_protocol $http_x_forwarded_host"; }'
        "location /tls { error_page 405 =200 $uri; client_max_body_size 10m; }"
    )
    port = free_port()
    (tmp_path / "c").mkdir()
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    with running_nginx(tmp_path, f"{certificate} {said}", listen="ssl http2") as url:
        https = url.replace("http:", "https:")
        tls = {"ca": str(tmp_path / "ca.pem")}
        rules = [
            {"handler": "proxy", "path": "/tls/**", "proxy_pass": https, "tls": {**tls, "http2": True}},
            {"handler": "proxy", "path": "/version", "proxy_pass": https, "tls": {**tls, "http2": True}},
            {"handler": "proxy", "path": "/one", "proxy_pass": f"{https}/version", "tls": tls, "strip_prefix": True},
        ]
        program(config=config(port, servers, tmp_path, rules=rules))
        assert get(port, "/version") == (200, b"HTTP/2.0 127.0.0.1:%d" % port)
        assert get(port, "/one")[1].startswith(b"HTTP/1.1 ")
        assert "2000 succeeded, 0 failed" in load(port, "/tls/page.html", 2000)
        assert "20 succeeded, 0 failed" in load(port, "/tls/page.html", 20, "-d", str(root / "large.bin"))
