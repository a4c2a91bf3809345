"""An HTTP server in a thread, which is both an application that notes what it is asked, and a collector of traces."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Span = dict[str, Any]


class Server(ThreadingHTTPServer):
    """An HTTP server in a thread, which keeps what it is asked."""

    daemon_threads = True

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.heads: list[dict[str, str]] = []  # of GET, in lower case, with the path as ":path"
        self.bodies: list[bytes] = []  # of POST
        self.posts: list[tuple[float, dict[str, str]]] = []  # when each POST came, by the monotonic clock; its fields
        self.status = 200
        self.fields: dict[str, str] = {}  # of the answers to POST
        self.answer = b"{}"
        self.hangs = threading.Event()
        self.hangs.set()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that does not wait for the answer."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        self.hangs.set()
        self.shutdown()
        self.server_close()

    @property
    def spans(self) -> list[Span]:
        """The spans that have come, with their attributes as a dict."""
        return [
            {
                **span,
                "attributes": _values(span["attributes"]),
                "service": _values(one["resource"]["attributes"])["service.name"],
            }
            for body in list(self.bodies)
            for one in json.loads(body)["resourceSpans"]
            for scope in one["scopeSpans"]
            for span in scope["spans"]
        ]


def _values(attributes: list[dict[str, Any]]) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in attributes}


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.heads.append({":path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
        status = 503 if self.path.endswith("/503") else 200
        self._respond(status, b"app")

    def do_POST(self) -> None:
        self.server.posts.append((time.monotonic(), {name.lower(): value for name, value in self.headers.items()}))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.server.hangs.wait(30)
        if self.server.status == 200:
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/json"
            self.server.bodies.append(body)
        self._respond(self.server.status, self.server.answer, self.server.fields)

    def _respond(self, status: int, body: bytes, fields: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (fields or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def traced_config(port: int, app: int, collector: int, **tracing: Any) -> dict[str, Any]:
    """Return a config with rules that ask an application, an authorization server, and a target that is down."""
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "tracing": {"to": f"http://127.0.0.1:{collector}", **tracing},
        "dispatch": [
            {"handler": "status", "path": "/status", "name": "status"},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://127.0.0.1:{app}", "name": "app"},
            {
                "handler": "respond",
                "path": "/guarded",
                "body": "x",
                "name": "guarded",
                "forward_auth": {"to": f"http://127.0.0.1:{app}", "path": "/auth"},
            },
            {"handler": "proxy", "path": "/dead", "proxy_pass": "http://127.0.0.1:9", "name": "dead"},
        ],
    }
