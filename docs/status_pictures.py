"""Pictures of the status page of a real run, taken by Chromium: on a desk, and dark on a phone."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parent.parent
PORT, APPS, GONE = 8090, (9001, 9002), 9003  # of the server, of its targets, of one that is down
SECONDS = 50.0  # of requests before the pictures

CONFIG = {
    "listen": [
        {"name": "web", "uri": f"http://127.0.0.1:{PORT}"},
        {"name": "tls", "uri": "https://127.0.0.1:8491"},
        {"name": "dns", "uri": "udp://127.0.0.1:5391"},
    ],
    "tls": {"cert": "testsite.crt", "key": "testsite.key"},
    "upstreams": {
        "shop": {
            "targets": [f"http://127.0.0.1:{port}" for port in (*APPS, GONE)],
            "health_check": {"interval": 2, "path": "/"},
        }
    },
    "dns": {"nas.home": {"A": "192.168.1.10"}},
    "dispatch": [
        {"handler": "respond", "path": "/hello", "body": "hello"},
        {"name": "shop", "handler": "proxy", "path": "/api/**", "proxy_pass": "upstream://shop"},
        {"handler": "status", "allow": ["127.0.0.1"]},
        {"listener": "dns", "handler": "dns"},
    ],
    "metrics": {"times": True},
    "workers": 2,
}


class App(BaseHTTPRequestHandler):
    """A target."""

    def do_GET(self) -> None:
        """Answer anything, some of it with an error."""
        body = b'{"answer": 42}' * 100
        self.send_response(500 if self.path.endswith("7") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def take(images: Path) -> None:
    """Write `status.png` and `status-phone.png`; without Chromium, say so and leave the former ones."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no pictures of the status page: install chromium", file=sys.stderr)
        return
    servers = [ThreadingHTTPServer(("127.0.0.1", port), App) for port in APPS]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    directory = Path(tempfile.gettempdir(), "npserver-pictures")  # the pictures show its name
    directory.mkdir()
    try:
        _take(chromium, directory, images)
    finally:
        shutil.rmtree(directory)
    for server in servers:
        server.shutdown()
        server.server_close()


def _take(chromium: str, directory: Path, images: Path) -> None:
    (directory / "npserver.json").write_text(json.dumps(CONFIG))
    program = [sys.executable, "-m", "npserver"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([*program, "cert"], cwd=directory, env=environment, check=True, capture_output=True)
    process = subprocess.Popen(
        [*program, "-config", "npserver.json"], cwd=directory, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _ask(SECONDS)
        threading.Thread(target=_ask, args=(30.0,), daemon=True).start()
        for file, width, height, scheme in (("status.png", 1200, 1250, 1), ("status-phone.png", 500, 1100, 0)):
            options = [f"--user-data-dir={directory}/{file}.profile", f"--window-size={width},{height}"]
            options += [f"--screenshot={images / file}", f"--blink-settings=preferredColorScheme={scheme}"]
            fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
            command = [chromium, *fixed, *options, f"http://127.0.0.1:{PORT}/status"]
            subprocess.run(command, check=True, capture_output=True, timeout=90)
    finally:
        process.terminate()
        process.wait(30)


def _ask(seconds: float) -> None:
    """Send requests, more at some times than at others."""
    began = time.monotonic()
    number = 0
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(0.02 + 0.04 * (1 + math.sin(passed / 4)))
        number += 1
        path = "/hello" if number % 3 else f"/api/orders/{number % 60}"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=5).close()
        except OSError:  # it is starting, or has answered with an error
            continue
