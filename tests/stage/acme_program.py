"""The whole program with certificates of pebble: its config, what its clients see, and what its store holds."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from tests.stage.pebble import Pebble
from tests.stage.program import Program

ISSUED = r"certificate for {} issued by https://127"
PACE_S = 0.05  # between the connections of a client that asks all the time


def config(pebble: Pebble, home: Path, /, *hosts: str, workers: int = 2, **acme: Any) -> dict[str, Any]:
    """Return a config with a rule for each host, over HTTP and HTTPS at the ports where pebble looks."""
    web = ["http", "https"]
    return {
        "workers": workers,
        "store": str(home / "store"),
        "listen": [
            {"name": "http", "uri": f"http://127.0.0.1:{pebble.http_port}"},
            {"name": "https", "uri": f"https://127.0.0.1:{pebble.tls_port}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{pebble.dns_port}"},
        ],
        "tls": {"acme": {"directory": pebble.url, "ca": str(pebble.ca), "email": "me@example.test", **acme}},
        "dns_zones": ["example.test"],
        "dns": {"example.test": {"A": "127.0.0.1"}, "*.example.test": {"A": "127.0.0.1"}},
        "dispatch": [
            *({"handler": "respond", "host": host, "body": host, "listener": web} for host in hosts),
            {"listener": "dns", "handler": "dns"},
        ],
    }


def certificate_at(port: int, name: str) -> bytes:
    """Shake hands with the server; return the certificate that it shows, whoever signed it, in DER."""
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.getpeercert(binary_form=True) or b""


def is_trusted(port: int, name: str, root: str) -> bool:
    """Whether a client that trusts `root` alone is content with the server's certificate."""
    context = ssl.create_default_context(cadata=root)
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as plain:
            context.wrap_socket(plain, server_hostname=name).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def is_trusted_everywhere(port: int, name: str, root: str) -> bool:
    """Whether it is so at each of twelve connections: the chance that all meet one of two workers is 1 in 2000."""
    return all(is_trusted(port, name, root) for _ in range(12))


def wait_trusted(one: Program, pebble: Pebble, name: str, port: int = 0) -> None:
    """Wait until all workers have a certificate of pebble for a name."""
    root = pebble.root()
    one.wait_until(lambda: is_trusted_everywhere(port or pebble.tls_port, name, root), "the certificate of the CA", 30)


class SteadyClient:
    """A client that asks over a new connection, again and again, as long as a `with` statement lasts.

    At its end no request may have failed. Attributes: `asked`, `failures`, `certificates` (all that were seen).
    """

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._name = name
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._context = ssl._create_unverified_context()
        self.asked = 0
        self.failures: list[str] = []
        self.certificates: set[bytes] = set()

    def __enter__(self) -> SteadyClient:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if kind is None:
            assert self.failures == []
            assert self.asked > 0

    def _run(self) -> None:
        while not self._end.wait(PACE_S):
            try:
                self._ask()
            except OSError as error:
                self.failures.append(repr(error))
            self.asked += 1

    def _ask(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 30) as plain:
            with self._context.wrap_socket(plain, server_hostname=self._name) as secure:
                self.certificates.add(secure.getpeercert(binary_form=True) or b"")
                secure.sendall(f"GET / HTTP/1.1\r\nHost: {self._name}\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while piece := secure.recv(65536):
                    answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            self.failures.append(repr(answer[:100]))


def state_of(store: Path, name: str) -> dict[str, Any]:
    """Return what the store knows of a certificate."""
    found: dict[str, Any] = json.loads((store / "acme/states" / f"{name.replace('*', '_')}.json").read_bytes())
    return found


def check_whole(store: Path) -> None:
    """Assert that each value in a store is whole: the JSON, and the certificates with the keys that belong to them."""
    for file in store.rglob("*"):
        if file.is_dir() or ".locks" in file.parts or file.name.startswith("."):
            continue
        if file.suffix == ".pem":
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)
        else:
            assert isinstance(json.loads(file.read_bytes()), dict | list), file
