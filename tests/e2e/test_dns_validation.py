"""A signed zone, unbound that validates it, and the resolver of a home before that: AD, DO, CD and signatures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.message
import dns.name
import dns.query
import pytest

from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.signing import Unbound

Start = Callable[..., Program]
ZONES = ("good.example", "bogus.example")


@pytest.fixture
def validator(program: Start, tmp_path: Path) -> Iterator[tuple[Unbound, str]]:
    """Yield unbound, which takes one of two zones for bogus, and the key of the other in the form of a zone file."""
    port = free_port()
    for name in ("signer", "unbound", "home"):
        (tmp_path / name).mkdir()
    program(
        config={
            "workers": 1,
            "store": str(tmp_path / "signer" / "store"),
            "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
            "dispatch": [{"handler": "dns"}],
            "dns_zones": [{"name": zone, "dnssec": True} for zone in ZONES],
            "dns": {name: {"A": "198.51.100.7"} for zone in ZONES for name in (f"www.{zone}", f"other.{zone}")},
        },
        cwd=tmp_path / "signer",
    )
    reply = dns.query.udp(dns.message.make_query(ZONES[0], "DNSKEY"), "127.0.0.1", port=port, timeout=20)
    (key,) = reply.answer[0]
    anchors = [f"{zone}. DS {dns.dnssec.make_ds(dns.name.from_text(ZONES[0]), key, 'SHA256')}" for zone in ZONES]
    unbound = Unbound(ZONES, anchors, port, free_port(), tmp_path / "unbound")
    yield unbound, f"{ZONES[0]}. static-key {key.to_text()}"
    unbound.close()


def dig(port: int, *arguments: str) -> tuple[str, set[str], bool]:
    """Return status, flags, and whether there are signatures."""
    command = ["dig", "@127.0.0.1", "-p", str(port), "+noall", "+comments", "+answer", "+nocookie", *arguments]
    text = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    flags = next(line for line in text.splitlines() if line.startswith(";; flags:"))
    return text.partition("status: ")[2].partition(",")[0], set(flags.split(";")[2].split()[1:]), "RRSIG" in text


def home(port: int, resolver: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "dns_forward": {"resolvers": [resolver], "min_ttl": "1h", "failure_ttl": "5m"},
        "dispatch": [{"handler": "dns"}],
    }


DO, AD, PLAIN = ["+dnssec"], ["+adflag", "+nodnssec"], ["+noadflag", "+nodnssec"]


@needs("unbound", "dig")
@pytest.mark.parametrize("trust", [None, True, False])
def test_clients_get_what_they_ask_for(
    program: Start, validator: tuple[Unbound, str], tmp_path: Path, trust: bool | None
) -> None:
    """Whoever has asked before: AD to those that set AD or DO (RFC 6840 §5.7), signatures to those that set DO
    (RFC 4035 §3.2.1)."""  # fmt: skip
    unbound, _ = validator
    port = free_port()
    uri = f"127.0.0.1:{unbound.port}"
    program(config=home(port, uri if trust is None else {"uri": uri, "trust_ad": trust}), cwd=tmp_path / "home")
    common = {"qr", "rd", "ra"}
    shown = common if trust is False else common | {"ad"}
    for name, order in (("www.good.example", (DO, AD, PLAIN)), ("other.good.example", (PLAIN, AD, DO))):
        for options in (*order, *order):
            flags = common if options is PLAIN else shown
            assert dig(port, *options, name, "A") == ("NOERROR", flags, options is DO)
    for _ in range(2):
        for options in (DO, PLAIN):
            assert dig(port, *options, "www.bogus.example", "A")[0] == "SERVFAIL"
            assert dig(port, *options, "+cdflag", "www.bogus.example", "A") == (
                "NOERROR", common | {"cd"}, options is DO
            )  # fmt: skip


@needs("unbound", "delv")
def test_a_validating_client_validates_through_us(
    program: Start, validator: tuple[Unbound, str], tmp_path: Path
) -> None:
    unbound, anchor = validator
    port = free_port()
    program(config=home(port, f"127.0.0.1:{unbound.port}"), cwd=tmp_path / "home")
    file = tmp_path / "anchors"
    zone, kind, flags, protocol, algorithm, key = anchor.split(" ", 5)
    file.write_text(f'trust-anchors {{ {zone} {kind} {flags} {protocol} {algorithm} "{key}"; }};\n')
    for name, expected in (("www", "; fully validated"), ("missing", "; negative response, fully validated")):
        command = ["delv", "@127.0.0.1", "-p", str(port), "-a", str(file), "+root=good.example", f"{name}.good.example"]
        found = subprocess.run([*command, "A"], capture_output=True, text=True, timeout=30, check=False)
        assert expected in found.stdout, found
