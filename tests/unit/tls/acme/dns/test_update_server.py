"""The zones of a server that takes updates."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import convert

from npserver.config.load import load_text
from npserver.dns.message.tsig import TsigKey
from npserver.runtime.compilation import Compilation
from npserver.tls.acme.config import Acme
from npserver.tls.acme.dns.compile import compile_places
from npserver.tls.acme.dns.our_zones import OurZones
from npserver.tls.acme.dns.update_server import UpdateServer
from tests.stage.worker import make_context

SERVER = UpdateServer("192.0.2.53", 53, ("example.com", "sub.example.com", "b.test"), TsigKey(b"\1k\0", b"secret"))


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("example.com", "example.com"),
        ("_acme-challenge.WWW.example.com", "example.com"),
        ("x.sub.example.com", "sub.example.com"),
        ("notexample.com", None),
        ("test", None),
        ("no name", None),
    ],
)
def test_a_name_lies_in_the_longest_zone(name: str, zone: str | None) -> None:
    assert SERVER.zone_of(name) == zone


def test_the_root_holds_all() -> None:
    assert UpdateServer("192.0.2.53", 53, (".",), SERVER.key).zone_of("any.test") == "."


def test_it_does_not_tell_the_secret() -> None:
    assert "secret" not in f"{SERVER!r} {SERVER}"
    assert str(SERVER) == "name server 192.0.2.53 port 53"


@pytest.mark.parametrize("given", [{"key": "c2VjcmV0"}, {"key_file": "plain.key"}])
def test_the_key_that_gives_the_secret_is_known(tmp_path: Path, given: dict[str, str]) -> None:
    (tmp_path / "plain.key").write_text("c2VjcmV0")
    compilation = Compilation(load_text("{}", str(tmp_path / "npserver.json")), make_context())
    acme = convert({"dns_update": {"server": "192.0.2.53", "zone": "example.com", "key_name": "k", **given}}, Acme)
    find = compile_places(compilation, ("tls", "acme"), acme, OurZones())
    assert find is not None
    assert [at.key_at for at, _ in find("www.example.com").updates] == [f"dns_update.{key}" for key in given]
