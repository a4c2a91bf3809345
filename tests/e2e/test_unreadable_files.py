"""Files and directories that the server may not read are 403, and the log names path and reason."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stage.program import Program


@pytest.fixture
def site(socket_dir: Path) -> Iterator[Path]:
    """A directory that everyone may enter, with files and directories that only their owner may read."""
    socket_dir.chmod(0o755)
    root = socket_dir / "site"
    root.mkdir()
    (root / "open.txt").write_text("open")
    (root / "secret.txt").write_text("secret")
    (root / "closed").mkdir()
    (root / "closed" / "index.html").write_text("closed")
    (root / "blind").mkdir()
    (root / "indexed").mkdir()
    (root / "indexed" / "index.html").write_text("secret")
    if os.geteuid():
        unreadable, no_search = 0o000, 0o200
    else:
        unreadable, no_search = 0o600, 0o600
    (root / "secret.txt").chmod(unreadable)
    (root / "indexed" / "index.html").chmod(unreadable)
    (root / "closed").chmod(no_search)
    (root / "blind").chmod(0o711 if os.geteuid() == 0 else 0o311)
    yield root
    for one in (root / "closed", root / "blind"):
        one.chmod(0o700)


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.parametrize("rule", [{}, {"browse": True}, {"try_files": ["$path", "$path/", "/missing"]}], ids=str)
def test_what_may_not_be_read_is_403_and_the_log_says_why(
    program: Callable[..., Program], free_port: Callable[[], int], site: Path, rule: dict[str, Any]
) -> None:
    port = free_port()
    config: dict[str, Any] = {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 1,
        "dispatch": [{"handler": "static", "root": str(site), **rule}],
    }
    if os.geteuid() == 0:
        config["user"] = "nobody"
    one = program(config=config)
    asked = {"/open.txt": 200, "/secret.txt": 403, "/closed/x.txt": 403, "/closed/": 403, "/indexed/": 403, "/nix": 404}
    if "browse" in rule:
        asked["/blind/"] = 403
    for _ in range(3):
        assert {path: status_of(f"http://127.0.0.1:{port}{path}") for path in asked} == asked
    for name in ("secret.txt", "closed/x.txt", "indexed/index.html"):
        one.wait_for(f"cannot read {site}/{name}: permission denied \\(root\\)")
