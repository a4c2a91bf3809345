"""A real CA for tests of ACME: Debian's pebble, on free ports of 127.0.0.1.

Debian 12 has pebble 2.4.0. It can: HTTP-01, TLS-ALPN-01 and DNS-01, DNS names, wildcards and IP addresses as
identifiers, external account binding, reuse of valid authorisations, alternate chains. It cannot: renewal information
(RFC 9773), profiles, rate limits.

What it validates it looks up at `dns_port`, and reaches at the ports `http_port` and `tls_port` of the address.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.stage.ports import free_port
from tests.stage.programs import find
from tests.stage.waiting import wait_until

if TYPE_CHECKING:
    import trustme

#: Validation at once instead of after up to 15 s; no nonce of ours is refused, no authorisation is reused by chance.
ENVIRONMENT = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}


class Pebble:
    """One running pebble.

    Attributes: `port` (of the directory), `management_port`, `http_port` and `tls_port` (where it validates),
    `dns_port` (the name server that it asks), `ca` (the file of the CA that signed its own certificate).
    """

    def __init__(
        self,
        directory: Path,
        authority: trustme.CA,
        environment: Mapping[str, str],
        external_accounts: Mapping[str, str],
        life_s: int,
    ) -> None:
        self.port, self.management_port, self.http_port, self.tls_port, self.dns_port = (free_port() for _ in range(5))
        directory.mkdir()
        self.ca = directory / "ca.pem"
        self._log = directory / "log"
        authority.cert_pem.write_to_path(str(self.ca))
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(directory / "key.pem"))
        (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        settings: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(directory / "cert.pem"),
            "privateKey": str(directory / "key.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(external_accounts),
            "externalAccountMACKeys": dict(external_accounts),
        }
        if life_s:
            settings["certificateValidityPeriod"] = life_s
        (directory / "config.json").write_text(json.dumps({"pebble": settings}))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(find("pebble") or "pebble", "-config", str(directory / "config.json"), "-strict"),
                    *("-dnsserver", f"127.0.0.1:{self.dns_port}"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **environment},
            )
        wait_until(self._listens, "pebble that listens", story=lambda: self.log, process=self._process.pid)

    def __repr__(self) -> str:
        return f"<Pebble {self.url} returncode={self._process.poll()}>"

    @property
    def url(self) -> str:
        """The URL of its directory."""
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text(errors="replace")

    def orders(self) -> int:
        """Return how many orders were placed."""
        return self.log.count("Added order")

    def root(self) -> str:
        """Return the root certificate of what it issues, in PEM; each pebble has one of its own."""
        context = ssl.create_default_context(cafile=str(self.ca))
        url = f"https://127.0.0.1:{self.management_port}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=30) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(30)

    def _listens(self) -> bool:
        assert self._process.poll() is None, f"pebble did not start\n{self.log}"
        for port in (self.port, self.management_port):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)):
                    return False
        return True


@contextmanager
def running_pebble(
    directory: Path,
    authority: trustme.CA,
    external_accounts: Mapping[str, str] | None = None,
    life_s: int = 0,
    **environment: str,
) -> Iterator[Pebble]:
    """Run pebble with files in `directory`, which must not exist yet.

    `external_accounts`: key identifiers to MAC keys in base64url; where there are any, accounts need one.
    `life_s`: of the certificates, in seconds; by default five years.
    `environment`: variables of pebble, such as `PEBBLE_WFE_NONCEREJECT="50"`.
    """
    pebble = Pebble(directory, authority, environment, external_accounts or {}, life_s)
    try:
        yield pebble
    finally:
        pebble.close()
