"""Compression, maintenance and lists of moved pages in the program: two workers, a reload, both versions of HTTP."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.program import Program

BODY = "a line of text that comes again and again\n" * 200


@pytest.fixture
def config(free_port: Callable[[], int], certificates: Callable[..., Any], tmp_path: Path) -> dict[str, Any]:
    issued, plain, secure = certificates(), free_port(), free_port()
    (tmp_path / "moved.csv").write_text("/old,/new\n")
    return {
        "listen": [{"name": "plain", "uri": f"http://127.0.0.1:{plain}"},
                   {"name": "secure", "uri": f"https://127.0.0.1:{secure}"}],
        "tls": {"cert": str(issued.cert), "key": str(issued.key)},
        "workers": 2,
        "dispatch": [
            {"handler": "respond", "listener": "plain", "path": "/text", "body": BODY,
             "headers": {"Cache-Control": "max-age=60"}},
            {"handler": "proxy", "listener": "secure", "proxy_pass": f"http://127.0.0.1:{plain}", "gzip": True,
             "cache": True, "maintenance": {"file": str(tmp_path / "closed")}},
            {"handler": "redirect", "listener": "secure", "moved": str(tmp_path / "moved.csv")},
        ],
    }  # fmt: skip


def url(config: dict[str, Any], path: str) -> str:
    return str(config["listen"][1]["uri"]) + path


def asked(address: str, *, times: int = 1, http2: bool = True, **fields: str) -> list[httpx.Response]:
    """Ask over a connection for each request, so that both workers answer."""
    answers = []
    for _ in range(times):
        with httpx.Client(http2=http2, verify=False) as client:
            answers.append(client.get(address, headers={"Accept-Encoding": "gzip", **fields}))
    return answers


def test_workers_close_and_open_the_site_by_a_file(
    program: Callable[..., Program], config: dict[str, Any], tmp_path: Path
) -> None:
    one = program(config=config)

    def statuses() -> set[int]:
        return {answer.status_code for answer in asked(url(config, "/text"), times=8)}

    (tmp_path / "closed").touch()
    one.wait_until(lambda: statuses() == {503}, "maintenance in both workers")
    (tmp_path / "closed").unlink()
    one.wait_until(lambda: statuses() == {200}, "end of it")
    one.wait_for("maintenance is on: .*dispatch\\[1\\].maintenance.file")
    one.wait_for("maintenance is off")


def test_answers_of_the_cache_are_compressed_for_those_who_accept_it(
    program: Callable[..., Program], config: dict[str, Any]
) -> None:
    program(config=config)
    for http2 in (True, False):
        for accepted in ("gzip", "identity", "br", "zstd"):
            (answer,) = asked(url(config, "/text"), http2=http2, **{"Accept-Encoding": accepted})
            coding = answer.headers.get("content-encoding", "identity")
            assert (answer.status_code, coding, answer.headers["vary"]) == (200, accepted, "Accept-Encoding")
            if accepted != "zstd":  # httpx knows no zstd
                assert answer.text == BODY


def test_a_reload_reads_the_list_again(program: Callable[..., Program], config: dict[str, Any], tmp_path: Path) -> None:
    one = program(config=config)
    assert asked(url(config, "/old"))[0].headers["location"] == "/new"
    (tmp_path / "moved.csv").write_text("/old,/newer\n/x,broken,999\n")
    one.send_signal(signal.SIGHUP)
    one.wait_for("line 2: '999' is not a status of redirects")
    assert asked(url(config, "/old"))[0].headers["location"] == "/new"
    (tmp_path / "moved.csv").write_text("/old,/newer\n")
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: asked(url(config, "/old"))[0].headers["location"] == "/newer", "the new list")


def test_a_worker_that_starts_later_has_the_same_files(
    program: Callable[..., Program], config: dict[str, Any], tmp_path: Path
) -> None:
    """Whatever has become of them since the config was read."""
    page = tmp_path / "403.html"
    page.write_text("our page")
    closed = {"handler": "respond", "listener": "plain", "path": "/closed", "body": "x", "allow": "192.0.2.1"}
    pages = {"403": str(page)}
    one = program(config={**config, "error_pages": pages, "dispatch": [*config["dispatch"], closed]})
    one.wait_until(lambda: len(one.children()) == 3, "workers and controller")
    (tmp_path / "moved.csv").write_text("broken")
    page.unlink()
    before = set(one.children())
    for worker in sorted(before)[:2]:
        os.kill(worker, signal.SIGKILL)
    one.wait_until(lambda: len(set(one.children()) - before) == 2, "two new workers")
    for answer in asked(url(config, "/old"), times=8):
        assert answer.headers["location"] == "/new"
    plain = str(config["listen"][0]["uri"])
    assert {answer.text for answer in asked(f"{plain}/closed", times=8, http2=False)} == {"our page"}
