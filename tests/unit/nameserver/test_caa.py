"""`npserver check` warns of CAA records in our zones that keep the CA from issuing, with or without `publish`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check

FORBIDS = {"CAA": '0 issue "ca.example"'}


def warnings(tmp_path: Path, hosts: list[str], dns: dict[str, Any], **acme: Any) -> list[str]:
    file = tmp_path / "npserver.json"
    config = {
        "store": str(tmp_path / "store"),
        "listen": ["https://:443", {"name": "dns", "uri": "udp://192.168.1.1:53"}],
        "tls": {"acme": acme},
        "dns": dns,
        "dns_zones": ["example.com"],
        "dispatch": [{"handler": "respond", "host": hosts}, {"listener": "dns", "handler": "dns"}],
    }
    file.write_text(json.dumps(config, indent=1))
    problems, _ = check(str(file))
    return [f"{problem.line}: {problem.message}" for problem in problems]


def line_of(tmp_path: Path, text: str) -> int:
    lines = (tmp_path / "npserver.json").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(
    ("host", "owner", "tag"),
    [
        ("www.example.com", "www.example.com", "issue"),
        ("www.example.com", "Example.COM", "issue"),
        ("*.example.com", "example.com", "issuewild"),
    ],
)
def test_records_that_forbid_are_named_with_their_place_and_the_remedy(
    tmp_path: Path, host: str, owner: str, tag: str
) -> None:
    found = warnings(tmp_path, [host], {owner: FORBIDS})
    assert len(found) == 1
    line, _, message = found[0].partition(": ")
    assert message.startswith(f"CAA: these records keep letsencrypt.org from issuing the certificate for '{host}'")
    assert message.endswith(f'add "0 {tag} \\"letsencrypt.org\\""')
    assert int(line) == line_of(tmp_path, '"CAA"')


def test_other_records_are_not_told_of(tmp_path: Path) -> None:
    allowed = {"CAA": ['0 issue "letsencrypt.org"', '0 iodef "mailto:me@example.com"']}
    assert warnings(tmp_path, ["www.example.com"], {"www.example.com": allowed}) == []
    assert warnings(tmp_path, ["www.example.com"], {"mail.example.com": FORBIDS}) == []
    assert warnings(tmp_path, ["www.example.com"], {"www.example.com": allowed, "example.com": FORBIDS}) == []
    assert warnings(tmp_path, ["www.example.com"], {"example.com": FORBIDS}, directory="https://ca.internal/d") == []


def test_each_ca_that_is_forbidden_is_named(tmp_path: Path) -> None:
    directories = ["https://acme-v02.api.letsencrypt.org/directory", "https://acme.zerossl.com/v2/DV90"]
    found = warnings(tmp_path, ["example.com"], {"example.com": FORBIDS}, directory=directories)
    assert [one.split()[5] for one in found] == ["letsencrypt.org", "sectigo.com"]
