"""Networks that learn, in the real program: counted over two workers, refused by all protocols, lifted, kept.

Covers `network_sets.commands`.
"""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import pytest

from tests.stage.backends import Backends
from tests.stage.program import Program

BAD, GOOD = "127.0.0.9", "127.0.0.1"
SCHEMES = ("http", "tcp", "udp", "tcp", "udp")
MANY = 16  # connections: that many reach each of two workers
SILENT_S = 0.2  # no answer to a datagram within it: it was refused
Start = Callable[..., Program]


def ask(port: int, path: str, address: str, password: str | None = None) -> int:
    """Return the status of an answer."""
    login = base64.b64encode(f"ann:{password}".encode()).decode()
    field = f"Authorization: Basic {login}\r\n" if password is not None else ""
    with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{field}Connection: close\r\n\r\n".encode())
        data = b""
        while piece := client.recv(65536):
            data += piece
    return int(data[9:12])


def passes(port: int, address: str) -> bool:
    """Whether a forward lets a client at an address through to its target, which echoes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0)) as client:
        try:
            client.sendall(b"x")
            return client.recv(1) == b"x"
        except ConnectionError:
            return False


def passes_datagrams(port: int, address: str, wait_s: float) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((address, 0))
        client.settimeout(wait_s)
        client.sendto(b"x", ("127.0.0.1", port))
        try:
            return client.recv(10) == b"x"
        except TimeoutError:
            return False


def resolve(port: int, address: str, *, over_tcp: bool) -> str:
    query = dns.message.make_query("a.test", "A")
    send = dns.query.tcp if over_tcp else dns.query.udp
    reply = send(query, "127.0.0.1", port=port, source=address, timeout=30)
    return dns.rcode.to_text(reply.rcode())


@pytest.fixture
def config(free_port: Callable[[], int], tmp_path: Path) -> dict[str, Any]:
    *ports, dns_port = [free_port() for _ in range(4)]
    ports += [dns_port, dns_port]
    return {
        "listen": [f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(SCHEMES, ports, strict=True)],
        "workers": 2,
        "store": str(tmp_path / "store"),
        "networks": {"banned": {"learn": {"login": 5}, "for": "1h", "except": GOOD}},
        "dns": {"a.test": {"A": "192.0.2.1"}},
        "dispatch": [],
    }


@pytest.fixture
def served(config: dict[str, Any], backends: Backends, tmp_path: Path) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha1(b"good").digest()).decode()  # quick to check
    (tmp_path / "users").write_text(f"ann:{{SHA}}{digest}\n")
    http, tcp, udp, dns_tcp, dns_udp = config["listen"]
    forward = {"handler": "forward", "deny": "banned"}
    config["dispatch"] = [
        {"listener": http, "handler": "respond", "path": "/in", "basic_auth": {"file": "users"}},
        {"listener": http, "handler": "respond", "path": "/", "deny": "banned"},
        {**forward, "listener": tcp, "forward_to": f"tcp://127.0.0.1:{backends.tcp_echo()}"},
        {**forward, "listener": udp, "forward_to": f"udp://127.0.0.1:{backends.udp_echo()}"},
        {"listener": [dns_tcp, dns_udp], "handler": "dns", "deny": "banned"},
    ]
    return config


def port_of(uri: str) -> int:
    return int(uri.rpartition(":")[2])


def state(config: dict[str, Any], address: str, wait_s: float = 30.0) -> list[Any]:
    http, tcp, udp, dns_tcp, _ = map(port_of, config["listen"])
    return [
        {ask(http, "/", address) for _ in range(MANY)},
        {passes(tcp, address) for _ in range(MANY)},
        passes_datagrams(udp, address, wait_s),
        *[resolve(dns_tcp, address, over_tcp=over_tcp) for over_tcp in (True, False)],
    ]


OPEN = [{200}, {True}, True, "NOERROR", "NOERROR"]
SHUT = [{403}, {False}, False, "REFUSED", "REFUSED"]


def test_failed_logins_ban_on_all_protocols(program: Start, served: dict[str, Any], tmp_path: Path) -> None:
    running = program(config=served)
    http = port_of(served["listen"][0])
    for _ in range(4):
        assert ask(http, "/in", BAD, "guess") == 401
    for _ in range(MANY):  # neither is a failure: no password, and the right one
        assert (ask(http, "/in", BAD), ask(http, "/in", BAD, "good")) == (401, 200)
    assert state(served, BAD) == OPEN
    for _ in range(MANY):
        assert ask(http, "/in", GOOD, "guess") == 401  # excepted
    assert ask(http, "/in", BAD, "guess") == 401
    running.wait_for(rf"{BAD} is banned for 3600 s: login \(networks\.banned\.learn\.login\)")
    running.wait_until(lambda: state(served, BAD, SILENT_S) == SHUT, "the ban in all workers")
    assert state(served, GOOD) == OPEN
    status, text = running.command("bans")
    assert (status, text.splitlines()[-1]) == (0, "1 client is banned")
    assert text.startswith(f"{BAD}  banned  login  until 20")

    served["networks"]["banned"]["learn"]["login"] = "5/1m"  # a reload keeps the bans
    running.configure(served)
    assert running.command("reload")[0] == 0
    assert state(served, BAD, SILENT_S) == SHUT

    running.stop()
    again = program(config=served)  # and so does a restart
    assert state(served, BAD, SILENT_S) == SHUT
    assert again.command("unban", BAD) == (0, "no longer banned\n")
    again.wait_for(rf"{BAD} is no longer banned: by npserver unban")
    again.wait_until(lambda: state(served, BAD, SILENT_S) == OPEN, "the end of the ban in all workers")
    assert again.command("unban", BAD) == (1, f"npserver unban: {BAD} is not banned\n")
    assert again.command("ban", BAD) == (0, "banned\n")
    again.wait_until(lambda: state(served, BAD, SILENT_S) == SHUT, "the ban by hand")

    del served["networks"]["banned"]["learn"]  # a reload without it withdraws them
    served["networks"]["banned"] = ["192.0.2.0/24"]
    again.configure(served)
    again.send_signal(signal.SIGHUP)
    again.wait_until(lambda: state(served, BAD, SILENT_S) == OPEN, "a config without bans")
    again.wait_until(lambda: "no network of the config learns" in again.command("bans")[1], "forgotten bans")


def test_a_flood_of_dns_questions_bans_over_tcp_and_never_over_udp(program: Start, served: dict[str, Any]) -> None:
    most = 2 * MANY
    served["networks"]["banned"]["learn"] = {"dns": f"{most}/1h", "limited": 2}
    served["dispatch"][-1] |= {"public": True, "rate_limit": 5, "rate_limit_slip": 1}
    running = program(config=served)
    dns_port = port_of(served["listen"][3])
    query, flags = dns.message.make_query("a.test", "A"), set()
    for _ in range(4 * most):  # from an address that anybody may have written into the datagram
        reply = dns.query.udp(query, "127.0.0.1", port=dns_port, source=BAD, timeout=30)
        flags.add(bool(reply.flags & dns.flags.TC))
        assert resolve(dns_port, GOOD, over_tcp=True) == "NOERROR"  # excepted
    assert flags == {False, True}, "over the limit of answers over UDP, too"
    for _ in range(most - 1):  # a connection each: they reach both workers
        assert resolve(dns_port, BAD, over_tcp=True) == "NOERROR"
    assert running.command("bans") == (0, "0 clients are banned\n")
    assert resolve(dns_port, BAD, over_tcp=True) == "NOERROR"
    running.wait_for(rf"{BAD} is banned for 3600 s: dns \(networks\.banned\.learn\.dns\)")
    running.wait_until(lambda: state(served, BAD, SILENT_S) == SHUT, "the ban in all workers")
    assert state(served, GOOD) == OPEN


def test_one_process_and_a_damaged_store(program: Start, served: dict[str, Any], tmp_path: Path) -> None:
    served["workers"] = 0
    running = program(config=served)
    assert running.command("ban", BAD) == (0, "banned\n")
    assert state(served, BAD, SILENT_S) == SHUT
    assert running.command("bans")[1].startswith(f"{BAD}  banned  command  until 20")
    status, said = running.command("ban", "127.0.0.1")
    assert (status, said) == (
        1,
        "npserver ban: not done within 2 s: networks of 'except' and of 'trusted_proxies' are never banned\n",
    )
    assert running.command("ban", "localhost") == (
        1, "npserver ban: expected an address such as 192.0.2.7, got 'localhost'\n",
    )  # fmt: skip
    running.stop()
    (kept,) = (tmp_path / "store" / "networks").iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    again = program(config=served)
    again.wait_for(r"the bans of the last run are not known: .* is damaged")
    assert state(served, BAD) == OPEN
    again.wait_until(lambda: kept.read_bytes() == b"[]", "a good file")
