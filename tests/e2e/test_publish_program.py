"""`"publish": true`: one line makes the name, the records and the certificate, with two workers and real clients.

Covers `nameserver.publish.service`, `nameserver.publish.following`, `nameserver.publish.state`,
`nameserver.publish.zones`, `nameserver.publish.records` and `runtime.public_addresses`.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.xfr
import dns.zone
import httpx
import pytest
import trustme

from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
RULE = {"handler": "respond", "host": "photos.example.com", "body": "photos\n", "publish": True}
ASKED = 12  # questions that both workers get some of: the kernel chooses by the port of the client


class Oracle:
    """A server that tells its callers an address, whichever it likes. `answer`: of each request, status and body."""

    def __init__(self) -> None:
        oracle = self
        self.answer = (200, b"9.9.9.9\n")
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                oracle.asked += 1
                status, body = oracle.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ip?key=secret"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    one = Oracle()
    yield one
    one.server.shutdown()
    one.server.server_close()


class Site:
    """The config of a site on all addresses of this machine, and questions to its name server."""

    def __init__(self, directory: Path, free_port: Callable[[], int]) -> None:
        self.port, self.web = free_port(), free_port()
        self.parts: dict[str, Any] = {
            "workers": 2,
            "store": str(directory / "store"),
            "listen": [
                {"name": "web", "uri": f"http://:{self.web}"},
                {"name": "dns", "uri": f"udp://127.0.0.1:{self.port}"},
                {"name": "dns-tcp", "uri": f"tcp://127.0.0.1:{self.port}"},
            ],
            "dns_zones": ["example.com"],
            "public_address": "9.9.9.9",
        }

    def config(self, *rules: dict[str, Any], **parts: Any) -> dict[str, Any]:
        dns_rule = {"listener": ["dns", "dns-tcp"], "handler": "dns", "allow_transfer": "127.0.0.1"}
        status = {"handler": "status", "host": "status.home"}
        return {**self.parts, "dispatch": [*rules, status, dns_rule], **parts}

    def ask(self, name: str, rtype: str = "A", source: str = "127.0.0.1") -> list[str]:
        """Return the data of the records, or the rcode without any."""
        query = dns.message.make_query(name, rtype)
        reply = dns.query.udp(query, "127.0.0.1", 10, self.port, source=source)
        wanted = dns.rdatatype.from_text(rtype)
        found = [str(one) for rrset in reply.answer if rrset.rdtype == wanted for one in rrset]
        return found or [dns.rcode.to_text(reply.rcode())]

    def answers(self, name: str, rtype: str = "A", source: str = "127.0.0.1") -> set[tuple[str, ...]]:
        """Return the different answers of both workers."""
        return {tuple(self.ask(name, rtype, source)) for _ in range(ASKED)}

    def zone(self) -> dns.zone.Zone:
        """Return the zone by AXFR."""
        zone = dns.zone.Zone("example.com.")
        dns.query.inbound_xfr("127.0.0.1", zone, port=self.port, timeout=30)
        return zone

    def serial(self) -> int:
        """Return the serial of the zone, once both workers have the same."""
        return int(self.ask("example.com", "SOA")[0].split()[2])

    def status(self, form: str) -> httpx.Response:
        headers = {"Host": "status.home"}
        return httpx.get(f"http://127.0.0.1:{self.web}/status", params={"format": form}, headers=headers)


@pytest.fixture
def site(tmp_path: Path, free_port: Callable[[], int]) -> Site:
    return Site(tmp_path, free_port)


def until(one: Program, is_so: Callable[[], bool], what: str) -> None:
    one.wait_until(is_so, what)


@needs("dig")
def test_a_line_makes_all_records_for_each_view(
    program: Start, site: Site, certificates: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    https = free_port()
    rules = [
        {**RULE, "listener": ["web", "secure"]},
        {"handler": "respond", "host": "*.apps.example.com", "publish": True, "listener": "web"},
        {"handler": "respond", "host": "mail.example.com", "publish": True, "listener": "web"},
    ]
    parts = site.config(
        *rules,
        listen=[*site.parts["listen"], {"name": "secure", "uri": f"https://:{https}"}],
        tls=certificates("photos.example.com").config,
        dns_views=[{"from": "127.0.0.2", "dns": {"other.example.com": {"TXT": "view"}}}],
        dns={"mail.example.com": {"A": "198.51.100.1", "TTL": 60}},
        dns_auto_ptr=True,
        public_address=["9.9.9.9", "2620:fe::fe"],
    )
    program(config=parts)
    assert site.answers("photos.example.com") == {("9.9.9.9",)}
    assert site.answers("photos.example.com", "AAAA") == {("2620:fe::fe",)}
    assert site.answers("photos.example.com", "HTTPS") == {(f'1 . alpn="h2,http/1.1" port="{https}"',)}
    assert site.answers("photos.example.com", source="127.0.0.2") == {("127.0.0.1",)}
    assert site.answers("photos.example.com", "AAAA", source="127.0.0.2") == {("NOERROR",)}
    assert site.answers("any.apps.example.com") == {("9.9.9.9",)}
    assert site.answers("any.apps.example.com", "HTTPS") == {("NOERROR",)}
    assert site.ask("mail.example.com") == ["198.51.100.1"]
    assert site.ask("mail.example.com", "AAAA") == ["2620:fe::fe"]
    assert site.ask("9.9.9.9.in-addr.arpa", "PTR") == ["photos.example.com."]
    dig = ["dig", "@127.0.0.1", "-p", str(site.port), "+noall", "+answer", "photos.example.com", "HTTPS"]
    shown = subprocess.run(dig, capture_output=True, text=True, timeout=20, check=True).stdout
    assert f'photos.example.com.\t300\tIN\tHTTPS\t1 . alpn="h2,http/1.1" port={https}' in shown
    zone = site.zone()
    assert {str(name) for name in zone.nodes} == {"@", "photos", "*.apps", "mail"}
    assert zone.get_rdataset("mail", "AAAA", create=False).ttl == 60
    assert httpx.get(f"http://127.0.0.1:{site.web}/", headers={"Host": "photos.example.com"}).text == "photos\n"


def test_a_reload_adds_and_takes_away_names_and_the_serial_rises(program: Start, site: Site) -> None:
    one = program(config=site.config({**RULE, "publish": False}, {**RULE, "host": "www.example.com"}))
    serials = [told(one, site)]

    def reload(*rules: dict[str, Any], **parts: Any) -> None:
        before = site.answers("example.com", "SOA")
        one.configure(site.config(*rules, **parts))
        one.send_signal(signal.SIGHUP)
        until(one, lambda: len(before | site.answers("example.com", "SOA")) == 2, "another serial")
        serials.append(told(one, site))

    assert site.answers("photos.example.com") == {("NXDOMAIN",)}
    reload(RULE, {**RULE, "host": "www.example.com"})
    assert site.answers("photos.example.com") == {("9.9.9.9",)}
    reload({**RULE, "host": "www.example.com"})
    assert site.answers("photos.example.com") == {("NXDOMAIN",)}
    assert site.answers("www.example.com") == {("9.9.9.9",)}
    reload({**RULE, "host": "www.example.com"}, public_address="8.8.8.8")
    assert site.answers("www.example.com") == {("8.8.8.8",)}
    assert serials == sorted(set(serials))
    assert [item["address"] for item in json.loads(site.status("json").text)["public_addresses"]] == ["8.8.8.8"]
    one.configure(site.config({**RULE, "publish": False}, public_address="interface"))
    one.send_signal(signal.SIGHUP)
    until(one, lambda: json.loads(site.status("json").text)["public_addresses"] == [], "nothing published")
    reload({**RULE, "host": "www.example.com"}, public_address="8.8.8.8")
    assert serials.pop() == serials[-1]  # what was published last
    assert site.zone().get_soa().serial == serials[-1]
    one.stop()
    one = program(config=site.config({**RULE, "host": "www.example.com"}))
    assert told(one, site) > serials[-1]  # over a restart with another config


def told(one: Program, site: Site) -> int:
    """Return the serial, once the controller has told both workers of one."""
    one.wait_for("public address: ")
    stored = Path(site.parts["store"]) / "dns" / "published"
    one.wait_until(stored.exists, "the stored serials")

    def is_known() -> bool:
        number = json.loads(stored.read_text())["serials"]["example.com."]["number"]
        return {answer[0].split()[2] for answer in site.answers("example.com", "SOA")} == {str(number)}

    until(one, is_known, "the serial at both workers")
    return site.serial()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_address_that_is_asked_for_is_kept_up_to_date(
    program: Start, site: Site, oracle: Oracle, workers: int
) -> None:
    one = program(config=asking(site, oracle, workers=workers, dns_auto_ptr=True))
    until(one, lambda: site.answers("photos.example.com") == {("9.9.9.9",)}, "the first address")
    assert site.ask("9.9.9.9.in-addr.arpa", "PTR") == ["photos.example.com."]
    one.wait_for(r"public address: 9\.9\.9\.9 \(public_address\.ask: http://127\.0\.0\.1:\d+\)")
    first = told(one, site)
    oracle.answer = (200, b"8.8.4.4")
    until(one, lambda: site.answers("photos.example.com") == {("8.8.4.4",)}, "the next address")
    one.wait_for(r"public address: 8\.8\.4\.4 .*, no longer 9\.9\.9\.9")
    assert site.answers("4.4.8.8.in-addr.arpa", "PTR") == {("photos.example.com.",)}
    assert site.answers("9.9.9.9.in-addr.arpa", "PTR") == {("REFUSED",)}
    second = told(one, site)
    assert second > first
    zone = site.zone()
    assert (zone.get_soa().serial, str(zone.get_rdataset("photos", "A")[0])) == (second, "8.8.4.4")
    assert 'npserver_public_address_since_timestamp_seconds{address="8.8.4.4"' in site.status("prometheus").text


def test_a_broken_or_lying_answer_changes_nothing_over_a_restart_too(
    program: Start, site: Site, oracle: Oracle
) -> None:
    one = program(config=asking(site, oracle))
    until(one, lambda: site.answers("photos.example.com") == {("9.9.9.9",)}, "the first address")
    serial = told(one, site)
    since = json.loads(site.status("json").text)["public_addresses"]
    origin = f"http://127.0.0.1:{oracle.server.server_port}"
    assert [(item["address"], item["source"]) for item in since] == [("9.9.9.9", origin)]
    for lie, reason in (
        ((200, b"192.168.1.1"), "the answer is 192.168.1.1, which is not a public address"),
        ((200, b"<html>"), "the answer is not an address"),
        ((500, b"7.7.7.7"), "status 500 instead of 200"),
        ((200, b"7" * 100_000), "the answer is longer than"),
    ):
        oracle.answer = lie
        one.wait_for(rf"public address not found: {origin} over IPv4: {reason}.*; 9\.9\.9\.9 stays published")
        asked = oracle.asked
        until(one, lambda asked=asked: oracle.asked > asked + 1, "two more questions")  # type: ignore[misc]
        assert one.errors.count(reason) == 1  # once for each reason
        assert site.answers("photos.example.com") == {("9.9.9.9",)}
    assert site.serial() == serial
    assert "secret" not in one.errors
    one.stop()
    oracle.server.shutdown()
    oracle.server.server_close()  # connections are refused from now on
    one = program(config=asking(site, oracle))
    assert site.answers("photos.example.com") == {("9.9.9.9",)}
    one.wait_for(r"public address not found: .*9\.9\.9\.9 stays published \(public_address\.ask\)")
    assert told(one, site) == serial
    assert json.loads(site.status("json").text)["public_addresses"] == since


def asking(site: Site, oracle: Oracle, **parts: Any) -> dict[str, Any]:
    return site.config(RULE, public_address={"ask": oracle.url, "interval": 0.1}, **parts)


def test_the_next_url_is_asked_when_one_gives_no_address(program: Start, site: Site, oracle: Oracle) -> None:
    down = f"http://127.0.0.1:{site.web}/nothing"  # answers 404
    one = program(config=site.config(RULE, public_address={"ask": [down, oracle.url]}))
    until(one, lambda: site.answers("photos.example.com") == {("9.9.9.9",)}, "the address")
    assert "not found" not in one.errors


@pytest.mark.parametrize("is_asked", [False, True])
def test_processes_that_start_later_have_the_present_address_and_serial(
    program: Start, site: Site, oracle: Oracle, is_asked: bool
) -> None:
    one = program(config=asking(site, oracle) if is_asked else site.config(RULE))

    def kill(*, spares_controller: bool) -> None:
        before = set(one.children())
        killed = {pid for pid in before if not (spares_controller and is_controller(pid))}
        assert len(killed) == (2 if spares_controller else 3)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        until(one, lambda: not killed & set(one.children()) and len(one.children()) == 3, "other processes")

    for address in ("9.9.9.9", "8.8.4.4") if is_asked else ("9.9.9.9",):
        oracle.answer = (200, address.encode())
        until(one, lambda address=address: site.answers("photos.example.com") == {(address,)}, address)  # type: ignore[misc]
        serial = told(one, site)
        for spares_controller in (True, False):
            kill(spares_controller=spares_controller)
            assert site.answers("photos.example.com") == {(address,)}
            assert {answer[0].split()[2] for answer in site.answers("example.com", "SOA")} == {str(serial)}


def is_controller(pid: int) -> bool:
    return b"controller" in Path(f"/proc/{pid}/cmdline").read_bytes()


@needs("pebble")
def test_a_line_makes_the_name_the_records_and_the_certificate(
    program: Start, site: Site, tmp_path: Path, authority: trustme.CA
) -> None:
    """By DNS-01 over the zone that the name is in; the CA asks the name server itself."""
    with running_pebble(tmp_path / "pebble", authority) as pebble:
        one = program(config=of_pebble(site, pebble))
        for name in (r"photos\.example\.com", r"\*\.apps\.example\.com"):
            one.wait_for(rf"certificate for {name} issued by https://127", 30)
        root = tmp_path / "root.pem"
        root.write_text(pebble.root())
        for host in ("photos.example.com", "any.apps.example.com"):
            until(one, lambda host=host: served(pebble, root, host) == "photos\n", "the certificate of the CA")  # type: ignore[misc]
        assert site.answers("photos.example.com") == {("9.9.9.9",)}
        assert site.answers("photos.example.com", "HTTPS") == {(f'1 . alpn="h2,http/1.1" port="{pebble.tls_port}"',)}
        until(one, lambda: {str(name) for name in site.zone().nodes} == {"@", "photos", "*.apps"}, "no challenge left")


def of_pebble(site: Site, pebble: Pebble) -> dict[str, Any]:
    """A site that only has https, and whose name server is where pebble asks."""
    site.port = pebble.dns_port
    return site.config(
        listen=[
            {"name": "web", "uri": f"https://:{pebble.tls_port}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{site.port}"},
            {"name": "dns-tcp", "uri": f"tcp://127.0.0.1:{site.port}"},
        ],
        tls={"acme": {"directory": pebble.url, "ca": str(pebble.ca)}},
        dispatch=[
            {**RULE, "host": ["photos.example.com", "*.apps.example.com"]},
            {"listener": ["dns", "dns-tcp"], "handler": "dns", "allow_transfer": "127.0.0.1"},
        ],
    )


def served(pebble: Pebble, root: Path, host: str) -> str:
    """Return what a client gets that trusts the CA alone."""
    trust = ssl.create_default_context(cafile=str(root))
    try:
        with httpx.Client(verify=trust) as client:
            return client.get(
                f"https://127.0.0.1:{pebble.tls_port}/",
                headers={"Host": host},
                extensions={"sni_hostname": host},
            ).text
    except httpx.ConnectError:
        return ""
