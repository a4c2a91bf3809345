"""Several access logs of the whole program: the example of docs/access-logs.md, rotation, reload and shutdown."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.ports import free_port
from tests.stage.program import ROOT, Program
from tests.stage.waiting import wait_until

Start = Callable[..., Program]


def example(number: int, port: int) -> dict[str, Any]:
    """Return a config of the page, that listens on a port of the test."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "access-logs.md").read_text(), re.DOTALL)
    config: dict[str, Any] = json.loads(blocks[number])
    config["listen"] = [f"http://127.0.0.1:{port}"]
    return config


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize("workers", [0, 2])
def test_the_example_of_the_page(program: Start, tmp_path: Path, workers: int) -> None:
    port = free_port()
    config = example(0, port)
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("a")
    config["dispatch"][0]["root"] = str(tmp_path / "www")
    config["workers"] = workers
    for number, one in enumerate(config["logging"]["access_log"]):
        if isinstance(one, str):
            config["logging"]["access_log"][number] = str(tmp_path / one)
        else:
            one["to"] = str(tmp_path / one["to"])
    access, errors, sample = [tmp_path / name for name in ("access.log", "errors.json", "sample.log")]
    running = program(config=config)
    for _ in range(10):
        assert httpx.get(f"http://127.0.0.1:{port}/a.txt?token=1").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/none?token=1").status_code == 404
    wait_until(lambda: text_of(access).count("\n") == 20, "all lines", 30, running.errors)
    wait_until(lambda: text_of(sample).count(" 404 ") == 10, "all errors", 30, running.errors)
    wait_until(lambda: text_of(errors).count("\n") == 10, "all errors", 30, running.errors)
    assert {json.loads(line)["status"] for line in errors.read_text().splitlines()} == {404}
    assert "token" not in sample.read_text()
    assert {line.split()[0] for line in sample.read_text().splitlines()} == {"127.0.0.0"}

    for one in (access, errors):
        one.rename(one.with_suffix(".1"))
    running.send_signal(signal.SIGUSR1)
    wait_until(lambda: access.exists() and errors.exists(), "new files", 30, running.errors)
    config["logging"]["access_log"] = [{"to": str(errors), "only": "path = /other"}]
    running.configure(config)
    running.send_signal(signal.SIGHUP)

    def is_reloaded() -> bool:
        httpx.get(f"http://127.0.0.1:{port}/other")
        return "GET" in text_of(errors)

    wait_until(is_reloaded, "the new config", 30, running.errors)
    httpx.get(f"http://127.0.0.1:{port}/other?last")
    running.stop()
    assert "/other?last 404" in errors.read_text()  # a shutdown writes what is waiting
