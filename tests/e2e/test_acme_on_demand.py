"""Certificates on demand: the whole program with an application that it asks, and pebble as the CA."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import npserver
from tests.stage.acme_program import config as config_of
from tests.stage.asked_application import AskedApplication, asked_application
from tests.stage.pebble import Pebble
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

SOURCE = Path(npserver.__file__).parents[1]
Start = Callable[..., Program]
NAME = "shop.example.test"


@pytest.fixture
def application() -> Iterator[AskedApplication]:
    with asked_application(lambda name: 200 if name.endswith(".example.test") else 404) as running:
        yield running


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def config(
    pebble: Pebble, directory: Path, application: AskedApplication, *, workers: int = 2, challenge: str = "tls-alpn"
) -> dict[str, Any]:
    on_demand = {"ask": application.url}
    made = config_of(pebble, directory, workers=workers, challenge=[challenge], on_demand=on_demand)
    made["dispatch"].append({"listener": ["http", "https"], "handler": "respond", "body": "$host"})
    return made


def issuer_at(port: int, name: str) -> str:
    """Shake hands; return the common name of the certificate's issuer, whoever that is."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    context = ssl._create_unverified_context()
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        issuer = x509.load_der_x509_certificate(secure.getpeercert(True) or b"").issuer
        return str(issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def is_pebbles(port: int, name: str) -> bool:
    return issuer_at(port, name).startswith("Pebble")


def begin(clients: ThreadPoolExecutor, pebble: Pebble, application: AskedApplication) -> Future[bool]:
    """Begin a handshake about which the application is asked, and does not answer yet."""
    application.may_answer.clear()
    waiting = clients.submit(is_pebbles, pebble.tls_port, NAME)
    application.wait_asked()
    return waiting


@pytest.mark.parametrize(("workers", "challenge"), [(0, "tls-alpn"), (2, "tls-alpn"), (2, "http"), (2, "dns")])
def test_the_first_handshakes_of_a_name_get_its_certificate(
    program: Start,
    pebble: Pebble,
    application: AskedApplication,
    clients: ThreadPoolExecutor,
    tmp_path: Path,
    workers: int,
    challenge: str,
) -> None:
    """Those of all workers, with one question and one order."""
    one = program(config=config(pebble, tmp_path, application, workers=workers, challenge=challenge))
    orders = pebble.orders()
    assert all(clients.map(lambda _: is_pebbles(pebble.tls_port, NAME), range(20)))
    assert application.asked == [NAME]
    assert pebble.orders() == orders + 1
    assert not is_pebbles(pebble.tls_port, "www.other.test")
    assert "www.other.test" not in one.errors
    context = ssl.create_default_context(cadata=pebble.root())
    with httpx.Client(http1=False, http2=True, verify=context) as client:
        url = f"https://127.0.0.1:{pebble.tls_port}/"
        answer = client.get(url, headers={"Host": "pay.example.test"}, extensions={"sni_hostname": "pay.example.test"})
    assert (answer.http_version, answer.text) == ("HTTP/2", "pay.example.test")


def test_a_forward_behind_tls_has_certificates_on_demand(
    program: Start, pebble: Pebble, application: AskedApplication, tmp_path: Path
) -> None:
    made, port = config(pebble, tmp_path, application, challenge="http"), free_port()
    made["listen"].append({"name": "ssl", "uri": f"ssl://127.0.0.1:{port}"})
    rule = {"listener": "ssl", "handler": "forward", "forward_to": f"tcp://127.0.0.1:{application.port}"}
    made["dispatch"].append(rule)
    program(config=made)
    context = ssl.create_default_context(cadata=pebble.root())
    with httpx.Client(verify=context) as client:
        url = f"https://127.0.0.1:{port}/may?key=1&domain=x.invalid"
        assert client.get(url, extensions={"sni_hostname": NAME}).status_code == 404


def test_a_restart_asks_nobody_and_what_was_issued_needs_no_controller(
    program: Start, pebble: Pebble, application: AskedApplication, tmp_path: Path
) -> None:
    made = config(pebble, tmp_path, application)
    one = program(config=made)
    assert is_pebbles(pebble.tls_port, NAME)
    one.stop()
    orders = pebble.orders()
    application.close()
    controller = controller_of(program(config=made))
    os.kill(controller, signal.SIGSTOP)
    try:
        for _ in range(10):  # of either worker
            assert is_pebbles(pebble.tls_port, NAME)
    finally:
        os.kill(controller, signal.SIGCONT)
    assert application.asked == [NAME]
    assert pebble.orders() == orders


def controller_of(program: Program) -> int:
    def find() -> int | None:
        titles = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in program.children()}
        return next((pid for pid, title in titles.items() if b"controller" in title), None)

    return program.wait_until(find, "the controller")


def reload(one: Program) -> None:
    one.send_signal(signal.SIGHUP)


def kill_controller(one: Program) -> None:
    os.kill(controller_of(one), signal.SIGKILL)


@pytest.mark.parametrize(("workers", "interrupt"), [(0, reload), (2, reload), (2, kill_controller)])
def test_a_handshake_that_waits_survives_a_reload_and_the_controller(
    program: Start,
    pebble: Pebble,
    application: AskedApplication,
    clients: ThreadPoolExecutor,
    tmp_path: Path,
    workers: int,
    interrupt: Callable[[Program], None],
) -> None:
    one = program(config=config(pebble, tmp_path, application, workers=workers))
    waiting = begin(clients, pebble, application)
    interrupt(one)
    application.wait_asked(2)  # by the service of the new config, or of the new controller
    application.may_answer.set()
    assert waiting.result(30)


def test_a_shutdown_ends_handshakes_that_wait(
    program: Start, pebble: Pebble, application: AskedApplication, clients: ThreadPoolExecutor, tmp_path: Path
) -> None:
    one = program(config=config(pebble, tmp_path, application))
    waiting = begin(clients, pebble, application)
    one.stop()
    with pytest.raises(OSError, match=r"."):
        waiting.result(30)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_orders_and_reads_them(program: Start, pebble: Pebble, application: AskedApplication) -> None:
    """That user cannot read the program's own files."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory, copy = Path(name), Path(name) / "program"
        directory.chmod(0o755)
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        copy.chmod(0o700)
        made = {**config(pebble, directory, application), "user": "nobody"}
        one = program(config=made, cwd=directory, env={"PYTHONPATH": str(copy)})
        for _ in range(4):
            assert is_pebbles(pebble.tls_port, NAME)
        assert {path.stat().st_uid for path in (directory / "store").rglob("*")} == {65534}
        one.stop()
