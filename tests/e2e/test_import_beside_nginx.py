"""An imported config answers the same requests as nginx itself does by the original: status, Location and body."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from npserver.importing.nginx import import_nginx
from tests.stage.backends import Backends
from tests.stage.nginx import running_nginx
from tests.stage.php import running_fpm
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
pytestmark = needs("nginx")

#: Directives of a server, and paths that are asked for; `name|path` has another Host.
CASES = {
    "static": (
        (
            "location / { try_files $uri $uri/ =404; } location /files/ { } location = /exact { return 204; }"
            r"location ~ \.secret$ { deny all; } location /alias/ { alias @DIR@/files/; }"
        ),
        "/ /index.html /nothing /files/a.txt /files /exact /x.secret /files/b.secret /alias/a.txt /a%20b /../x",
    ),
    "spa": (
        "location / { try_files $uri $uri/ /index.html; } location /files/ { expires 1h; }",
        "/ /any/where /files/a.txt /files/none /index.html",
    ),
    "proxy": (
        (
            "location / { proxy_pass http://app; proxy_set_header Host $host; }"
            "location /api/ { proxy_pass http://app/; }"
            "location /v/ { proxy_pass http://app/v1/; } location = /status/404 { return 410; }"
            r"location ~* \.(js|css)$ { return 200 asset; } location ^~ /raw/ { proxy_pass http://app; }"
        ),
        "/ /x?a=b /api/y?z /api /v/w /status/404 /status/503 /A.JS /api/b.css /raw/b.css /healthz",
    ),
    "redirects": (
        (
            "server_name a.example; if ($host = www.a.example) { return 301 https://a.example$request_uri; }"
            "location / { return 302 /new$is_args$args; }"
            "location /moved/ { return 301 https://b.example$request_uri; }"
            r'location = /text { default_type text/plain; return 200 "ok\n"; } rewrite ^/old$ /newer permanent;'
        ),
        "/ /?a=1 /moved/x?y /text /old www.a.example|/q?w other.example|/",
    ),
}


@pytest.fixture
def backend() -> Iterator[int]:
    with Backends() as backends:
        yield backends.http("app")


def asked(port: int, case: str) -> tuple[int, str, object]:
    """Status, Location as a whole URL without the port, and the body of an answer with status 200."""
    host, _, path = case.rpartition("|")
    host = host or "a.example"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        body: object = response.read()
    finally:
        connection.close()
    location = response.getheader("Location", "")
    if location:
        location = urljoin(f"http://{host}{path}", location).replace(f":{port}", "")
    if response.getheader("X-Backend") and response.status == 200 and not path.endswith("/healthz"):
        said = json.loads(body)  # type: ignore[arg-type]
        sent = dict(said["headers"])["host"]
        body = (said["method"], said["target"], sent)
    return response.status, location, body if response.status == 200 else b""


def compare(directory: Path, server: str, paths: str, program: Start, http_block: str = "") -> None:
    with running_nginx(directory, server, http=http_block) as url:
        theirs = int(url.rpartition(":")[2])
        ours = free_port()
        imported = import_nginx(str(directory / "nginx.conf"))
        config = imported.text.replace(f"127.0.0.1:{theirs}", f"127.0.0.1:{ours}")
        program(config=config, listens=[f"http://127.0.0.1:{ours}"])
        answers = {path: (asked(theirs, path), asked(ours, path)) for path in paths.split()}
    assert {path: pair for path, pair in answers.items() if pair[0] != pair[1]} == {}, imported.text


@pytest.mark.parametrize("case", CASES)
def test_both_answer_alike(case: str, tmp_path: Path, backend: int, program: Start) -> None:
    server, paths = CASES[case]
    (tmp_path / "index.html").write_text("index")
    (tmp_path / "x.secret").write_text("secret")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    (tmp_path / "files" / "b.secret").write_text("secret")
    upstream = f"upstream app {{ server 127.0.0.1:{backend}; }}"
    compare(tmp_path, server.replace("@DIR@", str(tmp_path)), paths, program, upstream)


@needs("php-fpm")
def test_php_is_run_alike(tmp_path: Path, program: Start) -> None:
    with running_fpm(tmp_path) as fpm:
        for name in ("index.php", "info.php"):
            (fpm.site / name).write_text(f"<?php echo '{name} ', $_SERVER['REQUEST_URI'], $_SERVER['QUERY_STRING'];")
        (fpm.site / "f.txt").write_text("a file")
        params = "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;"
        params += "fastcgi_param REQUEST_METHOD $request_method; fastcgi_param QUERY_STRING $query_string;"
        params += "fastcgi_param REQUEST_URI $request_uri;"
        server = (
            "index index.php; location / { try_files $uri $uri/ /index.php?$args; }"
            rf"location ~ \.php$ {{ root {fpm.site}; fastcgi_pass unix:{tmp_path}/php.sock; {params} }}"
        ).replace("location / {", f"location / {{ root {fpm.site};")
        compare(tmp_path, server, "/ /?a=b /info.php?x=1 /f.txt /pretty/path?y=2", program)
