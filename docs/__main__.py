"""Make what is generated in `docs/`: the configuration reference, and the pictures of npserver at work.

The picture is of a real run: npserver in a pseudo-terminal, asked by curl, dig and nc, and stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from docs.page_pictures import take
from docs.terminal import picture
from npserver.config.reference import reference

DOCS = Path(__file__).parent
ROOT = DOCS.parent

CONFIG = """{
  "listen": [
    { "name": "web", "uri": "http://127.0.0.1:8080" },
    { "name": "tls", "uri": "https://127.0.0.1:8443" },
    { "name": "db",  "uri": "tcp://127.0.0.1:3307" },
    { "name": "dns", "uri": "udp://127.0.0.1:5353" }
  ],
  "tls": { "cert": "testsite.crt", "key": "testsite.key" },
  "upstreams": { "app": { "targets": ["http://127.0.0.1:8001", "http://127.0.0.1:8002"], "balance": "least-conn" } },
  "dns": { "nas.home": { "A": "192.168.1.10" }, "web.home": { "CNAME": "nas.home" } },
  "dispatch": [
    { "handler": "static", "root": "public" },
    { "handler": "proxy", "path": "/api/**", "proxy_pass": "upstream://app" },
    { "listener": "db", "handler": "forward", "forward_to": "tcp://127.0.0.1:3306" },
    { "listener": "dns", "handler": "dns" }
  ],
  "logging": { "dns_queries": true },
  "workers": 2
}
"""
PORTS = (8080, 8443, 3307, 5353)
QUESTIONS = [
    "curl -s http://127.0.0.1:8080/",
    "curl -s --compressed http://127.0.0.1:8080/app.css",
    "curl -s http://127.0.0.1:8080/api/users",
    "curl -s http://127.0.0.1:8080/api/orders?page=2",
    "curl -sk https://127.0.0.1:8443/photo.jpg",
    "curl -s http://127.0.0.1:8080/missing",
    "dig +short -p 5353 @127.0.0.1 web.home",
    "printf hello | nc -N -w 2 127.0.0.1 3307",
]


class App(BaseHTTPRequestHandler):
    """A small upstream."""

    def do_GET(self) -> None:
        """Answer anything."""
        body = b'{"answer": 42}' * 100
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def main() -> None:
    """Make all."""
    (DOCS / "configuration.md").write_text(reference(), encoding="utf-8")
    (DOCS / "images").mkdir(exist_ok=True)
    take(DOCS / "images")
    (DOCS / "images" / "running.svg").write_text(picture(_run(), "npserver -config npserver.json"), encoding="utf-8")


def _run() -> str:
    busy = [port for port in (*PORTS, 8001, 8002, 3306) if _is_taken(port)]
    if busy:
        sys.exit(f"the picture needs these ports, and something holds them: {busy}")
    for port in (8001, 8002):
        threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), App).serve_forever, daemon=True).start()
    database = socket.create_server(("127.0.0.1", 3306))
    threading.Thread(target=_echo_once, args=(database,), daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        return _screen(Path(name))


def _screen(directory: Path) -> str:
    """Serve in a pseudo-terminal; give what it showed."""
    (directory / "npserver.json").write_text(CONFIG)
    public = directory / "public"
    public.mkdir()
    (public / "index.html").write_text("<!doctype html><title>home</title>\n" * 40)
    (public / "app.css").write_text("body { color: black }\n" * 600)
    (public / "photo.jpg").write_bytes(os.urandom(345_678))
    program = [sys.executable, "-m", "npserver"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    subprocess.run([*program, "cert"], cwd=directory, env=environment, check=True, capture_output=True)
    near, far = pty.openpty()
    process = subprocess.Popen(
        [*program, "-config", "npserver.json"], cwd=directory, env=environment, stdin=far, stdout=far, stderr=far,
        start_new_session=True,
    )  # fmt: skip
    os.close(far)
    shown: list[bytes] = []
    reader = threading.Thread(target=_read, args=(near, shown))
    reader.start()
    deadline = time.monotonic() + 20
    while not all(map(_is_taken, PORTS)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for question in QUESTIONS:
        subprocess.run(question, shell=True, check=False, stdout=subprocess.DEVNULL, timeout=20)
        time.sleep(0.3)  # for the log lines to come in this order
    process.send_signal(signal.SIGINT)
    process.wait(20)
    reader.join(5)
    text = b"".join(shown).decode().replace("\r", "")
    return "\x1b[32m$\x1b[0m npserver -config npserver.json\n" + re.sub(r"\^C", "", text)


def _is_taken(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind is socket.SOCK_STREAM)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return True
    return False


def _echo_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def _read(descriptor: int, shown: list[bytes]) -> None:
    try:
        while data := os.read(descriptor, 4096):
            shown.append(data)
    except OSError:  # the other end is closed
        pass


if __name__ == "__main__":
    main()
