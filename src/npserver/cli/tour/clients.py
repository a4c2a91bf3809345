"""Clients of the demo: what they send to npserver, and what comes back, for the page. They block; threads call them."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.message.query import make_question
from npserver.dns.message.record import parse_type
from npserver.dns.message.sections import read_name, read_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

WITHIN_S = 10.0
_COMMAND_S = 40.0
_MAX_BYTES = 65_536


class Outcome(Struct, frozen=True):
    """One attempt, as the page tells of it."""

    sent: str
    answer: str  # in few words: "200 OK"
    is_good: bool = True  # it went as the step promises, a refusal included
    took_ms: float = 0.0
    fields: tuple[tuple[str, str], ...] = ()  # of the response's header, those that matter
    body: str = ""


class Place(Struct, frozen=True):
    """Where the demo listens: ports by name, and the directory with its files."""

    ports: Mapping[str, int]
    directory: Path

    @property
    def web(self) -> str:
        """The URL of the web listener, without a slash at its end."""
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def config_file(self) -> str:
        """The path of the config that the server runs with."""
        return f"{self.directory}/config.json"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WITHIN_S)
        self.sock.connect(self._path)


class Response(Struct, frozen=True):
    """A response, and how it came."""

    status: int
    phrase: str
    header: http.client.HTTPMessage
    body: bytes
    took_ms: float
    tls: str  # version and cipher; "" without TLS


def request(
    place: Place, path: str, fields: Mapping[str, str] | None = None, *, over: str = "web", source: str = ""
) -> Response:
    """Send a GET request to the listener `over`: `web`, `tls` or `local`. Raises: OSError, http.client.HTTPException.

    `source`: an address of this machine to send it from.
    """
    connection: http.client.HTTPConnection
    if over == "local":
        connection = _UnixConnection(f"{place.directory}/web.sock")
    elif over == "tls":
        trusted = ssl.create_default_context(cafile=f"{place.directory}/demo.crt")
        connection = http.client.HTTPSConnection("127.0.0.1", place.ports["tls"], timeout=WITHIN_S, context=trusted)
    else:
        origin = (source, 0) if source else None
        connection = http.client.HTTPConnection("127.0.0.1", place.ports["web"], WITHIN_S, origin)
    began = time.perf_counter()
    try:
        connection.request("GET", path, headers={"Connection": "close", **(fields or {})})
        sock, tls = connection.sock, ""
        if isinstance(sock, ssl.SSLSocket):
            tls = f"{sock.version()}, {(sock.cipher() or ('',))[0]}"
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    return Response(response.status, response.reason, response.headers, body, _passed_ms(began), tls)


def ask(
    place: Place,
    path: str,
    fields: Mapping[str, str] | None = None,
    *,
    over: str = "web",
    expect: int = 200,
    shows: Iterable[str] = (),
    has_body: bool = False,
    note: str = "",
) -> Outcome:
    """Send a GET request and tell of the answer.

    `expect`: the status that the step promises; `shows`: names of the response's fields to show; `has_body`: show it
    too.
    """
    got = request(place, path, fields, over=over)
    shown = tuple((name, got.header[name]) for name in shows if got.header[name] is not None)
    body = got.body.decode(errors="replace").strip() if has_body else ""
    answer = f"{got.status} {got.phrase}{f', {note}' if note else ''}"
    return Outcome(shown_request(path, fields), answer, got.status == expect, got.took_ms, shown, body)


def shown_request(path: str, fields: Mapping[str, str] | None = None) -> str:
    """Return what `request` sends, as the page tells of it."""
    return " ".join([f"GET {path}", *[f"{name}: {value}" for name, value in (fields or {}).items()]])


def send_stream(place: Place, listener: str, data: bytes) -> Outcome:
    """Send data over TCP and tell what comes back."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", place.ports[listener]), WITHIN_S) as client:
        client.sendall(data)
        return _echoed(f"tcp://127.0.0.1:{place.ports[listener]}", data, client.recv(_MAX_BYTES), began)


def send_datagram(place: Place, listener: str, data: bytes) -> Outcome:
    """Send a datagram and tell what comes back."""
    began = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WITHIN_S)
        client.connect(("127.0.0.1", place.ports[listener]))
        client.send(data)
        return _echoed(f"udp://127.0.0.1:{place.ports[listener]}", data, client.recv(_MAX_BYTES), began)


def _echoed(uri: str, sent: bytes, received: bytes, began: float) -> Outcome:
    return Outcome(f"{sent.decode()} to {uri}", received.decode(errors="replace"), bool(received), _passed_ms(began))


def look_up(place: Place, name: str, rtype: str, *, expect: str = "NOERROR") -> Outcome:
    """Ask the name server over UDP. `expect`: the name of the RCODE that the step promises."""
    began = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(WITHIN_S)
        client.connect(("127.0.0.1", place.ports["dns"]))
        client.send(make_question(secrets.randbelow(1 << 16), parse_owner(name), parse_type(rtype)))
        data = client.recv(_MAX_BYTES)
    rcode = codes.rcode_name(data[3] & 15)
    records = [f"{to_text(one.owner)} {codes.type_name(one.rtype)} {_data_text(one.rtype, one.data)}"
               for one in read_records(data, 1)]  # fmt: skip
    return Outcome(f"{name} {rtype}", rcode, rcode == expect, _passed_ms(began), body="\n".join(records))


def _data_text(rtype: int, data: bytes) -> str:
    name = codes.type_name(rtype)
    if name in ("A", "AAAA"):
        return str(ip_address(data))
    if name == "CNAME":
        return to_text(read_name(data, 0)[0])
    if name == "MX":
        return f"{int.from_bytes(data[:2], 'big')} {to_text(read_name(data, 2)[0])}"
    return repr(data[1:].decode(errors="replace"))


def run_command(place: Place, *words: str) -> Outcome:
    """Run a command of npserver about the server, and tell what it says."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "npserver", *words, "-config", place.config_file]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMMAND_S
    )
    said = (done.stdout + done.stderr).strip().replace(f"{place.directory}/", "")
    shown = " ".join(["npserver", *words])
    return Outcome(shown, f"exit status {done.returncode}", done.returncode == 0, _passed_ms(began), body=said)


def _passed_ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000
