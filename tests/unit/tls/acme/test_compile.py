"""Compiling `acme` entries: what is wanted of the CA, by which challenges, and the messages for what cannot work.

Covers `tls.acme.reach`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check
from npserver.errors import ConfigError

HOST = {"handler": "respond", "host": "www.example.com", "body": "hello"}
WEB = ["https://127.0.0.1:443", "http://127.0.0.1:80"]
ZONES = {"dns_zones": ["example.com"], "dns": {"example.com": {"A": "192.0.2.1"}}}
DNS = {"handler": "dns", "listener": "udp://127.0.0.1:53"}


def told(tmp_path: Path, acme: Any, *rules: dict[str, Any], **config: Any) -> list[str]:
    """Return what `npserver check` says of certificates, or its errors."""
    file = tmp_path / "npserver.json"
    tls = acme if isinstance(acme, str) else {"acme": acme, **config.pop("entry", {})}
    made = {"listen": WEB, "store": str(tmp_path / "store"), "tls": tls, "dispatch": [*(rules or (HOST,))], **config}
    file.write_text(json.dumps(made))
    try:
        _, served = check(str(file))
    except ConfigError as error:
        return [problem.message for problem in error.problems]
    assert not (tmp_path / "store").exists(), "a check writes nothing"
    return [text for of, text in served if of == "TLS" and text.startswith("certificate for")]


@pytest.mark.parametrize(
    ("acme", "config", "kinds"),
    [
        ("auto", {}, "tls-alpn-01, http-01"),
        ({"email": "me@example.com"}, {}, "tls-alpn-01, http-01"),
        ({}, {"listen": ["https://127.0.0.1:8443", "http://127.0.0.1:80"]}, "http-01"),
        ({"challenge": ["tls-alpn"]}, {"listen": ["https://127.0.0.1:8443"]}, "tls-alpn-01"),
        ({}, {**ZONES, "listen": [*WEB, "udp://127.0.0.1:53"], "dispatch": [HOST, DNS]},
         "dns-01, tls-alpn-01, http-01"),
        ({}, ZONES, "tls-alpn-01, http-01"),  # nobody serves the zone
    ],
)  # fmt: skip
def test_the_challenges_are_those_that_can_work(tmp_path: Path, acme: Any, config: dict[str, Any], kinds: str) -> None:
    (text,) = told(tmp_path, acme, **config)
    assert text.startswith("certificate for www.example.com by https://acme-v02.api.letsencrypt.org/directory")
    assert text.endswith(f"({kinds})")


def test_names_below_a_wildcard_have_its_certificate(tmp_path: Path) -> None:
    rules = [{**HOST, "host": ["*.example.com", "a.example.com", "b.a.example.com", "example.com"]}, DNS]
    found = told(tmp_path, {}, *rules, **ZONES, listen=[*WEB, "udp://127.0.0.1:53"])
    assert [text.split()[2] for text in found] == ["*.example.com", "b.a.example.com", "example.com"]


def test_local_hosts_are_left_out(tmp_path: Path) -> None:
    found = told(tmp_path, {}, {**HOST, "host": ["nas.home", "www.example.com"]})
    assert [text.split()[2] for text in found] == ["www.example.com"]


@pytest.mark.parametrize(
    ("acme", "config", "message"),
    [
        ({}, {"dispatch": [{"handler": "respond", "body": "any"}]}, "'acme' finds no names: give a rule a 'host'"),
        ({}, {"listen": ["https://127.0.0.1:8443"]}, "no http listener on port 80 and no https listener on port 443"),
        ({}, {"entry": {"names": ["*.example.com"]}}, "a wildcard needs the challenge dns"),
        ({"challenge": ["http"]}, {"entry": {"names": ["*.example.com"]}}, "'challenge' allows http only"),
        ({}, {"entry": {"names": ["nas.home"]}}, "no public CA certifies 'nas.home'"),
        ({"email": "me"}, {}, "'email': expected an address"),
        ({"directory": "http://ca.test"}, {}, "'directory': expected an https URL"),
        ({"directory": []}, {}, "'directory' names no CA"),
        ({"eab_key_id": "kid"}, {}, "needs 'eab_key' as well"),
        ({"ca": "missing.pem"}, {}, "cannot read 'missing.pem'"),
        ({"ca": "/dev/null"}, {}, "'/dev/null' holds no certificate in PEM"),
        ({}, {"entry": {"internal": True}}, "'internal' has no effect with 'acme'"),
        ({"challenge": ["ftp"]}, {}, "challenge"),
    ],
)
def test_what_cannot_work_is_told(tmp_path: Path, acme: Any, config: dict[str, Any], message: str) -> None:
    found = told(tmp_path, acme, **config)
    assert any(message in text for text in found), found
