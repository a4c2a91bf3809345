"""`root` of a proxy rule, by web.handlers.proxy.files_first: files are sent before the application is asked."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage.backends import Backends
from tests.stage.program import Program


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return status, and the text of a file or `app` and what the application was asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    if response.getheader("X-Backend"):
        body = f"app {json.loads(body)['target']}" if body else "app"
    return response.status, body


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A directory with a file, a file below it, a hidden one and links."""
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/index.html", ".hidden"):
        (public / name).write_text(name)
    (tmp_path / "outside.txt").write_text("outside")
    (public / "link.txt").symlink_to("../outside.txt")
    (public / "unreadable").mkdir(mode=0)
    return public


def config(port: int, application: int, **keys: object) -> dict[str, object]:
    rule = {"handler": "proxy", "proxy_pass": f"http://127.0.0.1:{application}", "root": "./public", **keys}
    return {"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "dispatch": [rule]}


def test_files_and_all_else(
    public: Path, backends: Backends, free_port: Callable[[], int], program: Callable[..., Program]
) -> None:
    port, application = free_port(), backends.http()
    running = program(config=config(port, application))
    for _ in range(3):  # the third time from memory
        assert ask(port, "/a.txt") == (200, "a.txt")
    assert ask(port, "/a.txt", "HEAD") == (200, "")
    assert ask(port, "/a.txt", "POST") == (200, "app /a.txt")
    assert ask(port, "/a.txt?x=y") == (200, "a.txt")
    for path in ("/", "/sub", "/sub/", "/.hidden", "/link.txt", "/none?x=y", "/a.txt/more"):
        status, answer = ask(port, path)
        assert (status, answer[:4]) == (200, "app "), path
    assert ask(port, "/none", Upgrade="websocket", Connection="Upgrade")[0] == 200
    os.unlink(public / "a.txt")
    running.wait_until(lambda: ask(port, "/a.txt") == (200, "app /a.txt"), "the file to be gone")
    running.configure(config(port, application, follow_symlinks=True, cache_control="max-age=5"))
    assert running.command("reload")[0] == 0
    assert ask(port, "/link.txt") == (200, "outside")


def test_a_prefix_is_removed(
    public: Path, backends: Backends, free_port: Callable[[], int], program: Callable[..., Program]
) -> None:
    port = free_port()
    program(config=config(port, backends.http(), path="/x/**", strip_prefix=True, cache=True))
    assert ask(port, "/x/a.txt") == (200, "a.txt")
    assert ask(port, "/x/none") == (200, "app /none")


@pytest.mark.parametrize("key", ["follow_symlinks", "cache_control"])
def test_keys_without_effect(
    key: str, free_port: Callable[[], int], program: Callable[..., Program], tmp_path: Path
) -> None:
    rule = {"handler": "proxy", "proxy_pass": "http://127.0.0.1:1", key: True if key == "follow_symlinks" else "x"}
    running = program(config={"listen": [f"http://127.0.0.1:{free_port()}"], "dispatch": [rule]}, wait=False)
    assert running.wait_exit() == 2
    assert f"'{key}' has no effect without 'root'" in running.errors


def test_explain_says_which_it_is(
    public: Path, backends: Backends, free_port: Callable[[], int], program: Callable[..., Program]
) -> None:
    port = free_port()
    running = program(config=config(port, backends.http()))
    assert "public/a.txt" in running.command("explain", f"http://127.0.0.1:{port}/a.txt")[1]
    assert "none below ./public" in running.command("explain", f"http://127.0.0.1:{port}/none")[1]
