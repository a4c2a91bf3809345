"""Certificates by themselves: the whole program with two workers, and pebble as the CA that it gets them from.

Covers `tls.acme.service` and `tls.acme.compile`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import npserver
from tests.stage.asking import refuses
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

SOURCE = Path(npserver.__file__).parents[1]
Start = Callable[..., Program]
ISSUED = r"certificate for {} issued by https://127"


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("ca") / "pebble", authority) as running:
        yield running


def config(pebble: Pebble, tmp_path: Path, *hosts: str, workers: int = 2, **acme: Any) -> dict[str, Any]:
    rules = [{"handler": "respond", "host": host, "body": host} for host in hosts]
    web = ["http", "https"]
    return {
        "workers": workers,
        "store": str(tmp_path / "store"),
        "listen": [
            {"name": "http", "uri": f"http://127.0.0.1:{pebble.http_port}"},
            {"name": "https", "uri": f"https://127.0.0.1:{pebble.tls_port}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{pebble.dns_port}"},
        ],
        "tls": {"acme": {"directory": pebble.url, "ca": str(pebble.ca), "email": "me@example.test", **acme}},
        "dns_zones": ["example.test"],
        "dns": {"example.test": {"A": "127.0.0.1"}, "*.example.test": {"A": "127.0.0.1"}},
        "dispatch": [*({**rule, "listener": web} for rule in rules), {"listener": "dns", "handler": "dns"}],
    }


def issuer_at(port: int, name: str, root: str | None) -> str:
    """Shake hands with the server; return the common name of the issuer. Without a root nothing is verified."""
    context = ssl.create_default_context(cadata=root) if root else ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        certificate: Any = secure.getpeercert()
        return dict(part[0] for part in certificate["issuer"])["commonName"] if root else ""


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
    root, name = pebble.root(), host.replace("*", "any")
    one.wait_until(lambda: _is_pebbles(pebble, name, root), "the certificate of the CA")
    for _ in range(20):  # of either worker
        assert issuer_at(pebble.tls_port, name, root).startswith("Pebble")


def _is_pebbles(pebble: Pebble, name: str, root: str) -> bool:
    try:
        return issuer_at(pebble.tls_port, name, root).startswith("Pebble")
    except ssl.SSLError:
        return False


@pytest.mark.parametrize("workers", [0, 2])
def test_a_zone_of_ours_is_all_that_a_wildcard_needs(
    program: Start, pebble: Pebble, tmp_path: Path, workers: int
) -> None:
    """And names below it, such as that of another rule, have the wildcard's."""
    one = program(config=config(pebble, tmp_path, "*.example.test", "other.example.test", workers=workers))
    one.wait_for(ISSUED.format(r"\*\.example\.test"), 30)
    root = pebble.root()
    one.wait_until(lambda: _is_pebbles(pebble, "other.example.test", root), "the certificate of the CA")
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
        orders = pebble.log.count("Added order")
        one = program(config=made)
        assert issuer_at(pebble.tls_port, "web.example.test", root).startswith("Pebble")
        assert pebble.log.count("Added order") == orders


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_is_ordered_by_another_user_and_read_by_root_for_the_workers(program: Start, pebble: Pebble) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        one = program(config={**config(pebble, directory, "web.example.test"), "user": "nobody"})
        one.wait_for(ISSUED.format("web.example.test"), 30)
        root = pebble.root()
        one.wait_until(lambda: _is_pebbles(pebble, "web.example.test", root), "the certificate of the CA")
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
    root = pebble.root()
    one.wait_until(lambda: _is_pebbles(pebble, "new.example.test", root), "the certificate of the CA")
    assert issuer_at(pebble.tls_port, "web.example.test", root).startswith("Pebble")


def test_a_ca_that_is_down_delays_no_start(
    program: Start, pebble: Pebble, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """A certificate of the local authority stands in, and the log says so once, with the key."""
    one = program(config=config(pebble, tmp_path, "web.example.test", directory=f"https://127.0.0.1:{free_port()}/dir"))
    issuer_at(pebble.tls_port, "web.example.test", None)
    one.wait_for(r"no certificate for web\.example\.test: .*next attempt in \d min \(tls\.acme\)", 30)
    assert one.errors.count("one of the local authority is used (tls.acme)") == 1
    assert "PRIVATE" not in one.errors
