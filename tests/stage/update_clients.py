"""certbot with its plugin dns-rfc2136, and Kea's DHCP-DDNS server: real senders of dynamic updates (RFC 2136).

Their configs, and that of npserver, are the examples of `docs/dns-updates.md`, with other addresses and ports.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.stage.pebble import Pebble
from tests.stage.program import ROOT
from tests.stage.programs import find
from tests.stage.waiting import wait_until

_PAGE = ROOT / "docs" / "dns-updates.md"
#: A client's DHCID (RFC 4701 §3.6): what the records of one name belong to.
DHCID, OTHER_DHCID = "00010104030201" + "AB" * 28, "00010104030201" + "CD" * 28


def example(kind: str) -> str:
    """Return the first block of a kind in the page."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None, kind
    return found[1]


def config(port: int, directory: Path) -> dict[str, Any]:
    """Return npserver's config, with two workers."""
    made = json.loads(example("json"))
    made["listen"] = [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"]
    return {**made, "workers": 2, "store": str(directory / "store")}


def certbot(
    pebble: Pebble, directory: Path, *names: str, algorithm: str = "HMAC-SHA256"
) -> subprocess.CompletedProcess[str]:
    """Have certbot get a certificate for `names`, from the pebble that asks where npserver answers."""
    credentials = directory / "credentials.ini"
    text = example("ini").replace("192.168.1.1", "127.0.0.1").replace("port = 53", f"port = {pebble.dns_port}")
    credentials.write_text(text.replace("HMAC-SHA256", algorithm))
    credentials.chmod(0o600)
    places = [word for name in ("config", "work", "logs") for word in (f"--{name}-dir", str(directory / name))]
    return subprocess.run(
        [
            *(find("certbot") or "certbot", "certonly", "--dns-rfc2136", "--dns-rfc2136-credentials", str(credentials)),
            *("--dns-rfc2136-propagation-seconds", "0", "--server", pebble.url, "--non-interactive", "--agree-tos"),
            *("--register-unsafely-without-email", *places, *[word for name in names for word in ("-d", name)]),
        ],
        env={**os.environ, "REQUESTS_CA_BUNDLE": str(pebble.ca)},
        capture_output=True,
        text=True,
        timeout=50,
    )  # fmt: skip


class Kea:
    """Kea's DHCP-DDNS server, which is told of names as its DHCP servers tell it."""

    def __init__(self, directory: Path, own_port: int, port: int) -> None:
        directory.mkdir()
        text = example("js").replace("192.168.1.1", "127.0.0.1").replace('"port": 53 ', f'"port": {port} ')
        (directory / "config").write_text(text.replace('"port": 53001', f'"port": {own_port}'))
        self.own_port = own_port
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [find("kea-dhcp-ddns") or "kea-dhcp-ddns", "-c", str(directory / "config"), "-d"],
                env={**os.environ, "KEA_PIDFILE_DIR": str(directory), "KEA_LOCKFILE_DIR": str(directory)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_for("DHCP_DDNS_STARTED")

    def __repr__(self) -> str:
        return f"<Kea :{self.own_port}>"

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until its log has a text as often as that."""
        wait_until(
            lambda: self.log.count(text) >= times, text, story=lambda: self.log[-8000:], process=self._process.pid
        )

    def tell(self, name: str, address: str, dhcid: str = DHCID, *, removes: bool = False) -> None:
        """Tell it that a client has a name and an address, or that its lease has ended."""
        text = json.dumps(
            {
                "change-type": int(removes),
                "forward-change": True,
                "reverse-change": True,
                "fqdn": name,
                "ip-address": address,
                "dhcid": dhcid,
                "lease-expires-on": "20301121132405",
                "lease-length": 1300,
                "use-conflict-resolution": True,
                "conflict-resolution-mode": "check-with-dhcid",  # from 2.5 on
            }
        ).encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(len(text).to_bytes(2, "big") + text, ("127.0.0.1", self.own_port))

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def running_kea(directory: Path, own_port: int, port: int) -> Iterator[Kea]:
    """Run it until the end of the block. `port`: where npserver answers."""
    kea = Kea(directory, own_port, port)
    try:
        yield kea
    finally:
        kea.close()
