"""The whole program, updated by certbot and by Kea's DHCP-DDNS server, as `docs/dns-updates.md` sets them up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.test_dns_zones import addresses, ask
from tests.stage.pebble import Pebble
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.update_clients import OTHER_DHCID, certbot, config, running_kea

Start = Callable[..., Program]
PC, REVERSE = "pc.dyn.home.example.com", "50.1.168.192.in-addr.arpa"
DONE = "DHCP_DDNS_{}_SUCCEEDED"


def shown(port: int, name: str, kind: str) -> list[str]:
    return [str(one) for records in ask(port, name, kind).answer for one in records]


@needs("certbot", "pebble")
def test_certbot(program: Start, pebble: Pebble, tmp_path: Path) -> None:
    """Two records of one name at a time, for a name and its wildcard; they are gone afterwards."""
    one = program(config=config(pebble.dns_port, tmp_path))
    names = ("home.example.com", "*.home.example.com", "nas.home.example.com")
    done = certbot(pebble, tmp_path, *names)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "config" / "live").glob("*/fullchain.pem"))
    assert one.errors.count("was updated by key certbot") >= 3
    for name in names[::2]:
        assert shown(pebble.dns_port, f"_acme-challenge.{name}", "TXT") == []

    refused = certbot(pebble, tmp_path, "other.home.example.com")
    assert "Received response from server: REFUSED" in refused.stderr
    one.wait_for("update of home.example.com. by key certbot from 127.0.0.1 refused, REFUSED: no rule allows TXT")


@needs("certbot", "pebble")
def test_certbot_whose_algorithm_is_not_said(program: Start, pebble: Pebble, tmp_path: Path) -> None:
    """It then signs by HMAC-MD5, as the page says."""
    program(config=config(pebble.dns_port, tmp_path))
    refused = certbot(pebble, tmp_path, "home.example.com", algorithm="")
    assert refused.returncode == 1
    assert "the peer didn't know the key we used" in refused.stderr.lower()


@needs("kea-dhcp-ddns")
def test_kea(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """Forward and reverse records come, change and go; a name stays with whose it is."""
    port = free_port()
    one = program(config=config(port, tmp_path))
    with running_kea(tmp_path / "kea", free_port(), port) as kea:
        kea.tell(PC + ".", "192.168.1.50")
        kea.wait_for(DONE.format("ADD"))
        assert addresses(port, PC) == {"192.168.1.50"}
        assert shown(port, REVERSE, "PTR") == [PC + "."]
        assert len(shown(port, PC, "DHCID")) == len(shown(port, REVERSE, "DHCID")) == 1

        kea.tell(PC + ".", "192.168.1.51")  # the same client, with another address
        kea.wait_for(DONE.format("ADD"), 2)
        assert addresses(port, PC) == {"192.168.1.51"}

        kea.tell(PC + ".", "192.168.1.60", OTHER_DHCID)  # another client that calls itself so
        one.wait_for(
            r"update of home\.example\.com\. by key dhcp from 127\.0\.0\.1 refused, NXRRSET: pc\.dyn\.home\.example"
        )
        kea.wait_for("DHCP_DDNS_ADD_FAILED")
        kea.tell("nas.home.example.com.", "192.168.1.61")
        one.wait_until(lambda: one.errors.count("refused, NXRRSET") == 2, "the second refusal")
        assert addresses(port, PC) == {"192.168.1.51"}
        assert addresses(port, "nas.home.example.com") == {"192.168.1.10"}

        kea.tell(PC + ".", "192.168.1.51", removes=True)
        kea.wait_for(DONE.format("REMOVE"))
        assert addresses(port, PC) == {"NXDOMAIN"}
        assert addresses(port, "51.1.168.192.in-addr.arpa") == {"NXDOMAIN"}
