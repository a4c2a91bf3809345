"""Chromium shows the status page: live, on a phone, light and dark, and whatever names and errors contain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.browser import REPORT, browser, reports
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("chromium")

HOSTILE = "<img src=x onerror=parent.report('hacked')>"

#: Waits until the page in the frame is live and has changed, and tells what it looks like.
LOOK = """
const until = check => new Promise(done => { const timer = setInterval(() => { const found = check();
    if (found) { clearInterval(timer); done(found); } }, 50); });
frame.onload = async () => {
    const page = frame.contentDocument, at = id => page.getElementById(id);
    await until(() => at('live').textContent === 'live');
    const before = at('up').textContent;
    await until(() => at('up').textContent !== before);
    at('counters').querySelector('summary').click();
    at('counters').querySelector('summary').focus();
    await fetch('/lost');
    await until(() => at('errors').textContent.includes('no rule matches') || at('traffic').textContent);
    await until(() => at('targets').textContent.includes('down'));
    report(JSON.stringify({
        fits: page.documentElement.scrollWidth <= frame.clientWidth,
        background: getComputedStyle(page.body).backgroundColor,
        first: page.querySelector('main h2').textContent,
        target: page.querySelector('#targets td').textContent,
        images: page.images.length,
        open: at('counters').querySelector('details').open,
        focus: page.activeElement.tagName,
        rows: getComputedStyle(page.querySelector('tr:last-child')).display,
    }));
};
</script>"""


@pytest.fixture
def status(program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path) -> Callable[..., Any]:
    """Return `status(width)`: a page with the status page in a frame of this width, and the program."""

    def serve(width: int) -> tuple[str, Program]:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "frame.html").write_text(
            f'<!doctype html><iframe id="frame" width="{width}" height="800" src="/status"></iframe>{REPORT}{LOOK}'
        )
        port = free_port()
        config = {
            "listen": [{"name": f"web {HOSTILE}", "uri": f"http://127.0.0.1:{port}"}],
            "workers": 2,
            "logging": {"format": "json"},
            "upstreams": {
                f"app {HOSTILE}": {
                    "targets": [f"http://127.0.0.1:{free_port()}"],
                    "health_check": {"interval": 1, "path": "/"},
                }
            },
            "dispatch": [
                {"handler": "static", "root": str(tmp_path / "site")},
                {"handler": "respond", "path": "/report/**", "status": 204},
                {"handler": "respond", "name": HOSTILE, "path": "/other", "body": HOSTILE},
                {"handler": "status", "allow": ["127.0.0.1"]},
            ],
        }
        return f"http://127.0.0.1:{port}", program(config=config)

    return serve


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("width", "options", "background", "rows"),
    [
        (390, ["--blink-settings=preferredColorScheme=1"], "rgb(255, 255, 255)", "flex"),
        (1200, ["--blink-settings=preferredColorScheme=0"], "rgb(20, 23, 26)", "table-row"),
    ],
    ids=["light phone", "dark desk"],
)
def test_the_page_is_live_and_fits(
    status: Callable[..., Any], tmp_path: Path, width: int, options: list[str], background: str, rows: str
) -> None:
    url, one = status(width)
    with browser(f"{url}/frame.html", tmp_path / "profile", *options):
        (said,) = reports(one)
    look = json.loads(said)
    assert look.pop("target").startswith(f"app {HOSTILE} http://127.0.0.1:")
    assert look == {
        "fits": True, "background": background, "first": "Targets", "images": 0, "open": True, "focus": "SUMMARY",
        "rows": rows,
    }  # fmt: skip


@pytest.mark.timeout(60)
def test_all_workers_show_the_same_without_a_script(status: Callable[..., Any]) -> None:
    url, one = status(390)

    def page() -> str:
        return httpx.get(f"{url}/status", headers={"Accept": "text/html"}, timeout=20).text

    one.wait_until(lambda: "connection refused" in page(), "the reason")
    for _ in range(8):  # connections of their own: of both workers
        text = page()
        for part in ('<b class="bad">down</b>', "/other", "worker 1", "Last warnings and errors", "is down: conn"):
            assert part in text
        assert "<img" not in text
        assert len(text) < 60_000
