"""PHP behind the program: PHP-FPM and php-cgi of the system, with the nginx of the system beside it.

Covers `cli.overrides` with `-php`.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.nginx import running_nginx
from tests.stage.php import Fpm, running_fpm, running_php_cgi
from tests.stage.program import Program
from tests.stage.programs import needs, needs_localhost
from tests.stage.waiting import wait_until

pytestmark = needs("php-fpm")
Start = Callable[..., Program]

#: The set-up of nginx's documentation, and of Debian's snippets/fastcgi-php.conf.
NGINX = """
server_name site.test;
index index.php index.html;
location / {{
    root {site};
    try_files $uri $uri/ /index.php?$query_string;
}}
location ~ \\.php(/|$) {{
    root {site};
    fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
    try_files $fastcgi_script_name =404;
    set $path_info $fastcgi_path_info;
    fastcgi_param PATH_INFO $path_info;
    fastcgi_index index.php;
    include /etc/nginx/fastcgi.conf;
    fastcgi_pass {uri};
}}
"""


@pytest.fixture(scope="module")
def fpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fpm]:
    directory = Path(tempfile.mkdtemp(prefix="np"))
    try:
        with running_fpm(directory) as fpm:
            (fpm.site / "f.txt").write_text("a file")
            (fpm.site / "info.php").write_text("<?php echo json_encode($_SERVER);")
            (fpm.site / "admin").mkdir()
            (fpm.site / "admin" / "index.php").write_text("<?php echo json_encode($_SERVER);")
            (fpm.site / "upload").mkdir()
            (fpm.site / "upload" / "photo.jpg").write_text("<?php echo 'run as PHP';")
            yield fpm
    finally:
        shutil.rmtree(directory)


def config(fpm: Fpm, port: int, workers: int = 2, **rule: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": workers,
        "dispatch": [{"handler": "fastcgi", "to": fpm.uri, "root": str(fpm.site), **rule}],
    }


@pytest.fixture
def url(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> str:
    """The URL of a program with two workers before PHP-FPM."""
    port = free_port()
    program(config=config(fpm, port))
    return f"http://127.0.0.1:{port}"


def answer(url: str, path: str, **options: Any) -> Any:
    found = httpx.get(f"{url}{path}", timeout=20, **options)
    assert found.status_code == 200, found.text
    return found.json()


@needs("nginx")
def test_scripts_are_told_what_nginx_tells_them(url: str, fpm: Fpm, tmp_path: Path) -> None:
    fields = {
        "Host": "site.test", "Cookie": "a=b; c=d", "Authorization": "Bearer x", "X-One": "1", "X_Two": "2",
        "Proxy": "http://evil.test", "User-Agent": "test",
    }  # fmt: skip
    requests: list[tuple[str, str, bytes]] = [
        ("GET", "/", b""),
        ("GET", "/?a=%20b&c", b""),
        ("GET", "/blog/some%20post?page=2", b""),
        ("GET", "/info.php", b""),
        ("GET", "/info.php/a/b%20c?d", b""),
        ("GET", "/admin/", b""),
        ("POST", "/form?x=1", b"name=value"),
        ("PUT", "/info.php/thing", b"body"),
        ("DELETE", "/thing", b""),
    ]
    # of the server and of the connection; what is empty with nginx is absent with us; RFC 3875 §4.1.18
    others = {"SERVER_SOFTWARE", "SERVER_PORT", "REMOTE_PORT", "REQUEST_TIME", "REQUEST_TIME_FLOAT"}
    absent = {
        "REMOTE_USER",
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "HTTP_CONNECTION",
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
    }
    with running_nginx(tmp_path, NGINX.format(uri=fpm.uri.replace("unix://", "unix:"), site=fpm.site)) as nginx:
        for method, path, body in requests:
            more = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            ours, theirs = [
                httpx.request(method, base + path, headers={**fields, **more}, content=body or None, timeout=20).json()
                for base in (url, nginx)
            ]
            assert set(ours) - set(theirs) == set(), path
            assert set(theirs) - set(ours) <= absent, path
            assert {name: ours[name] for name in ours if name not in others} == {
                name: theirs[name] for name in ours if name not in others
            }, path
            assert "HTTP_PROXY" not in ours
            assert "HTTP_X_TWO" not in ours


@needs("nginx")
def test_paths_lead_where_nginx_leads_them(url: str, fpm: Fpm, tmp_path: Path) -> None:
    with running_nginx(tmp_path, NGINX.format(uri=fpm.uri.replace("unix://", "unix:"), site=fpm.site)) as nginx:
        for path in (
            "/f.txt", "/upload/photo.jpg", "/upload/photo.jpg/x.php", "/none.php", "/upload/photo.jpg/x.php/y",
            "/admin", "/moved", "/teapot", "/nothing", "/info.php/", "/upload/photo.jpg%00.php",
        ):  # fmt: skip
            ours, theirs = [httpx.get(base + path, timeout=20) for base in (url, nginx)]
            assert ours.status_code == theirs.status_code, path
            if ours.status_code < 400:
                assert ours.headers.get("Location", "").removeprefix(url) == theirs.headers.get(
                    "Location", ""
                ).removeprefix(nginx)
            if path.startswith("/upload"):
                assert "run as PHP" not in ours.text or ours.text.startswith("<?php")


@pytest.mark.parametrize("size", [10, 9_000_000])
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "chunked"])
def test_uploads_arrive_whole(url: str, size: int, has_length: bool) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    request = httpx.Request("POST", f"{url}/upload", files={"file": ("name.bin", io.BytesIO(data))}, data={"a": "b"})
    body = request.read()
    fields = {"Content-Type": request.headers["Content-Type"]}
    content: Any = body if has_length else (body[at : at + 65_000] for at in range(0, len(body), 65_000))
    found = httpx.post(f"{url}/upload", headers=fields, content=content, timeout=20)
    assert found.json() == [{"file": ["name.bin", len(data), 0, hashlib.md5(data).hexdigest()]}, {"a": "b"}]


@needs_localhost
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "streamed"])
def test_http2_clients_upload_too(
    program: Start, fpm: Fpm, free_port: Callable[[], int], certificates: Callable[..., Any], has_length: bool
) -> None:
    port, certificate = free_port(), certificates()
    secure = {**config(fpm, port, 1), "listen": [f"https://127.0.0.1:{port}"], "tls": certificate.config}
    program(config=secure)
    data = bytes(range(256)) * 10_000
    content: Any = data if has_length else (data[at : at + 50_000] for at in range(0, len(data), 50_000))
    with httpx.Client(
        http2=True, verify=certificate.client(), base_url=f"https://localhost:{port}", timeout=20
    ) as client:
        found = client.post("/body", content=content)
        assert (found.http_version, found.json()) == ("HTTP/2", [hashlib.md5(data).hexdigest(), str(len(data))])
        server = client.get("/x").json()
        assert (server["HTTPS"], server["REQUEST_SCHEME"], server["SERVER_PROTOCOL"]) == ("on", "https", "HTTP/2.0")


def test_sessions_live_over_workers(url: str) -> None:
    cookies: dict[str, str] = {}
    for count in range(1, 6):
        found = httpx.get(f"{url}/session", cookies=cookies, timeout=20)  # on a connection of its own each
        assert found.json() == count
        cookies |= dict(found.cookies)


def test_large_answers_arrive_whole(url: str) -> None:
    found = httpx.get(f"{url}/large", timeout=20)
    assert (len(found.content), found.content[:10_000]) == (20_000_000, b"A" * 10_000)
    assert httpx.head(f"{url}/large", timeout=20).content == b""


def test_variables_of_more_than_one_record_are_told(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port = free_port()
    program(config=config(fpm, port, 0, env={"LONG": "x" * 50_000, "LAST": "end"}))
    fields = {f"X-{number}": "y" * 1000 for number in range(50)}
    found = answer(f"http://127.0.0.1:{port}", "/x", headers=fields)
    assert (len(found["LONG"]), found["LAST"]) == (50_000, "end")
    assert all(found[f"HTTP_X_{number}"] == "y" * 1000 for number in range(50))


def test_answers_and_files_are_compressed(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port = free_port()
    program(config=config(fpm, port, 0, gzip=True))
    (fpm.site / "big.txt").write_text("text " * 1000)
    for path, size in (("/large", 20_000_000), ("/big.txt", 5000), ("/big.txt", 5000)):
        found = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Accept-Encoding": "gzip"}, timeout=20)
        assert (found.headers["Content-Encoding"], len(found.content)) == ("gzip", size)


def test_error_output_is_in_the_log(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=config(fpm, port))
    assert answer(f"http://127.0.0.1:{port}", "/warned") == "warned"
    one.wait_for(
        r"error output of GET /warned from unix:\S+: PHP message: a warning\\nof two lines \(dispatch\[0\]\.max"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_script_runs_on_over_a_reload(
    program: Start, fpm: Fpm, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    port = free_port()
    one = program(config=config(fpm, port, workers, env={"APP": "old"}))
    url, begun, until = f"http://127.0.0.1:{port}", tmp_path / "begun", tmp_path / "until"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(answer, url, f"/wait?begun={begun}&until={until}")
        wait_until(begun.exists, "script that has begun", directory=tmp_path)
        one.configure(config(fpm, port, workers, env={"APP": "new"}))
        one.send_signal(signal.SIGHUP)
        one.wait_until(lambda: all(answer(url, "/x")["APP"] == "new" for _ in range(4)), "the new config")
        until.touch()
        assert waiting.result(20) == "waited"


def test_no_request_is_lost_when_php_is_restarted(
    program: Start, free_port: Callable[[], int], socket_dir: Path, tmp_path: Path
) -> None:
    """Those that may be repeated are, those that come meanwhile wait; a POST that may have been processed is not."""
    with running_fpm(socket_dir, 8) as fpm:
        port, until = free_port(), tmp_path / "until"
        upstreams = {"php": {"targets": [fpm.uri], "wait": "20s"}}
        one = program(config={**config(fpm, port, to="upstream://php"), "upstreams": upstreams})
        url = f"http://127.0.0.1:{port}"
        with ThreadPoolExecutor() as pool:
            begun = [tmp_path / f"begun{number}" for number in range(5)]
            paths = [f"/wait?begun={one}&until={until}" for one in begun]
            waiting = [pool.submit(answer, url, path) for path in paths[:4]]
            posted = pool.submit(httpx.post, f"{url}{paths[4]}", content=b"x", timeout=20)
            wait_until(lambda: all(one.exists() for one in begun), "scripts that have begun", directory=tmp_path)
            fpm.stop(signal.SIGTERM)  # its children end within their scripts
            assert posted.result(20).status_code == 502
            until.touch()
            later = [pool.submit(answer, url, "/x") for _ in range(4)]
            one.wait_for(r"target unix:\S+ marked down")
            fpm.start()
            assert [one.result(20) for one in waiting] == ["waited"] * 4
            assert all(one.result(20)["REQUEST_URI"] == "/x" for one in later)
    one.wait_for(r"target unix:\S+ is reachable again")


def test_a_script_that_crashes_ends_its_own_request(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=config(fpm, port, keepalive=True))
    url = f"http://127.0.0.1:{port}"
    assert httpx.get(f"{url}/crash", timeout=20).status_code == 502
    assert answer(url, "/warned") == "warned"
    one.wait_for("502 for GET /crash from 127.0.0.1: upstream unix:.*: connection closed without a response")


def test_kept_connections_are_used_again(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port = free_port()
    program(config=config(fpm, port, 0, keepalive=True, keepalive_time="1m"))
    pids = {answer(f"http://127.0.0.1:{port}", "/pid") for _ in range(8)}
    assert len(pids) == 1  # of the four; each takes one connection


@needs("php-cgi")
def test_a_server_that_ends_its_connections_loses_no_request(
    program: Start, fpm: Fpm, free_port: Callable[[], int], socket_dir: Path
) -> None:
    """php-cgi closes a kept connection after some requests, and says so to nobody."""
    port = free_port()
    with running_php_cgi(socket_dir, max_requests=3) as uri:
        program(config=config(fpm, port, 0, to=uri, keepalive=True))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            for number in range(20):
                found = client.post("/body", content=b"x") if number % 2 else client.get("/x")
                assert found.status_code == 200, number


def test_php_fpm_answers_health_checks(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port, dead = free_port(), free_port()
    check = {
        "type": "fastcgi",
        "path": "/ping",
        "expect": {"status": 200, "body": "pong"},
        "interval": "50ms",
        "fall": 1,
    }
    upstreams = {"php": {"targets": [fpm.uri, f"tcp://127.0.0.1:{dead}"], "health_check": check}}
    one = program(config={**config(fpm, port, to="upstream://php"), "upstreams": upstreams})
    one.wait_for(rf"target tcp://127.0.0.1:{dead} of upstream php is down: .*connection refused")
    assert {answer(f"http://127.0.0.1:{port}", "/x")["REQUEST_URI"] for _ in range(4)} == {"/x"}
    assert fpm.uri not in one.errors.replace(f"FastCGI to {fpm.uri}", "")


def test_the_one_liner(program: Start, fpm: Fpm, free_port: Callable[[], int]) -> None:
    port = free_port()
    program(f"http://127.0.0.1:{port}", "-php", str(fpm.socket), "-root", str(fpm.site), "-workers", "1")
    url = f"http://127.0.0.1:{port}"
    assert answer(url, "/info.php/a")["PATH_INFO"] == "/a"
    assert answer(url, "/any/page")["SCRIPT_NAME"] == "/index.php"
    assert httpx.get(f"{url}/f.txt", timeout=20).text == "a file"
