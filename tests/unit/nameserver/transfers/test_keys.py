"""`dns_keys` and `key:NAME` of `allow_transfer`: what is accepted, and the messages about what is wrong.

Covers `nameserver.transfers.compile`, `nameserver.transfers.peers`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.nameserver.stream import DnsOverStream
from npserver.nameserver.transfers.peers import compile_primaries
from npserver.process.dry_run import dry_run
from npserver.runtime.compilation import Compilation
from npserver.runtime.scoreboard import Directory
from tests.protocols.memory import MemoryLoop
from tests.stage.worker import make_context
from tests.unit.nameserver.test_compile import check, config

SECRET = b64encode(b"0123456789abcdef0123456789abcdef").decode()
XFR = {"xfr": {"secret": SECRET}}


def zone(**keys: Any) -> dict[str, Any]:
    return config(dns_zones=[{"name": "b.lan", **keys}], dns_keys=XFR)


WRONG: list[tuple[dict[str, Any], str]] = [
    (config(dns_keys={"xfr": {}}), "dns_keys: a key needs 'secret' or 'file'"),
    (config(dns_keys={"xfr": {"secret": SECRET, "file": "x"}}), "both 'secret' and 'file' are given: leave one"),
    (config(dns_keys={"xfr": {"secret": "??"}}), "'secret': expected the secret in base64"),
    (config(dns_keys={"xfr": {"file": "missing"}}), "cannot read 'missing'"),
    (config(dns_keys={"a b": {"secret": SECRET}}), "the name of a key is a domain name: expected a domain name"),
    (config(dns_keys={"xfr": {"secret": SECRET}, "XFR.": {"secret": SECRET}}), "'XFR.' is given twice"),
    (config(dns_keys={"xfr": {"secret": "c2hvcnQ="}}), "warning: the secret has 5 bytes, which can be guessed"),
    (config({"allow_transfer": "key:xfr"}), "unknown key 'xfr' (no \"dns_keys\" are defined)"),
    (config({"allow_transfer": ["key:xrf"]}, dns_keys=XFR), "unknown key 'xrf', did you mean 'xfr'?"),
    (config({"allow_transfer": ["key:xfr", "10.0.0.1/8"]}, dns_keys=XFR), "did you mean 10.0.0.0/8?"),
    (
        config(dns_zones=[{"name": "a.lan", "allow_transfer": ["key:xfr", "key:", "office"]}], dns_keys=XFR),
        "unknown network 'office'",
    ),
    (config(dns_zones=[{"name": "a.lan", "allow_transfer": "key:"}], dns_keys=XFR), "unknown key ''"),
    (zone(primary="ns.example"), "expected the IP address of a name server, such as 203.0.113.5"),
    (zone(primary="10.0.0.1:99999"), "expected a port from 1 to 65535, got '10.0.0.1:99999'"),
    (zone(primary=[]), "expected the addresses of primary servers, got an empty list"),
    (zone(primary=["10.0.0.1", {"address": "10.0.0.2", "key": "xf"}]), "unknown key 'xf', did you mean 'xfr'?"),
    (zone(primary={"address": "10.0.0.1", "tls": {"ca": "missing"}}), "cannot read 'missing'"),
    (zone(primary="10.0.0.1", updates=[{"key": "xfr"}]), "'updates' has no effect with 'primary': that server takes"),
    (zone(primary="10.0.0.1", updates_max_size="1m"), "warning: 'updates_max_size' has no effect with 'primary'"),
    (zone(updates_max_size="1m"), "warning: 'updates_max_size' has no effect without 'updates'"),
    (zone(updates=[{"key": "xfr"}], updates_max_size="2g"), "'updates_max_size': expected at most 1024m, which all"),
    (zone(updates=[{"key": "xfr"}], updates_max_size=0), "'updates_max_size': must be above 0"),
    (zone(primary="10.0.0.1", file="x"), "a zone has 'file' or 'primary': leave one of them out"),
    (zone(notify="10.0.0.1"), "warning: those that are told of changes may not transfer them: write 'allow_transfer'"),
    (zone(notify="10.0.0.1", allow_transfer=[]), "those that are told of changes may not transfer them"),
    (zone(notify="ns.example"), "expected the IP address of a name server"),
    (zone(notify=["10.0.0.1", {"address": "10.0.0.2", "key": "xf"}]), "unknown key 'xf', did you mean 'xfr'?"),
    (
        config(dns_zones=[{"name": "lan", "primary": "10.0.0.1"}], dns={"a.lan": {"A": "10.0.0.1"}}),
        "the records of its zone are in the primary server (dns_zones[0].primary): write it there",
    ),
]


@pytest.mark.parametrize(("parts", "message"), WRONG, ids=[case[1] for case in WRONG])
def test_each_mistake_has_its_message(parts: dict[str, Any], message: str) -> None:
    said = check(parts)
    assert any(message.removeprefix("dns_keys: ") in one for one in said), said


def test_a_file_that_everybody_can_read(tmp_path: Path) -> None:
    file = tmp_path / "xfr.key"
    file.write_text(SECRET)
    file.chmod(0o644)
    (said,) = check(config(dns_keys={"xfr": {"file": str(file)}}))
    assert "can be read by all users of this machine (mode 0644): chmod 600 /" in said
    file.chmod(0o640)
    assert check(config(dns_keys={"xfr": {"file": str(file)}})) == []


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ('key "other" { algorithm hmac-sha256; secret "%s"; };', {}, "the key in the file is called 'other'"),
        ('key "xfr" { algorithm hmac-md5; secret "%s"; };', {}, "the algorithm 'hmac-md5' is not supported"),
        (
            'key "xfr" { algorithm hmac-sha256; secret "%s"; };',
            {"algorithm": "hmac-sha512"},
            "'algorithm' is hmac-sha512, but 'file' says 'hmac-sha256'",
        ),
        ('key "xfr" { algorithm hmac-sha256; secret "%s"; };', {}, ""),
        ('key "XFR." { algorithm hmac-sha512; secret "%s"; };', {"algorithm": "hmac-sha512"}, ""),
        ("%s\n", {}, ""),
    ],
)
def test_files_of_keys_are_read(tmp_path: Path, text: str, more: dict[str, Any], message: str) -> None:
    (tmp_path / "xfr.key").touch(0o600)
    (tmp_path / "xfr.key").write_text(text % SECRET)
    said = check(config(dns_keys={"xfr": {"file": str(tmp_path / "xfr.key"), **more}}))
    assert [message in one for one in said] == ([True] if message else [])
    assert SECRET not in str(said)


def test_zones_have_lists_of_their_own() -> None:
    zones = ["a.lan", {"name": "B.lan", "allow_transfer": "key:xfr"}, {"name": "c.lan", "allow_transfer": []}]
    parts = config({"allow_transfer": ["10.0.0.0/8", "key:XFR."]}, dns_zones=zones, dns_keys=XFR)
    runtime = dry_run(load_text(json.dumps(parts), "file"), Directory())
    (front,) = [front for front in runtime.fronts.values() if isinstance(front, DnsOverStream)]
    assert front.policy.only is not None
    access = front.policy.only.transfers
    assert access is not None

    def allowed(zone: bytes, client: str, key: bytes | None = None) -> bool:
        return access.of_zone(zone).allows(client, key)

    a, b, c = (bytes((1,)) + name + b"\3lan\0" for name in (b"a", b"b", b"c"))
    assert [allowed(a, "10.1.1.1"), allowed(a, "192.0.2.1"), allowed(a, "192.0.2.1", b"\3xfr\0")] == [True, False, True]
    assert [allowed(b, "10.1.1.1"), allowed(b, "192.0.2.1", b"\3xfr\0")] == [False, True]
    assert [allowed(c, "10.1.1.1"), allowed(c, "192.0.2.1", b"\3xfr\0")] == [False, False]
    assert access.of_zone(a).place == "dispatch[0].allow_transfer"
    assert access.of_zone(b).place == "dns_zones[1].allow_transfer"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("203.0.113.5", [("203.0.113.5", 53, None, False)]),
        ("203.0.113.5:5353", [("203.0.113.5", 5353, None, False)]),
        ("2001:DB8::5", [("2001:db8::5", 53, None, False)]),
        (["[2001:db8::5]:54", "10.0.0.1"], [("2001:db8::5", 54, None, False), ("10.0.0.1", 53, None, False)]),
        ({"address": "10.0.0.1", "key": "XFR", "tls": True}, [("10.0.0.1", 853, b"\3xfr\0", True)]),
        ({"address": "10.0.0.1:5", "tls": {"insecure": True}}, [("10.0.0.1", 5, None, True)]),
    ],
)
def test_primaries_are_named_by_address(given: Any, expected: list[object]) -> None:
    document = load_text(json.dumps(zone(primary=given)), "file")
    section: Any = document.config.dns_zones[0]
    compilation = Compilation(document, make_context(MemoryLoop()))
    found = compile_primaries(compilation, ("dns_zones", 0, "primary"), section.primary)
    assert [(one.address, one.port, one.key and one.key.name, one.tls is not None) for one in found] == expected
