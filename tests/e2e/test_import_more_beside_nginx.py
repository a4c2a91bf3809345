"""An imported config beside nginx itself: conditions, guards, limits, header fields, TLS, WebSockets and streams.

Compared are status, Location, body, the fields that the config adds, and what the application is sent.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from npserver.importing.nginx import import_nginx
from tests.conftest import Certificate
from tests.stage.backends import Backends
from tests.stage.nginx import running_config, running_nginx
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
pytestmark = needs("nginx")

FILES = {
    "index.html": "index",
    "a.css": "css" * 200,
    "b.txt": "text" * 200,
    "page.html": "page",
    "404.html": "lost",
    "sub/c.css": "sub css",
    "cache/x.php": "never",
    "up/x.php": "source",
    ".git/config": "secret",
    ".well-known/x": "known",
}

#: Directives of `http` and of a server, and requests: method, path and header fields, with a line between them.
CASES: dict[str, tuple[str, str, str]] = {
    "if": (
        "",
        r"""
        location / { if ($request_method = DELETE) { return 405; }
        if ($http_x_forwarded_proto = http) { return 308 /tls; }
        if ($http_x_old) { return 301 /new; }
        if ($arg_v = 2) { return 302 /v2; } if ($cookie_beta = 1) { return 303 /beta; }
        if ($http_user_agent ~ ^Dav) { return 307 /dav; } proxy_pass http://app; }
        if ($request_method !~ ^(GET|HEAD|POST|DELETE)$) { return 444; } location = /x { return 200 x; }
        """,
        """
        GET|/a DELETE|/a GET|/a|X-Forwarded-Proto:http GET|/a|X-Old:1 GET|/a?v=2 GET|/a?v=3 GET|/a|Cookie:beta=1 GET|/x
        GET|/a|User-Agent:DavClnt/1 GET|/a|User-Agent:XDav POST|/a
        """,
    ),
    "methods": (
        "",
        r"""
        location / { limit_except GET { deny all; } proxy_pass http://app; } location /w/ {
        limit_except GET POST { deny all; } proxy_pass http://app; }
        """,
        "GET|/a HEAD|/a POST|/a PUT|/w/a POST|/w/a",
    ),
    "auth_request": (
        "",
        r"""
        location / { auth_request /auth; auth_request_set $u $upstream_http_x_backend;
        proxy_set_header X-User $u; proxy_pass http://app; } location = /auth { internal;
        proxy_pass http://guard/status/204; proxy_pass_request_body off; proxy_set_header Content-Length '';
        } location /no/ { auth_request /deny; proxy_pass http://app; } location = /open { auth_request off;
        return 200 o; } location = /deny { internal; proxy_pass http://guard/status/403; }
        """,
        "GET|/a GET|/a|X-User:joe POST|/a GET|/no/a GET|/open",
    ),
    "auth_basic": (
        "",
        r"""
        auth_basic r; auth_basic_user_file @DIR@/users; location / { } location /open/ { auth_basic off;
        return 200 o; }
        """,
        """
        GET|/b.txt GET|/b.txt|Authorization:Basic%20am9lOnRlc3Q= GET|/b.txt|Authorization:Basic%20am9lOng=
        GET|/b.txt|Authorization:Basic%20YW5uOnRlc3Q= GET|/open/
        """,
    ),
    "locations": (
        "",
        r"""
        location / { try_files $uri $uri/ =404; location ~ \.css$ { add_header X-Css 1; } } location /sub/ {
        add_header X-Sub 1; } location ^~ /up/ { } location ~ \.php$ { return 403; }
        location ~ /\.(?!well-known) { deny all; } location ~* /(cache|logs)/.*\.(php|cgi)$ { return 410; }
        location /admin { return 403; } location /app { return 301 /app/; } location /app/ { return 200 app;
        } location ~ ^/files/(.*\.txt)$ { alias @DIR@/$1; } location ~ ^/one/[a-z]+$ { alias @DIR@/b.txt; }
        """,
        """
        GET|/ GET|/a.css GET|/sub/c.css GET|/up/x.php GET|/x.php GET|/.git/config GET|/.well-known/x
        GET|/.well-known/.git GET|/a/CACHE/b/x.php GET|/cache/x.php GET|/admin GET|/administrator
        GET|/admin/x GET|/app GET|/app/x GET|/files/b.txt GET|/files/none.txt GET|/one/abc
        """,
    ),
    "files before an application": (
        "",
        r"""
        location / { try_files $uri @app; } location @app { proxy_pass http://app; }
        location /up/ { try_files $uri $uri/ @app; expires 1h; } location /sub/ { root @DIR@;
        if (!-f $request_filename) { proxy_pass http://app; break; } }
        """,
        """
        GET|/a.css HEAD|/a.css GET|/none GET|/ GET|/cache POST|/none GET|/up/x.php GET|/up/none GET|/sub/c.css
        GET|/sub/none GET|/a.css|Accept-Encoding:gzip GET|/none?a=b
        """,
    ),
    "fallbacks": (
        "",
        r"""
        location / { try_files $uri $uri.html =404; } location /spa/ { try_files $uri $uri/ /index.html; }
        location /dirs/ { try_files $uri /page.html; } location @app { proxy_pass http://app; }
        location /named/ { try_files /dev/null @app; } location /code/ { error_page 418 = @app; return 418;
        }
        """,
        "GET|/page GET|/none GET|/spa/x GET|/dirs/x GET|/named/x POST|/named/x GET|/code/x",
    ),
    "fields": (
        r'map $arg_v $extra { "" ""; default ", immutable"; }',
        r"""
        add_header X-A a; add_header X-Empty ""; location / { } location /b.txt { add_header X-B b$extra; }
        location ~ \.css$ { expires 1h; add_header Cache-Control public; } location /app/ {
        proxy_pass http://app; proxy_hide_header X-Backend; add_header X-A b always; }
        """,
        "GET|/page.html GET|/b.txt GET|/b.txt?v=1 GET|/a.css GET|/none.css GET|/app/x GET|/app/status/500",
    ),
    "encoded slashes": (
        "",
        r"""
        location / { proxy_pass http://app; } location /admin/ { deny all; } location /a/b/ { deny all; }
        location /c/d { internal; } location ~ ^/x/y/ { deny all; } location ~ /\.git { deny all; }
        """,
        """
        GET|/admin/x GET|/admin%2Fx GET|/admin%2fx GET|/a%2Fb/x GET|/a/b%2Fx GET|/a%2Fb%2Fx GET|/a/b/x GET|/ab%2Fx
        GET|/x%2Fy/ GET|/x/y%2Fz GET|/x%2F.git/config GET|/group%2Fproject GET|/adminx
        """,
    ),
    "errors": (
        "",
        r"""
        error_page 404 /404.html; location / { } location = /404.html { root @DIR@; } location /app/ {
        proxy_pass http://app; }
        """,
        "GET|/none GET|/page.html GET|/app/status/404",
    ),
    "targets": (
        "",
        r"""
        location /a/ { proxy_pass http://app/b/; } location /j/ { proxy_pass http://app;
        proxy_set_header X-Forwarded-Proto https; proxy_set_header Proxy ""; proxy_set_header X-Tail $server_name; }
        location = /c { proxy_pass http://app/d; }
        set $to 127.0.0.1; location /e/ { proxy_pass http://$to:@APP@; } location /f/ {
        rewrite ^/f/(.*)$ /g/$1 break; proxy_pass http://app; } location /h/ { proxy_pass http://app;
        proxy_set_header Host h.example; proxy_set_header X-Tail $request_uri; } location /i/ {
        proxy_pass http://app/i/; client_max_body_size 4; }
        """,
        "GET|/j/x|Proxy:evil GET|/a/x?y GET|/c?z GET|/e/x GET|/f/x?y GET|/h/x?y POST|/i/x",
    ),
    "limits": (
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m;",
        r"""
        location / { limit_req zone=z burst=2 nodelay; limit_req_status 429; proxy_pass http://app; }
        """,
        "GET|/1 GET|/2 GET|/3 GET|/4",
    ),
    "cached": (
        "proxy_cache_path @DIR@/stored keys_zone=c:1m;",
        r"""
        location / { proxy_cache c; proxy_cache_valid 200 1m; proxy_pass http://count; }
        """,
        "GET|/a GET|/a GET|/b",
    ),
    "compressed": (
        "gzip on; gzip_types text/css; gzip_min_length 100;",
        r"""
        location / { } location /plain/ { gzip off; alias @DIR@/; }
        """,
        """
        GET|/a.css|Accept-Encoding:gzip GET|/plain/a.css|Accept-Encoding:gzip
        GET|/page.html|Accept-Encoding:gzip
        """,
    ),
    "networks": (
        "",
        r"""
        location / { allow 127.0.0.0/8; deny all; return 200; } location /b.txt { allow 127.0.0.1; deny all;
        } location /page.html { deny 127.0.0.1; allow all; } location /a.css { allow 10.0.0.0/8; deny all; }
        """,
        "GET|/b.txt GET|/page.html GET|/a.css",
    ),
}
_FIELDS = (
    "x-a",
    "x-b",
    "x-css",
    "x-sub",
    "x-empty",
    "x-backend",
    "cache-control",
    "content-encoding",
    "www-authenticate",
)
_SENT = ("host", "x-user", "x-tail", "content-length", "proxy", "x-forwarded-proto", "x-forwarded-port")


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Ports of servers: an application, another that counts its requests, and one that lets in."""
    requests: list[int] = []

    async def count(reader: Any, writer: Any) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            requests.append(1)
            body = str(len(requests)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with Backends() as backends:
        yield {"app": backends.http("app"), "guard": backends.http("guard"), "count": backends.tcp(count)}


def asked(port: int, request: str) -> tuple[int, str, object, dict[str, str]]:
    """Status, Location without scheme, host and port, what the application was sent or the body, and fields."""
    method, path, *fields = request.split("|")
    headers = {name: value.replace("%20", " ") for name, _, value in (field.partition(":") for field in fields)}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            method, path, b"hello" if method in ("POST", "PUT") else None, {"Host": "a.example", **headers}
        )
        response = connection.getresponse()
        body: object = response.read()
    except http.client.RemoteDisconnected:
        return 403, "", b"", {}  # what 444 is here
    finally:
        connection.close()
    location = re.sub(r"^http://a\.example(:\d+)?(?=/)", "", response.getheader("Location", ""))
    shown = {name: ", ".join(response.headers.get_all(name) or []) for name in _FIELDS if response.headers.get(name)}
    shown = {name: value.removesuffix(', charset="UTF-8"') for name, value in shown.items()}
    if response.status >= 300:
        shown = {name: value for name, value in shown.items() if value != "no-store" and name != "x-backend"}
        body = body if body == b"lost" else b""
    elif isinstance(body, bytes) and body.startswith(b"{"):
        said = json.loads(body)
        sent = {name: value for name, value in said["headers"] if name in _SENT and value != "http"}
        body = (said["name"], said["method"], said["target"], sent, said["body"])
    elif "content-encoding" in shown:
        body = b""
    return response.status, location, body, shown


@pytest.mark.parametrize("case", CASES)
def test_both_answer_alike(case: str, tmp_path: Path, ports: dict[str, int], program: Start) -> None:
    http_block, server, words = CASES[case]
    requests = words.split()
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "users").write_text(
        "joe:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\nann:$apr1$abcdefgh$/cesMUEGhga5MgaTGywaW0\n"
    )
    upstreams = "".join(f"upstream {name} {{ server 127.0.0.1:{port}; }}" for name, port in ports.items())
    blocks = [text.replace("@DIR@", str(tmp_path)).replace("@APP@", str(ports["app"])) for text in (http_block, server)]
    with running_nginx(
        tmp_path, blocks[1], http=f"{upstreams} types {{ text/css css; text/plain txt; }} {blocks[0]}"
    ) as url:
        theirs, ours = int(url.rpartition(":")[2]), free_port()
        imported = import_nginx(str(tmp_path / "nginx.conf"))
        config = imported.text.replace(f"127.0.0.1:{theirs}", f"127.0.0.1:{ours}")
        program(config=config, listens=[f"http://127.0.0.1:{ours}"])
        expected = [asked(theirs, request) for request in requests]
        if case == "cached":  # the count goes on
            expected = [(status, location, int(body) + 2, fields) for status, location, body, fields in expected]  # type: ignore[call-overload]
        answers = [asked(ours, request) for request in requests]
        if case == "cached":
            answers = [(status, location, int(body), fields) for status, location, body, fields in answers]  # type: ignore[call-overload]
    different = {
        request: pair for request, *pair in zip(requests, expected, answers, strict=True) if pair[0] != pair[1]
    }
    assert different == {}, f"{different}\n{imported.text}"


def test_a_name_that_is_not_wanted_is_redirected(tmp_path: Path, program: Start) -> None:
    port = free_port()
    text = (
        f"http {{ server {{ listen 127.0.0.1:{port}; server_name a.example b.example;"
        "if ($host != a.example) { return 301 http://a.example$request_uri; } location / { return 200 a; } } }"
    )
    with running_config(tmp_path, text, [port]):
        ours = start(tmp_path, text, [port], program)
        for name in ("a.example", "b.example", "c.example"):
            request = f"GET|/x?y|Host:{name}"
            assert asked(ours[port], request) == asked(port, request)


def start(directory: Path, text: str, ports: list[int], program: Start) -> dict[int, int]:
    """Run the import of nginx's config on other ports; return these by those of nginx."""
    ours = {port: free_port() for port in ports}
    config = import_nginx(str(directory / "nginx.conf")).text
    for port, other in ours.items():
        config = config.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")
    program(
        config=config, listens=re.findall(r'"((?:https?|tcp)://127\.0\.0\.1:\d+)"', config.partition('"dispatch"')[0])
    )
    return ours


def shaken(port: int, name: str) -> tuple[str | None, object]:
    """Return the protocol and the certificate that a TLS client is given."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        return tls.selected_alpn_protocol(), tls.getpeercert(binary_form=True)


def test_names_have_their_certificates(
    tmp_path: Path, ports: dict[str, int], certificates: Callable[..., Certificate], program: Start
) -> None:
    plain, secure = free_port(), free_port()
    servers = []
    for name in ("a.example", "b.example"):
        certificate = certificates(name)
        servers.append(
            f"server {{ listen 127.0.0.1:{secure} ssl http2; server_name {name}; ssl_certificate {certificate.cert};"
            f"ssl_certificate_key {certificate.key}; location / {{ return 200 {name}; }} }}"
        )
    text = f"http {{ server {{ listen 127.0.0.1:{plain}; return 301 https://$host$request_uri; }} {''.join(servers)} }}"
    with running_config(tmp_path, text, [plain, secure]):
        ours = start(tmp_path, text, [plain, secure], program)
        for name in ("b.example", "a.example", "c.example"):
            assert shaken(ours[secure], name) == shaken(secure, name)
        assert asked(ours[plain], "GET|/x?y") == asked(plain, "GET|/x?y")


def test_websockets(tmp_path: Path, program: Start) -> None:
    port = free_port()
    with Backends() as backends:
        text = (
            "http { map $http_upgrade $connection_upgrade { default upgrade; '' close; }"
            f"server {{ listen 127.0.0.1:{port}; location /ws/ {{ proxy_pass http://127.0.0.1:{backends.websocket_echo()}/;"
            "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
            "proxy_set_header Connection $connection_upgrade; } } }"
        )
        with running_config(tmp_path, text, [port]):
            ours = start(tmp_path, text, [port], program)
            for one in (port, ours[port]):
                with connect(f"ws://127.0.0.1:{one}/ws/x", open_timeout=30, close_timeout=30) as client:
                    client.send("hello")
                    assert client.recv(timeout=30) == "hello"


def test_streams(tmp_path: Path, certificates: Callable[..., Certificate], program: Start) -> None:
    tcp, udp, front, first, second = (free_port() for _ in range(5))
    one, two = certificates("a.example"), certificates("b.example")
    with Backends() as backends:
        text = (
            "stream { map $ssl_preread_server_name $to { hostnames;"
            f".a.example 127.0.0.1:{first}; default 127.0.0.1:{second}; }}"
            f"upstream echo {{ server 127.0.0.1:{backends.tcp_echo()}; }}"
            f"server {{ listen 127.0.0.1:{tcp}; proxy_pass echo; proxy_timeout 1h; }}"
            f"server {{ listen 127.0.0.1:{udp} udp; proxy_pass 127.0.0.1:{backends.udp_echo()}; proxy_responses 1; }}"
            f"server {{ listen 127.0.0.1:{front}; ssl_preread on; proxy_pass $to; }} }}"
            "http { "
            f"server {{ listen 127.0.0.1:{first} ssl; ssl_certificate {one.cert}; ssl_certificate_key {one.key}; }}"
            f"server {{ listen 127.0.0.1:{second} ssl; ssl_certificate {two.cert}; ssl_certificate_key {two.key}; }} }}"
        )
        with running_config(tmp_path, text, [tcp, front, first, second]):
            ours = start(tmp_path, text, [tcp, udp, front, first, second], program)
            for port in (tcp, ours[tcp]):
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    client.sendall(b"hello")
                    assert client.recv(5) == b"hello"
            for port in (udp, ours[udp]):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(30)
                    client.sendto(b"hello", ("127.0.0.1", port))
                    assert client.recv(100) == b"hello"
            for name in ("a.example", "www.a.example", "c.example"):
                assert shaken(ours[front], name)[1] == shaken(front, name)[1]
