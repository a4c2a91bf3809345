"""Certificates of the local authority at work: real clients, two workers, restarts, deaths, and no key where it may not
be.

Covers `tls.internal` and `tls.renewal` in the whole program.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.browser import REPORT, browser, load_failure, reports
from tests.stage.clock import Clock
from tests.stage.program import Program
from tests.stage.programs import find, needs
from tests.stage.waiting import wait_until

ROOT = Path(__file__).parents[2]
Start = Callable[..., Program]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def config(port: int, directory: Path, **extra: Any) -> dict[str, Any]:
    """Return a config of local names, without a word about TLS."""
    return {
        "listen": [f"https://127.0.0.1:{port}"],
        "store": str(directory / "store"),
        "workers": 2,
        "dispatch": [{"handler": "respond", "host": ["nas.home", "localhost"], "body": "home"}],
        **extra,
    }


def root_of(one: Program, to: Path) -> Path:
    """Write what `npserver cert -root` prints into a file."""
    to.write_bytes(ask_for_roots(one)[0])
    return to


def ask_for_roots(one: Program) -> tuple[bytes, str]:
    """Return what `npserver cert -root` prints, and what it tells beside it."""
    done = subprocess.run(
        [sys.executable, "-m", "npserver", "cert", "-root", "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr.decode()


def serial(port: int, root: Path, name: str = "nas.home") -> str:
    """Return the serial number of the certificate that a client, which trusts the root alone, is shown."""
    context = ssl.create_default_context(cafile=str(root))
    with socket.create_connection(("127.0.0.1", port), 30) as raw:
        with context.wrap_socket(raw, server_hostname=name) as secure:
            return str((secure.getpeercert() or {})["serialNumber"])


@needs("curl", "openssl")
def test_curl_and_openssl_trust_the_root(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    one = program(config=config(port, tmp_path))
    root = root_of(one, tmp_path / "root.crt")
    url = f"https://nas.home:{port}/"
    words = ["curl", "-sS", "--max-time", "20", "--cacert", str(root), "--resolve", f"nas.home:{port}:127.0.0.1", url]
    assert subprocess.run(words, capture_output=True, timeout=30).stdout == b"home"
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "nas.home", "-brief"]
    verify = ["-verify_return_error", "-verify_hostname", "nas.home", "-x509_strict"]
    done = subprocess.run([*client, *verify, "-CAfile", str(root)], input=b"", capture_output=True, timeout=30)
    assert b"Verification: OK" in done.stderr, done.stderr
    done = subprocess.run([*client, *verify], input=b"", capture_output=True, timeout=30)
    assert b"verify error" in done.stderr, "without the root it is not trusted"
    one.wait_for(
        r"local authority \(tls.internal\) for nas.home, localhost; trust it: npserver cert -root local -store "
    )


@needs("chromium", "certutil")
@pytest.mark.timeout(120)
def test_chromium_trusts_the_root_and_loads_a_page_over_http2(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """With the command that `npserver cert -root` tells, in a home directory of its own."""
    port, site, home = free_port(), tmp_path / "site", tmp_path / "home"
    site.mkdir()
    (site / "index.html").write_text(
        f"<!doctype html>{REPORT} const [page] = performance.getEntriesByType('navigation');"
        "report(isSecureContext + ' ' + location.protocol + ' ' + page.nextHopProtocol)</script>"
    )
    rules = [
        {"handler": "static", "host": "localhost", "root": str(site)},
        {"handler": "respond", "host": "localhost", "path": "/report/**", "status": 204},
    ]
    one = program(config=config(port, tmp_path, dispatch=rules, workers=1, logging={"format": "json"}))
    root = root_of(one, tmp_path / "npserver-root.crt")
    url, database, certutil = f"https://localhost:{port}/", home / ".pki/nssdb", find("certutil")
    database.mkdir(parents=True)
    subprocess.run([str(certutil), "-d", f"sql:{database}", "-N", "--empty-password"], check=True, timeout=30)
    assert load_failure(url, tmp_path / "other profile", home) == "net::ERR_CERT_AUTHORITY_INVALID"
    (command,) = re.findall(r"^  Chromium, Linux +(.*)$", ask_for_roots(one)[1], re.MULTILINE)
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run(command, shell=True, check=True, timeout=30, cwd=root.parent, env=environment)
    with browser(url, tmp_path / "profile", home=home):
        assert reports(one) == ["true https: h2"]


def test_a_restart_keeps_root_and_certificate(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    one = program(config=config(port, tmp_path))
    root = root_of(one, tmp_path / "root.crt")
    first = serial(port, root)
    one.stop()
    for workers in (0, 2):
        again = program(config=config(port, tmp_path, workers=workers))
        assert serial(port, root) == first
        again.stop()


def test_a_reload_adds_names_and_listeners(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    one = program(config=config(port, tmp_path))
    root = root_of(one, tmp_path / "root.crt")
    first = serial(port, root)
    rule = {"handler": "respond", "host": ["nas.home", "www.home"], "body": "home"}
    listen = [f"https://127.0.0.1:{port}", {"uri": f"https://127.0.0.1:{other}", "tls": "internal"}]
    one.configure(config(port, tmp_path, dispatch=[rule], listen=listen))
    one.send_signal(signal.SIGHUP)
    one.wait_for("reloaded")
    for _ in range(8):
        assert serial(port, root, "www.home") != first
        serial(other, root, "www.home")


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_renewed_without_a_restart(
    program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int
) -> None:
    """At two thirds of ten seconds; the connections of all workers get the new one, and every handshake succeeds."""
    port = free_port()
    tls = {"internal": True, "internal_life": "10s"}
    one = program(config=config(port, tmp_path, tls=tls, workers=workers))
    root = root_of(one, tmp_path / "root.crt")
    seen: set[str] = set()

    def is_renewed() -> bool:
        seen.add(serial(port, root))
        return len(seen) > 2

    one.wait_until(is_renewed, "a third certificate", 40.0)
    assert re.search(r"info  tls: .*/nas\.home-\w+\.pem changed and was loaded, valid until", one.errors)


@needs("openssl")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_clock_jumps(program: Start, free_port: Callable[[], int], tmp_path: Path, workers: int) -> None:
    """A year forward, and back: what is shown is valid at each time, by the same root."""
    port, clock = free_port(), Clock(tmp_path)
    one = program(config=config(port, tmp_path, workers=workers), env=clock.environment)
    root = root_of(one, tmp_path / "root.crt")
    before = root.read_bytes()

    def is_valid(offset_s: int) -> bool:
        """Whether OpenSSL, which lives at that time, trusts every worker."""
        words = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
            "-servername",
            "nas.home",
            "-CAfile",
            str(root),
        ]
        when = ["-attime", str(int(time.time()) + offset_s), "-verify_return_error", "-brief"]
        for _ in range(6):
            done = subprocess.run([*words, *when], input=b"", capture_output=True, timeout=20)
            if b"Verification: OK" not in done.stderr:
                return False
        return True

    assert is_valid(0)
    for offset, offset_s in (("+365d", 365 * 86400), ("+0", 0), ("-3d", -3 * 86400), ("+20d", 20 * 86400)):
        clock.set(offset)
        one.wait_until(lambda offset_s=offset_s: is_valid(offset_s), f"certificates valid at {offset}", 30.0)
    assert root_of(one, root).read_bytes() == before


@AS_ROOT
@pytest.mark.parametrize("workers", [0, 2])
def test_with_another_user_the_store_is_theirs(program: Start, free_port: Callable[[], int], workers: int) -> None:
    """Root makes it; the controller, which runs as that user, renews, and the log says so once."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        port = free_port()
        tls = {"internal": True, "internal_life": "10s"}
        one = program(config=config(port, directory, tls=tls, user="nobody", workers=workers))
        root = root_of(one, directory / "root.crt")
        assert {path.stat().st_uid for path in (directory / "store").rglob("*")} == {65534}
        assert (directory / "store").stat().st_mode & 0o777 == 0o700
        first = serial(port, root)
        one.wait_until(lambda: serial(port, root) != first, "a renewed certificate", 30.0)
        one.wait_for("changed and was loaded")
        assert one.errors.count("changed and was loaded") == 1
        if workers:
            for child in one.children():
                os.kill(child, signal.SIGKILL)
            one.wait_until(lambda: len(one.children()) == workers + 1, "children again")
        serial(port, root)
        one.stop()
        for path in (directory / "store", *(directory / "store").rglob("*")):
            os.chown(path, 0, 0)  # as systemd does at each start
        one = program(config=config(port, directory, tls=tls, user="nobody", workers=workers))
        serial(port, root)
        assert {path.stat().st_uid for path in (directory / "store").rglob("*")} == {65534}
        one.stop()


