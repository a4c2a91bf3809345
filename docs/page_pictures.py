"""Pictures of the status page of a real run and of the demo, by Chromium: on a desk, and dark on a phone."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parent.parent
PORT, APPS, GONE = 8090, (9001, 9002, 9004), 9003  # of the server, of its targets, of one that is down
SECONDS = 50.0  # of requests before the pictures
TRIED = ("balanced", "limited")  # steps of the tour whose buttons are pressed

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
        {"name": "hello", "handler": "respond", "path": "/hello", "body": "hello"},
        {"name": "shop", "handler": "proxy", "path": "/api/**", "proxy_pass": "upstream://shop"},
        {"handler": "status", "allow": ["127.0.0.1"], "buttons": True},
        {"listener": "dns", "handler": "dns"},
    ],
    "metrics": {"times": True},
    "workers": 2,
}

#: Presses buttons of the tour, in a copy of its page without its policy.
PRESS = """<script>
(async () => { for (const name of TRIED) await attempt(document.querySelector(`[data-step=${name}]`)); })();
for (const one of document.querySelectorAll('article'))
    if (!TRIED.includes(one.id)) one.remove();
for (const one of document.querySelectorAll('h2'))
    if (one.nextElementSibling?.tagName !== 'ARTICLE') one.remove();
</script>"""


class App(BaseHTTPRequestHandler):
    """A target."""

    def do_GET(self) -> None:
        """Answer anything, some of it with an error."""
        body = b'{"answer": 42}' * 100
        time.sleep(0.004 if self.path.endswith("3") else 0)
        self.send_response(500 if self.path.endswith("7") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def take(images: Path) -> None:
    """Write the pictures; without Chromium, say so and leave the former ones."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no pictures of the status page and the tour: install chromium", file=sys.stderr)
        return
    servers = [ThreadingHTTPServer(("127.0.0.1", port), App) for port in APPS]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    directory = Path(tempfile.gettempdir(), "npserver-pictures")  # the pictures show its name
    directory.mkdir()
    try:
        _take_status(chromium, directory, images)
        _take_tour(chromium, directory, images)
    finally:
        shutil.rmtree(directory)
    for server in servers:
        server.shutdown()
        server.server_close()


def _program(directory: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-m", "npserver", *words], cwd=directory, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _take_status(chromium: str, directory: Path, images: Path) -> None:
    (directory / "npserver.json").write_text(json.dumps(CONFIG))
    _program(directory, "cert").wait(30)
    process = _program(directory, "-config", "npserver.json")
    try:
        _ask(SECONDS)
        threading.Thread(target=_ask, args=(30.0,), daemon=True).start()
        _program(directory, "drain", "-no-wait", f"127.0.0.1:{APPS[-1]}", "-config", "npserver.json").wait(30)
        url = f"http://127.0.0.1:{PORT}/status"
        _picture(chromium, directory, url, images / "status.png", 1200, 1250)
        _picture(chromium, directory, url, images / "status-phone.png", 500, 1100, is_dark=True)
    finally:
        process.terminate()
        process.wait(30)


def _take_tour(chromium: str, directory: Path, images: Path) -> None:
    process = _program(directory, "demo")
    assert process.stdout is not None
    try:
        table = ""
        while "Ctrl-C" not in table:
            table += process.stdout.readline()
        url, config = re.search(r"http://\S+:\d+", table), re.search(r"config: (\S+)/config.json", table)
        assert url is not None
        assert config is not None
        page = urllib.request.urlopen(f"{url[0]}/", timeout=30).read().decode()
        press = f"<script>const TRIED={json.dumps(TRIED)};</script>{PRESS}"
        Path(config[1], "public", "picture.html").write_text(page.replace("</body>", f"{press}</body>"))
        _picture(chromium, directory, f"{url[0]}/picture.html", images / "tour.png", 1200, 1250)
        _picture(chromium, directory, f"{url[0]}/picture.html", images / "tour-phone.png", 500, 1100, is_dark=True)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _picture(
    chromium: str, directory: Path, url: str, file: Path, width: int, height: int, *, is_dark: bool = False
) -> None:
    options = [f"--user-data-dir={directory}/{file.name}.profile", f"--window-size={width},{height}"]
    options += [f"--screenshot={file}", f"--blink-settings=preferredColorScheme={int(not is_dark)}"]
    fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--timeout=6000")
    subprocess.run([chromium, *fixed, *options, url], check=True, capture_output=True, timeout=90)
    if quantise := shutil.which("pngquant"):  # to a third
        subprocess.run([quantise, "--force", "--strip", "--output", str(file), "64", str(file)], check=True)


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
