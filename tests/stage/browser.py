"""Chromium on a page, and what that page reports through the server's access log."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.stage.program import Program
from tests.stage.programs import find

BROWSER_S = 45.0

#: Reports what the page shows to the server's access log.
REPORT = "<script>const report = text => fetch('/report/' + encodeURIComponent(text)).catch(() => {});"


def load_failure(url: str, profile: Path, home: Path) -> str:
    """Return why Chromium, with this home directory, does not load a page."""
    options = ("--enable-logging=stderr", "--dump-dom")
    done = subprocess.run(
        _command(url, profile, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BROWSER_S,
        env={**os.environ, "HOME": str(home)},
    )  # fmt: skip
    return done.stderr.partition("Page load failed: ")[2].partition("\n")[0]


@contextmanager
def browser(url: str, profile: Path, *options: str, home: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run Chromium on a page. `home`: its home directory, with the certificates that it trusts."""
    process = subprocess.Popen(
        _command(url, profile, *options), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home)} if home is not None else None,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _command(url: str, profile: Path, *options: str) -> list[str]:
    chromium = find("chromium")
    assert chromium is not None
    fixed = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    return [
        *(chromium, *fixed, "--autoplay-policy=no-user-gesture-required"),
        *(f"--user-data-dir={profile}", *options, url),
    ]


def requests(one: Program) -> list[dict[str, Any]]:
    """Return the requests in the access log so far."""
    complete = one.output.rpartition("\n")[0].splitlines()
    return [line for line in (json.loads(line) for line in complete if line.startswith("{")) if "target" in line]


def reports(one: Program, count: int = 1) -> list[str]:
    """Wait for at least `count` reports of the page, and return them."""

    def found() -> list[str]:
        targets = [line["target"] for line in requests(one)]
        return [unquote(target.removeprefix("/report/")) for target in targets if target.startswith("/report/")]

    return one.wait_until(lambda: found() if len(found()) >= count else None, f"{count} reports", BROWSER_S)
