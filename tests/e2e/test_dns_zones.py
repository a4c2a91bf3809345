"""The whole program with zones that are not in its config: zone files, by AXFR and UDP, with two workers.

Covers `nameserver.zones.messages`, `nameserver.zones.publisher`,
`nameserver.zones.service`, `runtime.zone_states`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
import dns.zone

from tests.conformance.test_dns_zone_files import ZONE
from tests.stage.program import Program

Start = Callable[..., Program]


def config(port: int, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [{"name": "u", "uri": f"udp://127.0.0.1:{port}"}, {"name": "t", "uri": f"tcp://127.0.0.1:{port}"}],
        "dispatch": [{"listener": ["u", "t"], "handler": "dns", "allow_transfer": "127.0.0.1"}],
        **parts,
    }


def records(zone: dns.zone.Zone) -> dict[str, list[str]]:
    return {f"{name} {one.ttl} {one.rdtype.name}": sorted(map(str, one)) for name, one in zone.iterate_rdatasets()}


def test_a_zone_file_is_served_whole(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "example.com.zone").write_text(ZONE)
    port = free_port()
    program(config=config(port, dns_zones=[{"name": "example.com", "file": str(tmp_path / "example.com.zone")}]))
    expected = dns.zone.from_text(ZONE, "example.com", relativize=False)
    served = dns.zone.Zone("example.com", relativize=False)
    dns.query.inbound_xfr("127.0.0.1", served, port=port, lifetime=20)
    assert records(served) == records(expected)
    for name, kind in (("www.example.com", "A"), ("a.wild.example.com", "TXT"), ("_443._tcp.example.com", "TLSA")):
        reply = dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=20)
        assert reply.answer, name


def ask(port: int, name: str, kind: str) -> dns.message.Message:
    """Ask by UDP as resolvers do: again, if there is no answer, as a worker that is killed has not given one."""
    for _ in range(9):
        try:
            return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=2)
        except dns.exception.Timeout:
            continue
    return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=20)


def serial(port: int) -> int:
    return int(ask(port, "example.com", "SOA").answer[0][0].serial)


def addresses(port: int, name: str, times: int = 20) -> set[str]:
    """Return what several workers answer: each question comes from another port."""
    found = set()
    for _ in range(times):
        reply = ask(port, name, "A")
        found |= {str(one) for records in reply.answer for one in records} or {dns.rcode.to_text(reply.rcode())}
    return found


def controller(one: Program) -> int:
    """Return the process that makes the updates, once it has its title."""

    def find() -> int | None:
        titles = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in one.children()}
        return next((pid for pid, title in titles.items() if b"controller" in title), None)

    return one.wait_until(find, "controller")


def test_a_zone_file_is_followed(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """By all workers, one that starts later and a restart too; the serial only grows, and a fault changes nothing."""
    file, included = tmp_path / "example.com.zone", tmp_path / "more"
    included.write_text("more A 10.1.1.1\n")
    text = ZONE.replace("2026010101", "{}") + "$INCLUDE more\nx A 10.0.0.{}\n"
    file.write_text(text.format(5, 1))
    port = free_port()
    parts = config(port, dns_zones=[{"name": "example.com", "file": str(file)}], store=str(tmp_path / "store"))
    one = program(config=parts)
    assert (serial(port), addresses(port, "x.example.com")) == (5, {"10.0.0.1"})

    file.write_text(text.format(9, 2))
    one.wait_until(lambda: addresses(port, "x.example.com") == {"10.0.0.2"}, "the new records")
    assert serial(port) == 9

    file.write_text(text.format(9, 3) + "y A 10.0.0.9\n")  # the serial stays
    one.wait_until(lambda: addresses(port, "x.example.com") == {"10.0.0.3"}, "the next records")
    assert (serial(port), addresses(port, "y.example.com")) == (10, {"10.0.0.9"})
    one.wait_until(lambda: "serial 10, as the file has 9, which is not newer: raise it there" in one.errors, "advice")

    file.write_text(text.format(20, 4) + "y A 10.0.0.x\n")
    line = len(text.splitlines()) + 1
    one.wait_until(
        lambda: f"{file}:{line}: malformed: 'y A 10.0.0.x'; the zone example.com. stays" in one.errors, "fault"
    )
    assert (serial(port), addresses(port, "x.example.com")) == (10, {"10.0.0.3"})

    included.write_text("more A 10.1.1.2\n")
    file.write_text(text.format(11, 3))
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.1.1.2"}, "what is included")
    assert addresses(port, "y.example.com") == {"NXDOMAIN"}

    for killed in one.children():  # the controller, too
        os.kill(killed, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and killed not in one.children(), "its successor")  # noqa: B023
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.1.1.2"}, "its records")
    assert addresses(port, "x.example.com") == {"10.0.0.3"}

    included.write_text("more A 10.1.1.3\n")
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.1.1.3"}, "what is included")
    assert serial(port) == 12
    one.stop()
    one = program(config=parts)
    one.wait_until(lambda: serial(port) == 12, "the serial of the last run")
    assert addresses(port, "more.example.com") == {"10.1.1.3"}


def test_a_zone_file_that_is_written_and_removed(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """It counts once it is whole: with all that it includes, and when nobody writes to it any more.

    Without it the zone stays as it is, in the workers of another controller, too, which does not know it.
    """
    file = tmp_path / "example.com.zone"
    text = "$TTL 60\n@ SOA ns h 5 3600 600 604800 60\n@ NS ns\nns A 10.0.0.1\nlast A 10.0.0.2\n"
    file.write_text(text)
    port = free_port()
    zone = {"name": "example.com", "file": str(file), "updates": [{"key": "dhcp"}]}
    keys = {"dhcp": {"secret": "c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmctZW5vdWdo"}}
    one = program(config=config(port, dns_zones=[zone], dns_keys=keys, store=str(tmp_path / "store")))

    file.write_text(text + "$INCLUDE more\n")
    one.wait_for(
        rf"{file}:6: \$INCLUDE of 'more': cannot read .*; "
        r"the zone example\.com\. stays as it is \(dns_zones\[0\]\.file\)"
    )
    (tmp_path / "more").write_text("more A x\n")
    one.wait_for(rf"{tmp_path}/more:1: malformed: 'more A x'; the zone example\.com\. stays")
    (tmp_path / "more").write_text("more A 10.0.0.3\n")
    one.wait_until(lambda: addresses(port, "more.example.com") == {"10.0.0.3"}, "what is included")

    end = time.monotonic() + 4.5  # as long as it takes to look at the file twice
    with file.open("w") as writing:
        writing.write(text.replace("last A 10.0.0.2\n", ""))
        while time.monotonic() < end:
            writing.write("h A 10.0.0.4\n")
            writing.flush()
            assert addresses(port, "last.example.com", times=1) == {"10.0.0.2"}
        writing.write("last A 10.0.0.5\n")
    one.wait_until(lambda: addresses(port, "last.example.com") == {"10.0.0.5"}, "the whole file")

    before = serial(port)
    file.unlink()
    one.wait_for(r"cannot read .*: no such file or directory; the zone example\.com\. stays as it is")
    told = one.errors.count("stays as it is")
    os.kill(controller(one), signal.SIGKILL)
    one.wait_until(lambda: one.errors.count("stays as it is") == told + 1, "another controller")
    update = dns.update.UpdateMessage(
        "example.com", keyring=dns.tsigkeyring.from_text({"dhcp": keys["dhcp"]["secret"]}), keyname="dhcp"
    )
    update.add("x", 60, "A", "10.0.0.9")
    assert dns.query.tcp(update, "127.0.0.1", port=port, timeout=30).rcode() == dns.rcode.SERVFAIL
    one.wait_for(r"updates of example\.com\. are refused until its file can be read \(dns_zones\[0\]\.file\)")
    assert addresses(port, "last.example.com") == {"10.0.0.5"}
    file.write_text(text.replace("10.0.0.2", "10.0.0.6"))
    one.wait_until(lambda: addresses(port, "last.example.com") == {"10.0.0.6"}, "the file again")
    assert serial(port) > before
    assert dns.query.tcp(update, "127.0.0.1", port=port, timeout=30).rcode() == dns.rcode.NOERROR
    assert addresses(port, "x.example.com") == {"10.0.0.9"}
