"""The whole program whose zones are updated (RFC 2136): nsupdate and dnspython, two workers, SIGKILL, restarts.

Covers `nameserver.updates.service`, `nameserver.updates.updater` and `nameserver.updates.compile`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from tests.e2e.test_dns_zones import addresses, config, serial
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
SECRET = "c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmctZW5vdWdo"
RING = dns.tsigkeyring.from_text({"dhcp": SECRET, "stranger": SECRET})


def updated(port: int, directory: Path, **parts: Any) -> dict[str, Any]:
    zone = {"name": "example.com", "updates": [{"key": "dhcp", "names": "*.dyn.example.com", "types": ["A", "TXT"]},
                                               {"key": "dhcp", "names": "self"}], **parts}  # fmt: skip
    return config(
        port,
        dns={"www.example.com": {"A": "10.0.0.1"}, "old.dyn.example.com": {"A": "10.0.0.2"}},
        dns_zones=[zone],
        dns_keys={"dhcp": {"secret": SECRET}, "stranger": {"secret": SECRET}},
        store=str(directory / "store"),
    )


def message(key: str = "dhcp") -> dns.update.UpdateMessage:
    return dns.update.UpdateMessage("example.com", keyring=RING, keyname=key, keyalgorithm=dns.tsig.HMAC_SHA256)


def send(port: int, made: dns.message.Message, *, over: str = "tcp") -> str:
    ask = dns.query.tcp if over == "tcp" else dns.query.udp
    return dns.rcode.to_text(ask(made, "127.0.0.1", port=port, timeout=30).rcode())


@needs("nsupdate")
def test_nsupdate(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """All workers answer by an update once it is answered; a reload, SIGKILL and a restart keep it."""
    port = free_port()
    one = program(config=updated(port, tmp_path))
    before = serial(port)
    script = (
        f"server 127.0.0.1 {port}\nzone example.com\nprereq nxdomain pc.dyn.example.com\n"
        "update add pc.dyn.example.com 60 A 10.0.0.7\nupdate delete old.dyn.example.com\nsend\n"
    )
    asked = subprocess.run(
        ["nsupdate", "-y", f"hmac-sha256:dhcp:{SECRET}"], input=script, text=True, capture_output=True, timeout=60
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    assert addresses(port, "pc.dyn.example.com") == {"10.0.0.7"}
    assert addresses(port, "old.dyn.example.com") == {"NXDOMAIN"}
    assert addresses(port, "www.example.com") == {"10.0.0.1"}
    assert serial(port) == before + 1
    one.wait_for(
        rf"zone example.com. was updated by key dhcp from 127.0.0.1: serial {before + 1} \(dns_zones\[0\].updates\)"
    )
    again = subprocess.run(
        ["nsupdate", "-y", f"hmac-sha256:dhcp:{SECRET}"], input=script, text=True, capture_output=True, timeout=60
    )
    assert "YXDOMAIN" in again.stderr

    one.send_signal(signal.SIGHUP)
    one.wait_for("config reloaded")
    assert addresses(port, "pc.dyn.example.com") == {"10.0.0.7"}
    for killed in one.children():
        os.kill(killed, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and killed not in one.children(), "its successor")  # noqa: B023
    one.wait_until(lambda: addresses(port, "pc.dyn.example.com") == {"10.0.0.7"}, "the records")
    one.kill()
    program(config=updated(port, tmp_path))
    assert addresses(port, "old.dyn.example.com") == {"NXDOMAIN"}
    assert serial(port) == before + 1


@pytest.mark.parametrize("over", ["tcp", "udp"])
def test_what_is_refused(program: Start, free_port: Callable[[], int], tmp_path: Path, over: str) -> None:
    port = free_port()
    program(config=updated(port, tmp_path))
    before = serial(port)
    unsigned = dns.update.UpdateMessage("example.com")
    unsigned.add("x.dyn", 60, "A", "10.0.0.9")
    assert send(port, unsigned, over=over) == "REFUSED"
    for key, name, rtype, data in (
        ("stranger", "x.dyn", "A", "10.0.0.9"),
        ("dhcp", "www", "A", "10.0.0.9"),
        ("dhcp", "x.dyn", "MX", "1 mx"),
        ("dhcp", "@", "NS", "ns.evil.test."),
    ):
        made = message(key)
        made.add(name, 60, rtype, data)
        assert send(port, made, over=over) == "REFUSED", (key, name, rtype)
    made = message()
    made.add("x.dyn", 60, "A", "10.0.0.9")
    made.add("elsewhere.test.", 60, "A", "10.0.0.9")
    assert send(port, made, over=over) == "NOTZONE"
    other = dns.update.UpdateMessage("other.test", keyring=RING, keyname="dhcp")
    other.add("x", 60, "A", "10.0.0.9")
    assert send(port, other, over=over) == "REFUSED"
    wrong = dns.update.UpdateMessage(
        "example.com", keyring=dns.tsigkeyring.from_text({"dhcp": "b3RoZXI="}), keyname="dhcp"
    )
    wrong.add("x.dyn", 60, "A", "10.0.0.9")
    with pytest.raises((dns.tsig.PeerBadSignature, dns.exception.DNSException)):
        send(port, wrong, over=over)
    assert serial(port) == before
    assert addresses(port, "x.dyn.example.com") == {"NXDOMAIN"}


def test_updates_of_a_zone_file_outlive_its_changes(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    file = tmp_path / "example.com.zone"
    text = "$TTL 60\n@ SOA ns h {} 3600 600 604800 60\n@ NS ns\nns A 10.0.0.1\nwww A 10.0.0.{}\n"
    file.write_text(text.format(5, 1))
    port = free_port()
    parts = updated(port, tmp_path, file=str(file))
    del parts["dns"]
    one = program(config=parts)
    made = message()
    made.add("pc.dyn", 60, "A", "10.0.0.7")
    assert send(port, made) == "NOERROR"
    assert serial(port) == 6
    file.write_text(text.format(20, 2))
    one.wait_until(lambda: addresses(port, "www.example.com") == {"10.0.0.2"}, "the file's records")
    assert addresses(port, "pc.dyn.example.com") == {"10.0.0.7"}
    assert serial(port) == 20
