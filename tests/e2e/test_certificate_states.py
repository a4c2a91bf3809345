"""The states of certificates on the status page and in the metrics of the whole program: of CAs, of the local
authority, and of files; the same at every worker, after a reload, and after a restart.

Covers `tls.acme.service` and `web.handlers.status`.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.stage.pebble import Pebble
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

Start = Callable[..., Program]


class Stage:
    """A program with certificates of all kinds, and its status page."""

    def __init__(self, pebble: Pebble, directory: Path, free_port: Callable[[], int], file: dict[str, str]) -> None:
        self.pebble = pebble
        self.directory = directory
        self.file = file
        self.down = f"https://127.0.0.1:{free_port()}/dir"

    def config(self, workers: int, *kinds: str) -> dict[str, Any]:
        ca = {"ca": str(self.pebble.ca), "challenge": ["http"]}
        entries = {
            "file": self.file,
            "acme": {"acme": {"directory": self.pebble.url, **ca}, "names": ["web.example.test"]},
            "down": {"acme": {"directory": self.down, **ca}, "names": ["down.example.test"]},
            "internal": {"internal": True, "names": ["nas.home"]},
        }
        return {
            "workers": workers,
            "store": str(self.directory / "store"),
            "listen": [
                {"name": "http", "uri": f"http://127.0.0.1:{self.pebble.http_port}"},
                {"name": "https", "uri": f"https://127.0.0.1:{self.pebble.tls_port}"},
                {"name": "dns", "uri": f"udp://127.0.0.1:{self.pebble.dns_port}"},
            ],
            "tls": [entries[kind] for kind in kinds],
            "dns": {"web.example.test": {"A": "127.0.0.1"}},
            "dispatch": [
                {"handler": "respond", "listener": "https", "body": "x"},
                {"handler": "status", "listener": "http"},
                {"handler": "dns", "listener": "dns"},
            ],
        }

    def text(self, form: str) -> str:
        """Return the page in a form; by a connection of its own, so that any worker may answer."""
        connection = HTTPConnection("127.0.0.1", self.pebble.http_port, timeout=30)
        connection.request("GET", f"/status?format={form}")
        with closing(connection):
            return connection.getresponse().read().decode()

    def states(self) -> dict[str, dict[str, Any]]:
        """Return what JSON tells, by the first name."""
        return {one["names"][0]: one for one in json.loads(self.text("json"))["certificates"]}

    def wait_for(self, one: Program, is_so: Callable[[dict[str, dict[str, Any]]], object]) -> dict[str, dict[str, Any]]:
        """Wait until the states are so, at every worker."""

        def found() -> dict[str, dict[str, Any]] | None:
            seen = [self.states() for _ in range(8)]
            return seen[0] if all(map(is_so, seen)) and all(other == seen[0] for other in seen) else None

        return one.wait_until(found, "the states of the certificates", 30.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_worker_tells_who_issued_what_until_when_and_what_failed(
    program: Start,
    pebble: Pebble,
    tmp_path: Path,
    free_port: Callable[[], int],
    certificates: Callable[..., Any],
    workers: int,
) -> None:
    issued = certificates("file.example.test")
    stage = Stage(pebble, tmp_path, free_port, issued.config)
    one = program(config=stage.config(workers, "file", "acme", "down", "internal"))
    found = stage.wait_for(
        one,
        lambda states: (
            states.get("web.example.test", {}).get("issued")
            and states.get("down.example.test", {}).get("failures")
            and states["nas.home"]["renew_at"]
        ),
    )
    assert [*found] == ["down.example.test", "nas.home", *([*found][2:])], "failures first, then what expires first"
    web, down, nas, file = (
        found[name] for name in ("web.example.test", "down.example.test", "nas.home", "file.example.test")
    )
    assert (web["source"], web["issuer"], web["failures"], web["error"]) == ("acme", pebble.url, 0, None)
    assert web["issued"] < web["renew_at"] < web["expires"]
    assert (down["issued"], down["expires"], down["failures"]) == (None, None, 1)
    assert down["error"] == "reading the directory: the CA cannot be reached: connection refused"
    assert nas["issuer"].startswith("CN=npserver local names ")
    assert nas["issued"] < nas["renew_at"] < nas["expires"]
    assert (file["source"], file["file"], file["renew_at"]) == ("file", str(issued.cert), None)
    page = stage.text("html")
    assert "failed attempts: 1; the last: reading the directory: the CA cannot be reached" in page
    metrics = stage.text("prometheus")
    assert 'npserver_certificate_failures{names="down.example.test",source="acme"} 1\n' in metrics
    assert re.search(
        r'npserver_certificate_expires_timestamp_seconds\{names="web.example.test",source="acme"\} [1-9]', metrics
    )
    assert "npserver_taken" not in metrics

    one.configure(stage.config(workers, "acme", "internal"))
    one.send_signal(signal.SIGHUP)
    after = stage.wait_for(one, lambda states: "down.example.test" not in states)
    assert after == {name: found[name] for name in after}
    assert sorted(after) == ["nas.home", "web.example.test"]

    one.stop()
    orders = pebble.orders()
    one = program(config=stage.config(workers, "acme", "internal"))
    again = stage.wait_for(one, lambda states: "web.example.test" in states and states["nas.home"]["renew_at"])
    assert again == after, "from the store"
    assert pebble.orders() == orders


def test_a_changed_file_that_cannot_be_used_is_told(
    program: Start, pebble: Pebble, tmp_path: Path, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    issued = certificates("file.example.test")
    stage = Stage(pebble, tmp_path, free_port, issued.config)
    one = program(config=stage.config(2, "file"))
    before = stage.wait_for(one, lambda states: [*states] == ["file.example.test"])["file.example.test"]
    Path(issued.cert).write_text("truncated")
    after = stage.wait_for(one, lambda states: states["file.example.test"]["failures"])["file.example.test"]
    assert after["error"] == "no PEM certificate (-----BEGIN CERTIFICATE-----) in it"
    assert after["expires"] == before["expires"], "of the one that is used"


def test_a_store_that_cannot_be_read_is_told(
    program: Start, pebble: Pebble, tmp_path: Path, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    """And the certificate, which is loaded, is served all the same."""
    stage = Stage(pebble, tmp_path, free_port, certificates().config)
    one = program(config=stage.config(1, "acme"))
    stage.wait_for(one, lambda states: states.get("web.example.test", {}).get("issued"))
    state = tmp_path / "store/acme/states/web.example.test.json"
    state.unlink()
    state.mkdir()
    one.send_signal(signal.SIGHUP)
    found = stage.wait_for(one, lambda states: states["web.example.test"]["failures"])["web.example.test"]
    assert "web.example.test.json" in found["error"]
