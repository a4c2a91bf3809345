"""`npserver dns`: what it prints for the parent, and the roll-overs that it begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.name
import dns.rdata
import pytest

from npserver.cli.dns import main
from npserver.dns.message.name import parse_owner
from npserver.nameserver.dnssec.state import ZoneState, decode, encode, first_state, store_key
from npserver.store.files import StoreFiles

APEX = parse_owner("example.com")


class Stage:
    """A config that signs example.com, and its store."""

    def __init__(self, directory: Path, kind: str = "csk", **changes: float) -> None:
        self.file = directory / "c.json"
        config: dict[str, Any] = {
            "store": str(directory / "store"),
            "listen": ["udp://127.0.0.1:5300"],
            "dispatch": [{"handler": "dns"}],
            "dns_zones": [{"name": "example.com", "dnssec": True}, "home"],
        }
        self.file.write_text(json.dumps(config))
        self.files = StoreFiles(str(directory / "store"))
        state = first_state(kind, 13, 1.0)
        if changes:
            state = state.with_changed(state.keys[0], published_at=1.0, **changes)
        self.files.write(store_key(APEX), encode(state))

    @property
    def state(self) -> ZoneState:
        return decode(self.files.read(store_key(APEX)) or b"")

    def run(self, *words: str) -> int:
        return main([*words, "-config", str(self.file)])


def test_the_parent_gets_ds_and_dnskey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path, ds_asked_at=5.0)
    assert stage.run("ds", "Example.com") == 0
    out, told = capsys.readouterr()
    ds, dnskey = [line.split(" ", 4) for line in out.splitlines()]
    assert ds[:4] == ["example.com.", "3600", "IN", "DS"]
    key = dns.rdata.from_text("IN", "DNSKEY", dnskey[4])
    expected = dns.dnssec.make_ds(dns.name.from_text("example.com"), key, "SHA256")  # type: ignore[arg-type]
    assert ds[4].lower() == str(expected)
    assert "(csk): signs the keys, signs the records since 1970-01-01 00:00 UTC, the parent is to have" in told
    assert "PRIVATE" not in out + told


def test_a_key_that_is_too_new_is_not_for_the_parent_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Stage(tmp_path).run("ds", "example.com") == 0
    assert "do not give the DS record to the parent yet" in capsys.readouterr().err


def test_a_roll_over_is_begun_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path, ds_asked_at=5.0, ds_seen_at=6.0)
    assert stage.run("roll", "example.com") == 0
    assert "a new csk is made: the log says when the parent needs its DS record" in capsys.readouterr().out
    assert [one.role for one in stage.state.keys] == ["csk", "csk"]
    assert stage.state.keys[1].published_at == 0.0
    assert stage.run("roll", "example.com") == 1
    assert "a csk is being replaced already" in capsys.readouterr().err


def test_the_parent_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path, ds_asked_at=5.0)
    assert stage.run("roll", "example.com") == 1
    assert "the parent is not known to have the DS record of the key in use" in capsys.readouterr().err
    assert stage.run("roll", "example.com", "-ds-seen") == 0
    assert stage.state.keys[0].ds_seen_at > 0
    assert stage.run("roll", "example.com", "-ds-seen") == 1
    assert "no DS record is waited for" in capsys.readouterr().err


def test_a_zsk_needs_no_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path, "ksk-zsk")
    assert stage.run("roll", "example.com", "-zsk") == 0
    assert [one.role for one in stage.state.keys] == ["ksk", "zsk", "zsk"]
    assert "the server does the rest" in capsys.readouterr().out
    assert Stage(tmp_path).run("roll", "example.com", "-zsk") == 1
    assert "leave out -zsk" in capsys.readouterr().err
    assert Stage(tmp_path).run("roll", "example.com") == 1
    assert "the key in use is new" in capsys.readouterr().err


def test_zones_and_keys_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path)
    assert stage.run("ds", "home") == 1
    assert "it signs example.com" in capsys.readouterr().err
    assert stage.run("ds", "a..b") == 1
    stage.files.write(store_key(APEX), b"{}")
    assert stage.run("ds", "example.com") == 1
    assert "restore the file" in capsys.readouterr().err
    stage.files.write(store_key(APEX), None)
    assert stage.run("ds", "example.com") == 1
    assert "they are made at the first start" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["ds"], ["sign", "example.com"], ["ds", "a", "b"], ["ds", "a", "-zsk"], ["roll", "a", "-now"],
              ["roll", "a", "-zsk", "-ds-seen"], ["ds", "a", "-config"]]
)  # fmt: skip
def test_invalid_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage: npserver dns" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-help"]) == 0
    assert capsys.readouterr().out.startswith("usage: npserver dns")


def test_the_cache_of_no_server_is_not_flushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path)
    assert stage.run("flush") == 1
    assert 'c.json has no "dns_forward": there is nothing to flush' in capsys.readouterr().err
    stage.file.write_text(json.dumps({**json.loads(stage.file.read_text()), "dns_forward": ["9.9.9.9"]}))
    assert stage.run("flush") == 1
    assert "no running server uses the config" in capsys.readouterr().err
    for words in (("flush", "-zsk"), ("flush", "example.com")):
        assert stage.run(*words) == 2
