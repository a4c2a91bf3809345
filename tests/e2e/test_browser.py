"""Chromium loads a page with all it needs, seeks in a film by ranges, and shows a listing on a phone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.browser import REPORT, browser, reports, requests
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.webm import film

pytestmark = needs("chromium")


@pytest.fixture
def web(program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path) -> Callable[..., Any]:
    """Return `web(**rule)`: a directory, its URL, and the program that serves it and logs what pages report."""

    def serve(**rule: Any) -> tuple[Path, str, Program]:
        directory = tmp_path / "site"
        directory.mkdir()
        port = free_port()
        config = {
            "listen": [f"http://127.0.0.1:{port}"],
            "workers": 1,
            "logging": {"format": "json"},
            "dispatch": [
                {"handler": "static", "root": str(directory), **rule},
                {"handler": "respond", "path": "/report/**", "status": 204},
            ],
        }
        return directory, f"http://127.0.0.1:{port}", program(config=config)

    return serve


def png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """A picture in one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * width) * height
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
         chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )  # fmt: skip


@pytest.mark.timeout(90)
def test_a_page_with_pictures_style_and_script(web: Callable[..., Any], tmp_path: Path) -> None:
    site, url, one = web()
    for number in range(8):
        (site / f"p{number}.png").write_bytes(png(40 + number, 30, (number * 30, 80, 160)))
    (site / "style.css").write_text("body { color: rgb(1, 2, 3) }\n" + "/* padding */\n" * 200)
    (site / "app.mjs").write_text("export const answer = 42;\n" + "// padding\n" * 200)
    pictures = "".join(f'<img src="p{number}.png">' for number in range(8))
    (site / "index.html").write_text(
        f"""<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="style.css"><p>grün</p>{pictures}
        {REPORT}</script>"""
        """<script type="module">
        import {answer} from './app.mjs';
        addEventListener('load', () => report([answer, getComputedStyle(document.body).color,
            [...document.images].map(one => one.naturalWidth), document.querySelector('p').textContent].join(' ')));
        </script>"""
    )
    with browser(f"{url}/", tmp_path / "profile"):
        assert reports(one) == ["42 rgb(1, 2, 3) 40,41,42,43,44,45,46,47 grün"]
    style = next(line for line in requests(one) if line["target"] == "/style.css")
    assert style["sent_bytes"] < 1000  # compressed


@pytest.mark.timeout(90)
def test_seeking_in_a_film_loads_a_part_of_it(web: Callable[..., Any], tmp_path: Path) -> None:
    site, url, one = web()
    (site / "film.webm").write_bytes(film(60, 1_000_000))
    (site / "index.html").write_text(
        f"""<!doctype html><video id="film" muted preload="metadata" src="film.webm"></video>{REPORT}
        film.onloadedmetadata = () => {{ film.currentTime = 50; }};
        film.onseeked = () => report(['at', film.currentTime, 'of', film.duration, 'width', film.videoWidth,
            'skipped', film.buffered.start(film.buffered.length - 1) > 20].join(' '));
        film.onerror = () => report('error ' + film.error.message);
        </script>"""
    )
    with browser(f"{url}/", tmp_path / "profile"):
        assert reports(one) == ["at 50 of 60 width 64 skipped true"]
    statuses = {line["status"] for line in requests(one) if line["target"] == "/film.webm"}
    assert 206 in statuses
    assert statuses <= {206, 304}  # Chromium asks whether what it has is still good


@pytest.mark.timeout(90)
def test_a_listing_fits_a_phone(web: Callable[..., Any], tmp_path: Path) -> None:
    site, url, one = web(browse=True)
    (site / "a directory").mkdir()
    for name in ("notes.txt", "a-rather-long-name-" * 6 + ".tar.gz", "<i>odd & name.html"):
        (site / name).write_bytes(b"x" * 3000)
    (site / "a directory" / "inside.txt").write_text("inside")
    (site / "frame.html").write_text(
        f"""<!doctype html><iframe id="frame" width="390" height="800" src="/"></iframe>{REPORT}
        let step = 0;
        frame.onload = () => {{
            const page = frame.contentDocument;
            if (step++ === 0) {{
                const links = [...page.querySelectorAll('li a')];
                report([page.documentElement.scrollWidth <= 390, links.length].join('|'));
                links[0].click();
            }} else report(page.title + '|' + page.querySelector('li:last-child').innerText.split('\\n')[0]);
        }};
        </script>"""
    )
    with browser(f"{url}/frame.html", tmp_path / "profile"):
        first, second = reports(one, 2)
    assert first.split("|")[:2] == ["true", "5"]
    assert second == "/a directory/|inside.txt"
