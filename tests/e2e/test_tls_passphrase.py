"""Encrypted private keys: passphrases that only root may read, and a terminal that OpenSSL must not ask on."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import socket
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stage.program import ROOT, Program
from tests.stage.secrets import lock

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize("user", [pytest.param("nobody", marks=AS_ROOT), None])
def test_encrypted_keys_of_server_and_client(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any], user: str | None
) -> None:
    """The server's own key, and the one that it shows to an upstream; a renewal brings another passphrase."""
    front, back, site, own = free_port(), free_port(), certificates(), certificates("proxy.example")
    site_pass, own_pass = lock(site.key, "first secret"), lock(own.key, "own secret")
    upstream = {"ca": str(site.ca), "cert": str(own.cert), "key": str(own.key), "key_passphrase": str(own_pass)}
    files = {**site.config, "key_passphrase": str(site_pass)}
    running = program(
        config={
            "listen": [
                f"https://127.0.0.1:{front}",
                {"name": "back", "uri": f"https://127.0.0.1:{back}", "tls": {**files, "client_ca": str(site.ca)}},
            ],
            "tls": files,
            "workers": 2,
            **({"user": user} if user else {}),
            "upstreams": {"back": {"targets": [f"https://127.0.0.1:{back}"], "tls": upstream}},
            "dispatch": [
                {"listener": "back", "handler": "respond", "body": "$tls_client_san"},
                {"handler": "proxy", "proxy_pass": "upstream://back"},
            ],
        }
    )

    def ask() -> tuple[str, str]:
        """Return the body, and the serial number of the server's certificate."""
        with socket.create_connection(("127.0.0.1", front), 30) as raw:
            with site.client().wrap_socket(raw, server_hostname="localhost") as secure:
                secure.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = b"".join(iter(lambda: secure.recv(4096), b""))
                return answer.decode().rpartition("\r\n\r\n")[2], secure.getpeercert()["serialNumber"]  # type: ignore[index]

    body, serial = ask()
    assert body == "DNS:proxy.example"
    renewed = certificates()
    renewed_pass = lock(renewed.key, "second secret")
    renewed.cert.replace(site.cert)
    renewed.key.replace(site.key)
    renewed_pass.replace(site_pass)
    running.wait_for("changed and was loaded")
    running.wait_until(lambda: serial not in {ask()[1] for _ in range(8)}, "the new certificate in all workers")
    assert ask()[0] == body
    for word in ("first secret", "second secret", "own secret"):
        assert word not in running.errors + running.output


class TestTerminal:
    """With a controlling terminal, OpenSSL's default is to ask there."""

    @staticmethod
    def check(config: dict[str, Any], directory: Path) -> tuple[int, str]:
        """Run `npserver check` at a terminal where nobody types; return the exit status and all that it shows."""
        file = directory / "npserver.json"
        file.write_text(json.dumps(config))
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "npserver", "check", str(file)],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        ) as process:  # fmt: skip
            os.close(theirs)
            shown = b""
            with suppress(OSError):  # at the end of a terminal
                while data := os.read(ours, 4096):
                    shown += data
                    if b"pass phrase" in shown:
                        process.kill()
            os.close(ours)
        return process.returncode, shown.decode()

    @pytest.mark.parametrize("key", ["key", "cert", "client_ca", "client_crl", "upstream key", "upstream ca"])
    def test_openssl_does_not_ask_there(self, certificates: Callable[..., Any], tmp_path: Path, key: str) -> None:
        """For no file, even one that is encrypted and should never be."""
        issued, other = certificates(), certificates()
        lock(other.key, "secret")
        locked = tmp_path / "locked.pem"
        first, rest = issued.cert.read_text().split("\n", 1)
        header = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
        locked.write_text(f"{first}\n{header}{rest}")
        tls = {**issued.config, "client_ca": str(issued.ca)}
        upstream = {"ca": str(issued.ca)}
        if key.startswith("upstream"):
            upstream |= {"ca": str(locked)} if key.endswith("ca") else {"cert": str(other.cert), "key": str(other.key)}
        else:
            tls[key] = str(other.key if key == "key" else locked)
        config = {
            "listen": ["https://127.0.0.1:1"],
            "tls": tls,
            "dispatch": [{"handler": "proxy", "proxy_pass": "upstream://back"}],
            "upstreams": {"back": {"targets": ["https://127.0.0.1:2"], "tls": upstream}},
        }
        status, shown = self.check(config, tmp_path)
        assert "pass phrase" not in shown
        assert status == 2
        if key.endswith("key"):
            assert "the private key is encrypted: 'key_passphrase' must name a file with its passphrase" in shown
