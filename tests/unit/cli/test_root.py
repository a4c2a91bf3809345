"""`npserver cert -root`: the roots in a store, without their keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.cli import cert
from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles
from npserver.tls.local_authority import LOCAL_ROOT, LocalAuthority, Wanted
from npserver.tls.x509 import parse_pem

Said = pytest.CaptureFixture[str]


def make(directory: Path, *names: str) -> StoreFiles:
    files = StoreFiles(str(directory))
    authority = LocalAuthority(DirectoryStore(files, in_threads=False), in_threads=False)
    finish(authority.ensure(Wanted(names, False, 1000.0), 1.8e9))
    return files


def test_the_root_goes_to_the_output_and_advice_beside_it(tmp_path: Path, capsys: Said) -> None:
    files = make(tmp_path / "store", "nas.home")
    assert cert.main(["-root", "-store", str(tmp_path / "store")]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("-----BEGIN CERTIFICATE-----\n")
    assert said.out.count("-----") == 4
    assert said.out.encode() in (files.read(LOCAL_ROOT) or b"")
    assert parse_pem(said.out.encode()).key_kind == "EC"
    assert f"this is the root for local names, of the store in {tmp_path / 'store'}" in said.err
    for command in (
        "update-ca-certificates",
        "update-ca-trust",
        "security add-trusted-cert",
        "certutil -addstore",
        "-A -t C,,",
    ):
        assert command in said.err


def test_the_root_for_other_names_is_one_more(tmp_path: Path, capsys: Said) -> None:
    for name in ("nas.home", "example.com"):
        make(tmp_path / "store", name)
    (tmp_path / "c.json").write_text('{"store": "store"}')
    assert cert.main(["--root", "--config", str(tmp_path / "c.json")]) == 0
    said = capsys.readouterr()
    assert said.out.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" not in said.out + said.err
    assert "the root for all other names" in said.err


def test_where_there_is_none_it_says_when_it_is_made(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    assert cert.main(["-root"]) == 1
    assert f"no root in {tmp_path}/state: it is made at the first start" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_root_is_named(tmp_path: Path, capsys: Said) -> None:
    make(tmp_path, "nas.home").write(LOCAL_ROOT, b"garbage")
    assert cert.main(["-root", "-store", str(tmp_path)]) == 1
    assert f"{tmp_path}/{LOCAL_ROOT}: the root of the local authority is damaged" in capsys.readouterr().err


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "file").touch()
    assert cert.main(["-root", "-store", str(tmp_path / "file")]) == 1
    assert "not a directory (store)" in capsys.readouterr().err


def test_other_words_are_misuse(capsys: Said) -> None:
    assert cert.main(["-root", "nas.home"]) == 2
    assert capsys.readouterr().err == cert.USAGE
