"""What is answered from the cache, beside nginx's `proxy_cache`: each difference has its section of RFC 9111."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from npserver.http.dates import format_date
from tests.stage.nginx import running_nginx
from tests.stage.program import Program

NGINX = """
location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_cache c;
    proxy_cache_key $host$request_uri;
    proxy_cache_methods GET HEAD;
}}
"""
PAST, FUTURE = format_date(1_000_000_000), format_date(4_000_000_000)
Fields = dict[str, str]

#: Fields of the response, of the request, its status; whether a second request is answered from the cache of both.
SAME: list[tuple[Fields, Fields, int, bool]] = [
    ({}, {}, 200, False),
    ({"ETag": '"a"'}, {}, 200, False),
    ({"Cache-Control": "max-age=60"}, {}, 200, True),
    ({"Cache-Control": "max-age=60"}, {}, 404, True),
    ({"Cache-Control": "max-age=60"}, {}, 302, True),
    ({"Cache-Control": "public, s-maxage=60, max-age=0"}, {}, 200, True),
    ({"Cache-Control": "max-age=0"}, {}, 200, False),
    ({"Cache-Control": "private, max-age=60"}, {}, 200, False),
    ({"Cache-Control": "no-store, max-age=60"}, {}, 200, False),
    ({"Cache-Control": "no-cache, max-age=60"}, {}, 200, False),
    ({"Expires": FUTURE}, {}, 200, True),
    ({"Expires": PAST}, {}, 200, False),
    ({"Expires": "0"}, {}, 200, False),
    ({"Cache-Control": "max-age=60", "Expires": PAST}, {}, 200, True),
    ({"Cache-Control": "max-age=60", "Set-Cookie": "a=b"}, {}, 200, False),
    ({"Cache-Control": "max-age=60", "Vary": "*"}, {}, 200, False),
    ({"Cache-Control": "max-age=60", "Vary": "Accept"}, {}, 200, True),
    ({"Cache-Control": "public, max-age=60"}, {"Authorization": "Basic YTpi"}, 200, True),
    ({"Cache-Control": "max-age=60", "Content-Type": "text/css"}, {"Accept": "text/css"}, 200, True),
]  # fmt: skip
#: The same where they differ: whether nginx answers from its cache; npserver does the contrary, by this section.
DIFFERENT: list[tuple[Fields, Fields, int, bool, str]] = [
    ({"Cache-Control": "max-age=60"}, {"Authorization": "Basic YTpi"}, 200, True, "3.5"),
    ({"Cache-Control": "max-age=60"}, {"Cookie": "a=b"}, 200, True, "7.3, and `cookies`"),
    ({"Cache-Control": "max-age=60"}, {"Cache-Control": "no-store"}, 200, True, "5.2.1.5"),
    ({"Cache-Control": "max-age=60", "Age": "60"}, {}, 200, True, "4.2.3"),
    ({"Cache-Control": "max-age=60"}, {}, 201, True, "3: a status that is not understood"),
]


class Upstream(ThreadingHTTPServer):
    """Answers /<number>/... with the fields of that case, and counts the requests by path."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), _Answering)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        self.server.seen[self.path] += 1
        fields, _, status = [*SAME, *DIFFERENT][int(self.path.split("/")[1])][:3]
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    one = Upstream()
    yield one
    one.shutdown()
    one.server_close()


def is_cached(upstream: Upstream, port: int, path: str, fields: Fields) -> bool:
    """Whether the second of two equal requests is answered without the upstream."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(2):
        connection.request("GET", path, headers=fields)
        connection.getresponse().read()
    connection.close()
    return upstream.seen[path] == 1


def test_the_same_is_cached_as_by_nginx_but_for_what_the_rfc_says(
    program: Callable[..., Program], upstream: Upstream, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    rule = {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{upstream.server_port}", "cache": True}
    program(config={"listen": [f"http://127.0.0.1:{port}"], "workers": 1, "dispatch": [rule]})
    (nginx_directory := tmp_path / "nginx").mkdir()
    cache = f"proxy_cache_path {nginx_directory}/cache keys_zone=c:1m;"
    with running_nginx(nginx_directory, NGINX.format(port=upstream.server_port), http=cache) as url:
        nginx_port = int(url.rpartition(":")[2])
        wrong = []
        for number, case in enumerate([*SAME, *DIFFERENT]):
            fields, request, status, expected = case[:4]
            found = tuple(
                is_cached(upstream, one, f"/{number}/{name}", request)
                for name, one in (("nginx", nginx_port), ("npserver", port))
            )
            if found != (expected, expected if len(case) == 4 else not expected):
                wrong.append(f"{fields} {request} {status}: nginx {found[0]}, npserver {found[1]}")
        assert wrong == []
