"""curl downloads files: whole, resumed, revalidate, ask for compression, follow redirects, over TLS too."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

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


def test_curl_decodes_an_image_in_gzip_or_saves_the_file(url: str, tmp_path: Path, public: Path) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    (public / "a.svgz").write_bytes(gzip.compress(svg))
    assert curl("--compressed", f"{url}/a.svgz", cwd=tmp_path) == svg
    curl("-O", f"{url}/a.svgz", cwd=tmp_path)
    assert (tmp_path / "a.svgz").read_bytes() == (public / "a.svgz").read_bytes()
    said = curl("-o", os.devnull, "-w", "%{content_type}", f"{url}/a.svgz", cwd=tmp_path)
    assert said == b"image/svg+xml; charset=utf-8"


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


@pytest.mark.parametrize("size", [11, 300_000])
def test_workers_and_reloads_agree_on_the_tag_of_content(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path, size: int
) -> None:
    """RFC 9110 §8.8.3: whichever worker is asked, and whatever a build sets as the modification time of all files."""

    def put(content: bytes) -> None:
        (tmp_path / "new").write_bytes(content)
        os.utime(tmp_path / "new", (1, 1))
        os.replace(tmp_path / "new", tmp_path / "app.js")

    def tags() -> set[str]:
        """Return the tags that a dozen connections get: both workers are met, but for once in two thousand times."""
        found = set()
        for _ in range(12):
            with urlopen(f"http://127.0.0.1:{port}/app.js", timeout=20) as reply:
                found.add(reply.headers["ETag"])
                assert "Last-Modified" not in reply.headers
        return found

    def settled_tag() -> str | None:
        """Return the tag, once it is no longer that of a file written just now."""
        found = tags()
        return found.pop() if len(found) == 1 and not any(tag.endswith('-c"') for tag in found) else None

    port = free_port()
    put(b"a" * size)
    config = {"listen": [f"http://127.0.0.1:{port}"], "workers": 2, "file_cache": {"check_interval": 0}}
    running = program(config=config | {"dispatch": [{"handler": "static", "root": str(tmp_path)}]})
    first = running.wait_until(settled_tag, "one tag")
    running.send_signal(signal.SIGHUP)
    running.wait_for("reloaded")
    assert tags() == {first}
    put(b"b" * size)
    assert first not in tags()
    assert running.wait_until(settled_tag, "one tag") != first
    put(b"a" * size)
    assert running.wait_until(settled_tag, "one tag") == first
