"""Certificates by themselves: the whole program with two workers, and pebble as the CA that it gets them from.

Covers `tls.acme.service` and `tls.acme.compile`.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import npserver
from tests.stage.acme_program import (
    ISSUED,
    certificate_at,
    config,
    is_trusted,
    is_trusted_everywhere,
    wait_trusted,
)
from tests.stage.asking import refuses
from tests.stage.pebble import Pebble
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

SOURCE = Path(npserver.__file__).parents[1]
Start = Callable[..., Program]


@pytest.mark.parametrize(
    ("kind", "host"),
    [
        ("http", "web.example.test"),
        ("tls-alpn", "web.example.test"),
        ("dns", "web.example.test"),
        ("dns", "*.example.test"),
    ],
)
def test_every_worker_answers_and_gets_the_certificate(
    program: Start, pebble: Pebble, tmp_path: Path, kind: str, host: str
) -> None:
    one = program(config=config(pebble, tmp_path, host, challenge=[kind]))
    one.wait_for(ISSUED.format(host.replace("*", r"\*")), 30)
    wait_trusted(one, pebble, host.replace("*", "any"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_zone_of_ours_is_all_that_a_wildcard_needs(
    program: Start, pebble: Pebble, tmp_path: Path, workers: int
) -> None:
    """And names below it, such as that of another rule, have the wildcard's."""
    one = program(config=config(pebble, tmp_path, "*.example.test", "other.example.test", workers=workers))
    one.wait_for(ISSUED.format(r"\*\.example\.test"), 30)
    wait_trusted(one, pebble, "other.example.test")
    assert "certificate for other" not in one.errors


def test_it_is_kept_over_restarts_and_kills(program: Start, pebble: Pebble, tmp_path: Path) -> None:
    made = config(pebble, tmp_path, "web.example.test")
    one = program(config=made)
    one.wait_for(ISSUED.format("web.example.test"), 30)
    root = pebble.root()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if number is signal.SIGKILL:
            one.kill()
            one.wait_until(lambda: refuses(pebble.tls_port), "the end of the workers")
        else:
            one.stop()
        before = pebble.orders()
        one = program(config=made)
        assert is_trusted_everywhere(pebble.tls_port, "web.example.test", root)
        assert pebble.orders() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_is_ordered_by_another_user_and_read_by_root_for_the_workers(program: Start, pebble: Pebble) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        one = program(config={**config(pebble, directory, "web.example.test"), "user": "nobody"})
        one.wait_for(ISSUED.format("web.example.test"), 30)
        wait_trusted(one, pebble, "web.example.test")
        assert {path.stat().st_uid for path in (directory / "store").rglob("*")} == {65534}
        one.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("workers", [0, 2])
def test_that_user_need_not_be_able_to_read_the_program(program: Start, pebble: Pebble, workers: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory, copy = Path(name), Path(name) / "program"
        directory.chmod(0o755)
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        copy.chmod(0o700)
        made = {**config(pebble, directory, "web.example.test", workers=workers), "user": "nobody"}
        one = program(config=made, cwd=directory, env={"PYTHONPATH": str(copy)})
        one.wait_for(ISSUED.format("web.example.test"), 30)
        one.stop()


def test_a_host_that_a_reload_adds_gets_one(program: Start, pebble: Pebble, tmp_path: Path) -> None:
    one = program(config=config(pebble, tmp_path, "web.example.test"))
    one.wait_for(ISSUED.format("web.example.test"), 30)
    one.configure(config(pebble, tmp_path, "web.example.test", "new.example.test"))
    one.send_signal(signal.SIGHUP)
    one.wait_for(ISSUED.format("new.example.test"), 30)
    wait_trusted(one, pebble, "new.example.test")
    assert is_trusted(pebble.tls_port, "web.example.test", pebble.root())


def test_a_ca_that_is_down_delays_no_start(
    program: Start, pebble: Pebble, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A certificate of the local authority stands in, and the log says so once, with the key."""
    one = program(config=config(pebble, tmp_path, "web.example.test", directory=f"https://127.0.0.1:{free_port()}/dir"))
    assert certificate_at(pebble.tls_port, "web.example.test")
    one.wait_for(r"no certificate for web\.example\.test: .*next attempt in \d min \(tls\.acme\)", 30)
    assert one.errors.count("one of the local authority is used (tls.acme)") == 1
    assert "PRIVATE" not in one.errors