def test_killed_at_any_time_the_next_start_goes_on(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """SIGKILL of everything as soon as each of the files appears; the root that was seen first stays."""
    port, store = free_port(), tmp_path / "store"
    first = b""
    for pattern in (".npserver.lock", "authority/*", "authority/certificates/*", "authority/certificates/*"):
        one = program(config=config(port, tmp_path), wait=False)
        wait_until(lambda wanted=pattern: list(store.glob(wanted)), f"a file {pattern}", 20.0, process=one.process.pid)
        one.kill()
        root = store / "authority/local-names.pem"
        if root.exists():
            first = first or root.read_bytes()
            assert root.read_bytes() == first
    one = program(config=config(port, tmp_path))
    serial(port, root_of(one, tmp_path / "root.crt"))
    assert (store / "authority/local-names.pem").read_bytes() == first


def test_two_servers_on_one_store_make_one_root(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    started = []
    for number, port in enumerate(ports):
        (tmp_path / str(number)).mkdir()
        started.append(program(config=config(port, tmp_path), cwd=tmp_path / str(number), wait=False))
    for one in started:
        one.wait_ready()
    root = root_of(started[0], tmp_path / "root.crt")
    for port in ports:
        assert serial(port, root) == serial(ports[0], root)


def test_a_damaged_root_is_told_and_the_good_certificate_served(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    one = program(config=config(port, tmp_path))
    root = root_of(one, tmp_path / "root.crt")
    first = serial(port, root)
    one.stop()
    (tmp_path / "store/authority/local-names.pem").write_text("garbage")
    one = program(config=config(port, tmp_path))
    assert serial(port, root) == first
    one.wait_for(r"local-names.pem: the root of the local authority is damaged .*: restore the file from a backup, or ")
    checked = subprocess.run(
        [sys.executable, "-m", "npserver", "check", "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert checked.returncode == 2
    assert "the root of the local authority is damaged" in checked.stderr


def test_private_keys_are_in_the_store_alone(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """In no log at the finest level, in no output of `check`, on no status page."""
    port, status = free_port(), free_port()
    rules = [
        {
            "handler": "respond",
            "host": ["nas.home", "example.com"],
            "listener": f"https://127.0.0.1:{port}",
            "body": "x",
        },
        {"handler": "status", "path": "/", "listener": f"http://127.0.0.1:{status}", "allow": "127.0.0.1"},
    ]
    wanted = config(
        port, tmp_path, dispatch=rules, logging={"level": "trace"}, tls="internal",
        listen=[f"https://127.0.0.1:{port}", f"http://127.0.0.1:{status}"],
    )  # fmt: skip
    one = program(config=wanted)
    root = root_of(one, tmp_path / "root.crt")
    serial(port, root)
    one.send_signal(signal.SIGHUP)
    one.wait_for("reloaded")
    pages = "".join(
        httpx.get(f"http://127.0.0.1:{status}/?format={one}").text for one in ("html", "json", "prometheus")
    )
    assert "npserver_uptime_seconds" in pages, pages
    checked = subprocess.run(
        [sys.executable, "-m", "npserver", "check", "-config", str(one.config_file)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    said = one.output + one.errors + pages + checked.stdout + checked.stderr + root.read_text() + json.dumps(wanted)
    keys = [
        line
        for file in (tmp_path / "store").rglob("*.pem")
        for block in re.findall(r"-----BEGIN PRIVATE KEY-----\n(.+?)-----END", file.read_text(), re.DOTALL)
        for line in block.split()
    ]
    assert len(keys) >= 4 * 3
    assert [line for line in keys if line in said] == []
    assert "PRIVATE KEY" not in said
