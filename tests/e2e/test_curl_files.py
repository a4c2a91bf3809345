"""curl downloads files: whole, resumed, revalidate, ask for compression, follow redirects, over TLS too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("curl")
CONTENT = bytes(range(256)) * 20_000


@pytest.fixture(params=["http", "https"])
def url(
    request: pytest.FixtureRequest,
    program: Callable[..., Program],
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    public: Path,
) -> str:
    """Serve `public` and a few rules beside it by the real program."""
    (public / "large.bin").write_bytes(CONTENT)
    port = free_port()
    config: dict[str, Any] = {
        "listen": [f"{request.param}://127.0.0.1:{port}"],
        "workers": 1,
        "dispatch": [
            {"handler": "static", "root": str(public)},
            {"handler": "redirect", "path": "/old/**", "to": "/sub/page.html"},
            {"handler": "respond", "path": "/ip", "body": "$client_ip $scheme\n"},
        ],
    }
    if request.param == "https":
        config["tls"] = certificates().config
    program(config=config)
    return f"{request.param}://127.0.0.1:{port}"


def curl(*arguments: str, cwd: Path) -> bytes:
    """Run curl; it has to succeed."""
    done = subprocess.run(["curl", "-sSk", "--fail", *arguments], cwd=cwd, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_curl_downloads_resumes_and_decompresses(url: str, tmp_path: Path, public: Path) -> None:
    assert curl(f"{url}/large.bin", cwd=tmp_path) == CONTENT
    curl("-o", "part", "-r", "0-99999", f"{url}/large.bin", cwd=tmp_path)
    curl("-o", "part", "-C", "-", f"{url}/large.bin", cwd=tmp_path)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert curl("--compressed", f"{url}/app.css", cwd=tmp_path) == (public / "app.css").read_bytes()
    assert b"multipart/byteranges" in curl("-i", "-r", "0-0,-1", f"{url}/large.bin", cwd=tmp_path)


def test_curl_revalidates_its_copy(url: str, tmp_path: Path) -> None:
    curl("--etag-save", "tag", "-o", "page", f"{url}/sub/page.html", cwd=tmp_path)
    status = ["-w", "%{http_code}", "-o", os.devnull]
    assert curl(*status, "--etag-compare", "tag", f"{url}/sub/page.html", cwd=tmp_path) == b"304"
    curl("-R", "-o", "dated", f"{url}/sub/page.html", cwd=tmp_path)
    assert curl(*status, "-z", "dated", f"{url}/sub/page.html", cwd=tmp_path) == b"304"


def test_curl_follows_redirects_and_reads_answers(url: str, tmp_path: Path, public: Path) -> None:
    assert curl("-L", f"{url}/old/thing?x", cwd=tmp_path) == (public / "sub" / "page.html").read_bytes()
    assert curl(f"{url}/ip", cwd=tmp_path).decode() == f"127.0.0.1 {url.partition(':')[0]}\n"
    assert b"301" in curl("-I", f"{url}/sub", cwd=tmp_path)
