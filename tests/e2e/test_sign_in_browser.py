"""Chromium is led to a page that asks for a password, and from there to the page it wanted and its WebSocket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from tests.stage.browser import REPORT, browser, reports, requests
from tests.stage.login_server import login_server_in_thread
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("chromium")

#: What a person would do on the page.
FILLS_IN = """<script>
const form = document.forms[0];
form.user.value = 'ann';
form.password.value = 'sesame';
form.submit();
</script>"""
PAGE = f"""<!doctype html><p>secret</p>{REPORT}</script><script>
(async () => {{
    const stranger = await fetch('/data', {{credentials: 'omit', headers: {{Accept: 'text/html'}}}});
    const friend = await fetch('/data');
    const socket = new WebSocket(location.href.replace('http', 'ws').replace(/page.*/, 'ws'));
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (event) => report(
        [location.search, stranger.status, stranger.redirected, friend.status, event.data].join(' '));
}})();
</script>"""


@pytest.fixture
def sockets() -> Iterator[int]:
    """A server of WebSockets, which says who has sent what."""

    def answer(client: ServerConnection) -> None:
        assert client.request is not None
        for message in client:
            client.send(f"{client.request.headers['X-User']} says {message!r}")

    with serve(answer, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket.getsockname()[1]
        server.shutdown()


@pytest.mark.timeout(90)
def test_a_browser_signs_in(
    program: Callable[..., Program], free_port: Callable[[], int], sockets: int, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page.html").write_text(PAGE)
    (tmp_path / "site" / "data").write_text("data")
    port, backend = free_port(), f"http://127.0.0.1:{sockets}"
    with login_server_in_thread(FILLS_IN) as login:
        auth = {
            "to": login.url, "path": "/oauth2/auth", "copy": {"X-User": "X-Auth-Request-User"},
            "sign_in": "/oauth2/sign_in?rd=$url", "user": "X-Auth-Request-User",
        }  # fmt: skip
        one = program(
            config={
                "listen": [f"http://127.0.0.1:{port}"],
                "workers": 1,
                "logging": {"format": "json"},
                "dispatch": [
                    {"handler": "static", "root": str(tmp_path / "site"), "forward_auth": auth},
                    {
                        "handler": "proxy",
                        "path": "/ws",
                        "proxy_pass": backend,
                        "forward_auth": auth,
                    },
                    {"handler": "proxy", "path": "/oauth2/**", "proxy_pass": login.url},
                    {"handler": "respond", "path": "/report/**", "status": 204},
                ],
            }
        )
        with browser(f"http://127.0.0.1:{port}/page.html?q=1", tmp_path / "profile"):
            assert reports(one) == ["?q=1 401 false 200 ann says 'hello'"]
    seen = [(line["status"], line["target"]) for line in requests(one)]
    assert seen[:2] == [
        (302, "/page.html?q=1"),
        (200, f"/oauth2/sign_in?rd=http%3A%2F%2F127.0.0.1%3A{port}%2Fpage.html%3Fq%3D1"),
    ]
    assert {line["user"] for line in requests(one) if line["target"] == "/data" and line["status"] == 200} == {"ann"}
