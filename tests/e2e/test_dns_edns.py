"""NSID and edns-tcp-keepalive of the whole program, as kdig and dig ask for them; a key that is too long."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from npserver.cli.check import main as check
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]


def config(port: int, **rule: Any) -> dict[str, Any]:
    return {
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "dns": {"www.example.com": {"A": "192.0.2.1"}},
        "dispatch": [{"handler": "dns", "nsid": "fra1", "timeout": "7.5s", **rule}],
    }


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@needs("kdig", "dig")
def test_kdig_and_dig_are_told(program: Start) -> None:
    port = free_port()
    program(config=config(port))
    at = ["@127.0.0.1", "-p", str(port)]
    for transport in ("+notcp", "+tcp"):
        assert '"fra1"' in run("kdig", *at, transport, "+nsid", "www.example.com", "A")
        assert "fra1" not in run("kdig", *at, transport, "+edns", "www.example.com", "A")
    asked = ["+tcp", "+keepopen", "+keepalive", "www.example.com", "A", "missing.example.com", "A"]
    found = run("dig", *at, *asked)
    assert found.count("TCP KEEPALIVE: 7.5 secs") == 2, found
    assert "TCP KEEPALIVE" not in run("dig", *at, "+notcp", "+keepalive", "www.example.com", "A")
    wrong = run("dig", *at, "+tcp", "+ednsopt=11:0064", "www.example.com", "A")
    assert "status: FORMERR" in wrong


@needs("kdig")
def test_over_tls_and_https(program: Start, certificates: Callable[..., Any]) -> None:
    certificate, tls, web = certificates("127.0.0.1"), free_port(), free_port()
    made = config(0, allow="127.0.0.0/8")
    made["listen"] = [f"ssl://127.0.0.1:{tls}", f"https://127.0.0.1:{web}"]
    made["tls"] = {"cert": str(certificate.cert), "key": str(certificate.key)}
    rule = made["dispatch"][0]
    made["dispatch"] = [{**rule, "listener": uri} for uri in made["listen"]]
    program(config=made)
    for port, transport in ((tls, "+tls"), (web, "+https")):
        words = ["kdig", "@127.0.0.1", "-p", str(port), transport, "www.example.com", "A"]
        assert '"fra1"' in run(*words, "+nsid")
        assert "fra1" not in run(*words)
    timeout = run("kdig", "@127.0.0.1", "-p", str(tls), "+tls", "+ednsopt=11", "www.example.com", "A")
    assert "004B" in timeout, timeout  # 7.5 s in units of 100 ms


def test_an_identifier_that_is_too_long_has_its_place(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "npserver.json"
    file.write_text(
        '{ "listen": ["udp://127.0.0.1:5353", "tcp://127.0.0.1:5353"], "dns": { "a.home": { "A": "10.0.0.1" } },\n'
        f'  "dispatch": [{{ "handler": "dns", "nsid": "{"x" * 256}" }}] }}'
    )
    assert check(["-config", str(file)]) == 2
    assert ":2:44: expected at most 255 bytes, got 256" in capsys.readouterr().err
